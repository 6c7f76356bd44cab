"""The stemmer gives what SQLite's tokenizer gives: the index and the unindexed tail meet."""

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiderwebd.core.porter import _ENDINGS, _STEP_2, _STEP_3, stem

SUFFIXES = [suffix for suffix, _ in (*_STEP_2, *_STEP_3)] + _ENDINGS.split()
SUFFIXES += ["s", "ss", "es", "ies", "sses", "ed", "eed", "ing", "y", "e", "ll", ""]
WORDS = st.builds(
    lambda start, first, second: start + first + second,
    st.text("abcdefilmnorstuwxyz7é", max_size=9),
    st.sampled_from(SUFFIXES),
    st.sampled_from(SUFFIXES),
).filter(bool)


def sqlite_stems(words: list[str]) -> list[str]:
    """What FTS5 stores for each word."""
    connection = sqlite3.connect(":memory:")
    connection.execute(
        'CREATE VIRTUAL TABLE t USING fts5(x, tokenize="porter unicode61 remove_diacritics 0")'
    )
    connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, 'instance')")
    connection.executemany("INSERT INTO t(rowid, x) VALUES (?, ?)", enumerate(words))
    stems = [term for (term,) in connection.execute("SELECT term FROM v ORDER BY doc")]
    connection.close()
    return stems


@given(st.lists(WORDS, min_size=1, max_size=50))
@settings(deadline=None)
def test_stems_are_those_of_sqlite(words: list[str]) -> None:
    """Every suffix of every step, alone and in pairs, behind any start."""
    assert [stem(word) for word in words] == sqlite_stems(words)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("caresses", "caress"),
        ("ponies", "poni"),
        ("agreed", "agre"),
        ("plastered", "plaster"),
        ("motoring", "motor"),
        ("hopping", "hop"),
        ("filing", "file"),
        ("happy", "happi"),
        ("relational", "relat"),
        ("triplicate", "triplic"),
        ("adjustment", "adjust"),
        ("adoption", "adopt"),
        ("controlling", "control"),
        ("sky", "sky"),
        ("is", "is"),
        ("5432", "5432"),
        ("x" * 64 + "s", "x" * 64 + "s"),
    ],
)
def test_examples_of_the_paper(word: str, expected: str) -> None:
    """One word for each step, from the paper, and the words that are left alone."""
    assert stem(word) == expected
