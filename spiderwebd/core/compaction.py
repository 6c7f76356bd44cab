"""When working memory is compacted, and how an entry becomes a summary without a model.

The rule and its texts are those of the original's memory manager: more active entries than three
quarters of the budget, at most two summaries a run. What a summary says is new: the original kept
the first 72 bytes, this keeps the sentences with the most facts for their bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import floor

from spiderwebd.core.change import Change
from spiderwebd.core.ram import Budget, Ram, utf8_size
from spiderwebd.core.ranking import index_word, words
from spiderwebd.core.vocabulary import (
    CALENDAR,
    FIRST_PERSON,
    NUMBERS,
    SMALL_TALK,
    SQUEEZED_OUT,
    STOP_WORDS,
)
from spiderwebd.core.word_cache import word_cache

SUMMARY_BYTES = 160
"""Default length of a summary in UTF-8 bytes: 48 of them fit into half of the default budget."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When compaction begins and how much one run does; ValueError for values out of range."""

    entry_ratio: float = 0.75
    """More active entries than this share of `Budget.max_entries`."""
    byte_ratio: float = 0.9
    """Or more active bytes than this share of what the budget allows."""
    batch: int = 2
    """Summaries a run makes at most."""

    def __post_init__(self) -> None:
        if not (0 < self.entry_ratio <= 1 and 0 < self.byte_ratio <= 1):
            raise ValueError("entry_ratio and byte_ratio must be more than 0 and at most 1")
        if self.batch < 1:
            raise ValueError("batch must be at least 1")

    def entries(self, budget: Budget) -> int:
        """Active entries that may stand; 1 when the budget has fewer than four."""
        return _entries(budget.max_entries, self.entry_ratio)

    def bytes(self, budget: Budget) -> int:
        """Active bytes that may stand."""
        return floor(budget.byte_limit * self.byte_ratio)


@cache  # asked several times a message, for the few limits there ever are
def _entries(most: int, ratio: float) -> int:
    return 1 if most < 4 else max(1, floor(most * ratio))


def due(ram: Ram, thresholds: Thresholds) -> bool:
    """Whether the oldest entry should be summarised; never the only one, however long it is."""
    active = ram.active_count
    if active > thresholds.entries(ram.budget):
        return True
    return active > 1 and ram.active_bytes > thresholds.bytes(ram.budget)


def steps(
    ram: Ram,
    thresholds: Thresholds,
    now_ms: int,
    *,
    max_bytes: int = SUMMARY_BYTES,
    idf: Mapping[str, float] | None = None,
) -> list[Change]:
    """One run: summarise the oldest entries while it is `due`, at most `thresholds.batch` of them.

    Changes `ram`; all Changes belong into one transaction. `max_bytes` and `idf` as in summarize_text.
    """
    changes: list[Change] = []
    while due(ram, thresholds) and (entry := ram.oldest) is not None:
        text = summarize_text(entry.content, entry.role, max_bytes, idf)
        changes.append(ram.summarize(text, now_ms, entry.id))
        if len(changes) == thresholds.batch:
            break
    return changes


def event_text(summaries: int, persisted: bool) -> str:
    """The message of the memory.event that tells of a run."""
    text = f"summarized {summaries} stale RAM entries"
    return f"{text} and persisted snapshot" if persisted else text


def summarize_text(
    text: str, role: str = "user", max_bytes: int = SUMMARY_BYTES, idf: Mapping[str, float] | None = None
) -> str:
    """Say `text` in at most `max_bytes` UTF-8 bytes, with its own words in their order.

    A text that fits is kept whole. Else its sentences are taken by facts for their bytes (see
    `_density`), squeezed of stop words and filler, while they fit; what is said twice or says little
    beside the best is left out, and those for which there is room then stand whole. Numbers, names
    and negations are never squeezed out. `idf` gives the weight of a word by its stem
    (`ranking.index_word`), as the search index counts it; without it a word weighs by its length,
    since rare words are long ones (Zipf's law of abbreviation).

    The method is the best of twelve compared on dialogues (reference memory.md, 4: with 16 KiB chosen
    across entries, 51.8 % of the words that answer later questions were kept; of the first 72 bytes of
    each entry, 13.8 %); its constants were set by judgement, not tuned.
    Raises ValueError when `max_bytes` is less than 1.
    """
    if max_bytes < 1:
        raise ValueError("max_bytes must be at least 1")
    if utf8_size(text) <= max_bytes:
        return text
    pieces = _pieces(text)
    if not pieces:
        return _cut(text, max_bytes)
    densities = [_density(piece, role, idf) for piece in pieces]
    order = sorted(range(len(pieces)), key=lambda index: (-densities[index], index))
    chosen: dict[int, str] = {}
    room = max_bytes
    for index in order:
        squeezed = _squeeze(pieces[index])
        if densities[index] < _LITTLE * densities[order[0]] or squeezed in chosen.values():
            continue
        size = utf8_size(squeezed) + (1 if chosen else 0)
        if size <= room:
            chosen[index] = squeezed
            room -= size
    if not chosen:
        return _cut(_squeeze(pieces[order[0]]), max_bytes)
    for index in order:
        if index in chosen:
            growth = utf8_size(pieces[index]) - utf8_size(chosen[index])
            if growth <= room:
                chosen[index] = pieces[index]
                room -= growth
    return " ".join(chosen[index] for index in sorted(chosen))


_RUN_ON = 24
"""Words from which a sentence is judged in pieces of half as many: pasted lists have no full stops."""

_LINE_COST = 20
"""Added to a sentence's bytes, so that a two-word sentence does not win by being short."""

_LITTLE = 0.3
"""Share of the best density below which a sentence is not worth its room."""

_HIGHEST_IDF = 6.0
_IDF_A_LETTER = 0.6

_DIGIT = re.compile(r"\d")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]\u201d\u2019]*\s+|(?<=[\u3002\uff01\uff1f])|\n+")
"""The last three are the full-width marks of Chinese and Japanese, behind which no space stands."""
_ABBREVIATION = re.compile(r"(?:\b(?i:dr|mr|mrs|ms|prof|vs|approx|e\.g|i\.e)|\b[A-Z])\.$")


def _density(piece: str, role: str, idf: Mapping[str, float] | None) -> float:
    """Facts for their bytes.

    The sum of the idf of its distinct content words, each at most 6; plus 4 for a digit, 3 for each
    capitalised word after the first, 3 for each calendar word, 2 for each number word. A question
    counts 0.35 with its facts halved, an opening of small talk 0.5, a user's first person 1.15 (an
    assistant's says nothing of the user). Divided by its bytes and a constant.
    """
    found = words(piece)
    weights = 0.0
    for word in set(found) - STOP_WORDS:
        known = _IDF_A_LETTER * len(word) if idf is None else idf.get(index_word(word), _HIGHEST_IDF)
        weights += min(_HIGHEST_IDF, known)
    facts = 4.0 * (_DIGIT.search(piece) is not None)
    facts += 3.0 * sum(map(_is_name, piece.split()[1:]))
    facts += 3.0 * sum(word in CALENDAR for word in found) + 2.0 * sum(word in NUMBERS for word in found)
    score = weights + facts
    if piece.endswith("?"):
        score = 0.35 * (weights + facts / 2)
    if found and found[0] in SMALL_TALK:
        score *= 0.5
    if role == "user" and not FIRST_PERSON.isdisjoint(found):
        score *= 1.15
    return score / (utf8_size(piece) + _LINE_COST)


@word_cache
def _is_name(token: str) -> bool:
    letter = next((letter for letter in token if letter.isalnum()), "")
    return letter.isupper() and words(token)[0] != "i"


def _pieces(text: str) -> list[str]:
    """Its sentences, on one line each; run-on ones in parts of a dozen words."""
    sentences: list[str] = []
    for part in _SENTENCE_END.split(text):
        sentence = " ".join(part.split())
        if sentences and _ABBREVIATION.search(sentences[-1]):
            sentences[-1] = f"{sentences[-1]} {sentence}".rstrip()
        elif sentence:
            sentences.append(sentence)
    pieces: list[str] = []
    for sentence in sentences:
        tokens = sentence.split(" ")
        step = len(tokens) if len(tokens) <= _RUN_ON else _RUN_ON // 2
        pieces.extend(" ".join(tokens[start : start + step]) for start in range(0, len(tokens), step))
    return pieces


def _squeeze(piece: str) -> str:
    """Without stop words and filler, in the same order; whole when nothing else is in it."""
    kept = [token for token in piece.split(" ") if not _droppable(token)]
    if not kept:
        return piece
    squeezed = " ".join(kept)
    if piece[-1] in ".!?" and squeezed[-1].isalnum():
        squeezed += piece[-1]
    return squeezed if utf8_size(squeezed) < utf8_size(piece) else piece


@word_cache
def _droppable(token: str) -> bool:
    # "it's" is made of two stop words; "don't" has a t, which only a negation leaves behind.
    parts = words(token)
    return bool(parts) and "t" not in parts[1:] and SQUEEZED_OUT.issuperset(parts)


def _cut(text: str, max_bytes: int) -> str:
    """Its beginning, to a whole word when one ends in the second half, else to a whole character."""
    head = text.encode()[:max_bytes].decode(errors="ignore")
    if text[len(head) : len(head) + 1].isspace():
        return head
    space = head.rfind(" ")
    return head[:space] if space > len(head) // 2 else head
