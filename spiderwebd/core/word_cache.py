"""What was found out about words, remembered: people repeat theirs, and judging one costs microseconds.

Only words as people use them are kept. A "word" of thousands of letters is data, comes once, and would
make a cache that is bounded in entries alone hold tens of megabytes (8,192 of 4 KiB are 32).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

WORDS_KEPT = 8_192
LETTERS_KEPT = 64
"""The longest word that is remembered; the longest of a dictionary has half of that."""

Found = TypeVar("Found")


def word_cache(judge: Callable[[str], Found]) -> Callable[[str], Found]:
    """Remember what a pure function of a word returned, for the WORDS_KEPT words that were asked for last."""
    kept = lru_cache(maxsize=WORDS_KEPT)(judge)

    @wraps(judge)
    def judged(word: str) -> Found:
        return kept(word) if len(word) <= LETTERS_KEPT else judge(word)

    return judged
