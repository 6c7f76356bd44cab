"""Words and ranking, shared by search and chat: what a query asks for, and how texts answer it.

The index is SQLite FTS5 with its `porter` tokenizer over `unicode61`. What was written a moment ago
is not in the index yet; `score_tail` ranks that tail by the same words and the same weights.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log

from spiderwebd.core.porter import stem
from spiderwebd.core.vocabulary import STOP_WORDS
from spiderwebd.core.word_cache import word_cache

WEIGHTS = (1.0, 1.0, 0.5, 0.5)
"""Of speaker, own text, the two turns before, the day; chosen on three conversations and measured on
seven others: evidence recall at 10 rose from 63.7 to 76.6 (reference memory.md, 0.1)."""

K1 = 1.2
B = 0.75
"""BM25's usual constants (Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and
Beyond, 2009) and the ones built into FTS5's bm25()."""

MATCH_TERMS = 64
"""Terms of a query that are searched for; each costs a lookup, and questions are far shorter."""

FEW_PLACES = 256
"""Documents that the words of a query may stand in together for all of them to be searched."""

SEARCHED_PLACES = 8_192
"""Documents that the searched words of a query may stand in together: about 5 ms to rank."""

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
    if scope_token is None:
        return _any_of(terms)
    return f"(scope : {_quote(scope_token)}) AND ({unscoped_expression(terms)})"


def unscoped_expression(terms: Iterable[str]) -> str:
    """As match_expression, in the rows of every scope; the words of the column `scope` are not found."""
    return f"- scope : ({_any_of(terms)})"


@dataclass(frozen=True, slots=True)
class Corpus:
    """What the index knows of all the texts it holds, so that the tail is weighed with them."""

    documents: int = 0
    words: float = 0.0
    """Mean number of words of a document, all fields together."""
    containing: Mapping[str, int] = field(default_factory=dict)
    """Documents that hold a word, by its stem."""


def telling(corpus: Corpus) -> frozenset[str]:
    """The words of `corpus.containing` that a ranking is worth working out for; the others are common.

    All of them are, as long as they stand in FEW_PLACES documents together. Beyond that, reading where
    common words stand is most of the cost of a search, and a word that more than half of all documents
    hold weighs nothing in BM25 (FTS5 puts 1e-6 for it). Of the others as many are taken, from the
    rarest on, as stand in SEARCHED_PLACES documents together, and the rarest in any case.
    """
    containing = corpus.containing
    if sum(containing.values()) <= FEW_PLACES:
        return frozenset(containing)
    taken: list[str] = []
    places = 0
    for word, holding in sorted(containing.items(), key=lambda item: item[1]):
        places += holding
        if holding > corpus.documents // 2 or (taken and places > SEARCHED_PLACES):
            break
        taken.append(word)
    return frozenset(taken)


@dataclass(frozen=True, slots=True)
class Counted:
    """A document taken apart, as far as ranking needs it."""

    counts: Mapping[str, float]
    """How often each stem stands in it, each time by the weight of its column."""
    length: int
    """Words of all columns."""


def stems(text: str) -> Counter[str]:
    """How often each stem stands in `text`."""
    return Counter(map(index_word, words(text)))


def count(columns: Iterable[tuple[Mapping[str, int], float]]) -> Counted:
    """Put a document together from the stems of each column and that column's weight."""
    counts: dict[str, float] = {}
    length = 0
    for column, weight in columns:
        for word, times in column.items():
            counts[word] = counts.get(word, 0.0) + times * weight
            length += times
    return Counted(counts, length)


def score_tail(
    query_terms: Sequence[str],
    documents: Sequence[tuple[str, str, str, str]],
    corpus: Corpus | None = None,
) -> list[tuple[int, float]]:
    """Rank `documents`, each (speaker, text, before, day), by BM25; best first, ties by later index."""
    counted = [count(zip(map(stems, document), WEIGHTS, strict=True)) for document in documents]
    return score(dict.fromkeys(map(index_word, query_terms)), counted, corpus or Corpus())


def score(wanted: Iterable[str], documents: Sequence[Counted], corpus: Corpus) -> list[tuple[int, float]]:
    """Rank documents by BM25 for stems, each given once; best first, ties by later index.

    Returns (index, score) of those that hold one of them; the larger score is the better (FTS5's
    bm25() is the same with the sign turned). The weight of a word is ln(1 + (N - n + 0.5) / (n + 0.5)),
    the form that stays positive even when every document holds it, as in a tail of one.
    """
    total = corpus.documents + len(documents)
    lengths = sum(document.length for document in documents)
    mean = (corpus.documents * corpus.words + lengths) / total if total else 0.0
    scores = [0.0] * len(documents)
    for word in wanted:
        holders = [
            (index, times, document.length)
            for index, document in enumerate(documents)
            if (times := document.counts.get(word, 0.0))
        ]
        holding = corpus.containing.get(word, 0) + len(holders)
        weight = log(1.0 + max(0.0, total - holding + 0.5) / (holding + 0.5))
        for index, times, length in holders:
            norm = K1 * (1.0 - B + B * length / mean)
            scores[index] += weight * times * (K1 + 1.0) / (times + norm)
    found = [(index, value) for index, value in enumerate(scores) if value > 0.0]
    found.sort(key=lambda hit: (-hit[1], -hit[0]))
    return found


@word_cache
def index_word(word: str) -> str:
    """A word of `words` as the index holds it: without accents, stemmed."""
    if not word.isascii():
        word = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", word)))
    return stem(word)


def _fold(letter: str) -> str:
    folded = letter.casefold()
    return folded if len(folded) == 1 else letter.lower()


def _any_of(terms: Iterable[str]) -> str:
    quoted = [_quote(term) for _, term in zip(range(MATCH_TERMS), terms, strict=False)]
    return " OR ".join(quoted) or '""'


def _quote(term: str) -> str:
    # SQLite ends a query at NUL and cannot take a lone surrogate; neither is ever part of a word.
    term = term.replace("\0", " ").encode(errors="replace").decode()
    return '"' + term.replace('"', '""') + '"'
