"""Words are judged once, and what is no word is never kept."""

from __future__ import annotations

import tracemalloc

import pytest

from spiderwebd.core import compaction, ranking
from spiderwebd.core.word_cache import LETTERS_KEPT, WORDS_KEPT, word_cache

LONG = 2_000


def test_a_word_is_judged_once_and_a_long_one_each_time() -> None:
    """Each with its own answer; a letter beyond the bound is too long."""
    asked: list[str] = []

    @word_cache
    def judge(word: str) -> str:
        asked.append(word)
        return word.upper()

    words = ["tea", "x" * LETTERS_KEPT, "y" * (LETTERS_KEPT + 1)]
    for _ in range(2):
        assert [judge(word) for word in words] == [word.upper() for word in words]
    assert asked == [*words, words[-1]]


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
