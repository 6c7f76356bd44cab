"""Words and ranking, shared by search and chat: what a query asks for, and how texts answer it.

The index is SQLite FTS5 with its `porter` tokenizer over `unicode61`. What was written a moment ago
is not in the index yet; `score_tail` ranks that tail by the same words and the same weights.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import log

from spiderwebd.core.porter import stem
from spiderwebd.core.vocabulary import STOP_WORDS

WEIGHTS = (1.0, 1.0, 0.5, 0.5)
"""Of speaker, own text, the two turns before, the day; chosen on three conversations and measured on
seven others: evidence recall at 10 rose from 63.7 to 76.6 (reference memory.md, 0.1)."""

K1 = 1.2
B = 0.75
"""BM25's usual constants (Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and
Beyond, 2009) and the ones built into FTS5's bm25()."""

MATCH_TERMS = 64
"""Terms of a query that are searched for; each costs a lookup, and questions are far shorter."""

# What unicode61 takes as part of a word: letters and numbers; "_" separates.
_WORD = re.compile(r"[^\W_]+")
_ACCENTS = re.compile("[\u0300-\u036f]")


def words(text: str) -> list[str]:
    """Every word of `text` in order, in lower case; accents stay.

    Case is folded letter by letter, as the index does it: full case folding would turn "straße" into
    "strasse", which the index does not hold.
    """
    if text.isascii():
        return _WORD.findall(text.lower())
    text = unicodedata.normalize("NFC", text)
    return _WORD.findall("".join(map(_fold, text)))


def terms(text: str) -> list[str]:
    """What to look for when asked `text`: its words without stop words, each once, in order.

    All words are kept when nothing else is left ("who are you").
    """
    found = list(dict.fromkeys(words(text)))
    return [word for word in found if word not in STOP_WORDS] or found


def match_expression(terms: Iterable[str], scope_token: str | None = None) -> str:
    """The FTS5 MATCH string that finds rows with any of the first MATCH_TERMS of `terms`.

    With a `scope_token` only rows whose column `scope` holds it are found, and words are looked for in
    the other columns alone. Every term is quoted, so no text can be read as query syntax; without a
    term the expression is valid and finds nothing.
    """
    quoted = [_quote(term) for _, term in zip(range(MATCH_TERMS), terms, strict=False)]
    anything = " OR ".join(quoted) or '""'
    if scope_token is None:
        return anything
    return f"(scope : {_quote(scope_token)}) AND (- scope : ({anything}))"


@dataclass(frozen=True, slots=True)
class Corpus:
    """What the index knows of all the texts it holds, so that the tail is weighed with them."""

    documents: int = 0
    words: float = 0.0
    """Mean number of words of a document, all fields together."""
    containing: Mapping[str, int] = field(default_factory=dict)
    """Documents that hold a word, by its stem."""


def score_tail(
    query_terms: Sequence[str],
    documents: Sequence[tuple[str, str, str, str]],
    corpus: Corpus | None = None,
) -> list[tuple[int, float]]:
    """Rank `documents`, each (speaker, text, before, day), by BM25; best first, ties by later index.

    Returns (index, score) of those that hold a query term; the larger score is the better (FTS5's
    bm25() is the same with the sign turned). The weight of a word is ln(1 + (N - n + 0.5) / (n + 0.5)),
    the form that stays positive even when every document holds it, as in a tail of one.
    """
    corpus = corpus or Corpus()
    wanted = list(dict.fromkeys(index_word(term) for term in query_terms))
    lengths: list[int] = []
    counted: list[dict[str, float]] = []
    for document in documents:
        length = 0
        counts: dict[str, float] = {}
        for text, weight in zip(document, WEIGHTS, strict=True):
            for word in words(text):
                length += 1
                word = index_word(word)
                counts[word] = counts.get(word, 0.0) + weight
        lengths.append(length)
        counted.append(counts)
    total = corpus.documents + len(documents)
    mean = (corpus.documents * corpus.words + sum(lengths)) / total if total else 0.0
    scores = [0.0] * len(documents)
    for word in wanted:
        holding = corpus.containing.get(word, 0) + sum(word in counts for counts in counted)
        weight = log(1.0 + max(0.0, total - holding + 0.5) / (holding + 0.5))
        for index, counts in enumerate(counted):
            count = counts.get(word, 0.0)
            if count:
                norm = K1 * (1.0 - B + B * lengths[index] / mean)
                scores[index] += weight * count * (K1 + 1.0) / (count + norm)
    found = [(index, score) for index, score in enumerate(scores) if score > 0.0]
    found.sort(key=lambda hit: (-hit[1], -hit[0]))
    return found


@lru_cache(maxsize=8192)
def index_word(word: str) -> str:
    """A word of `words` as the index holds it: without accents, stemmed."""
    if not word.isascii():
        word = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", word)))
    return stem(word)


def _fold(letter: str) -> str:
    folded = letter.casefold()
    return folded if len(folded) == 1 else letter.lower()


def _quote(term: str) -> str:
    # SQLite ends a query at NUL and cannot take a lone surrogate; neither is ever part of a word.
    term = term.replace("\0", " ").encode(errors="replace").decode()
    return '"' + term.replace('"', '""') + '"'
