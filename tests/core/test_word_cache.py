"""Words are judged once, and what is no word is never kept."""

from __future__ import annotations

import tracemalloc

import pytest

from spiderwebd.core import compaction, ranking
from spiderwebd.core.word_cache import LETTERS_KEPT, WORDS_KEPT, word_cache

LONG = 2_000


def test_a_word_is_judged_once() -> None:
    """The second time it is remembered, with its own answer."""
    asked: list[str] = []

    @word_cache
    def judge(word: str) -> int:
        asked.append(word)
        return len(word)

    assert [judge(word) for word in ("tea", "cup", "tea", "cup")] == [3, 3, 3, 3]
    assert asked == ["tea", "cup"]


def test_a_long_one_is_judged_each_time() -> None:
    """From one letter beyond the bound on."""
    asked: list[str] = []

    @word_cache
    def judge(word: str) -> int:
        asked.append(word)
        return len(word)

    for _ in range(2):
        assert judge("x" * LETTERS_KEPT) == LETTERS_KEPT
        assert judge("x" * (LETTERS_KEPT + 1)) == LETTERS_KEPT + 1
    assert len(asked) == 3


@pytest.mark.parametrize("judge", [ranking.index_word, compaction._droppable, compaction._is_name])
def test_no_cache_of_the_daemon_keeps_long_words(judge: object) -> None:
    """However many of them somebody sends, memory stays where it is."""
    assert callable(judge)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(WORDS_KEPT):
            judge(f"{number}x".ljust(LONG, "y"))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < WORDS_KEPT * LONG / 16
