"""Quoting never breaks a character."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.core.quotes import cut, quote

FAMILY = "👨\u200d👩\u200d👧"


def test_short_text_stays() -> None:
    """What fits is returned as it is."""
    assert cut("abc", 3) == "abc"


def test_cut_says_so() -> None:
    """What does not fit ends in an ellipsis within the limit."""
    assert cut("abcdef", 4) == "abc…"


def test_joined_characters_stay_together() -> None:
    """A cut inside an accented letter or a joined emoji moves before it."""
    assert cut("ab" + "e\u0301" + "cd", 4) == "ab…"
    assert cut("ab" + FAMILY + "cd", 6) == "ab…"


def test_quote_is_one_line() -> None:
    """Line ends and runs of blanks become single spaces."""
    assert quote("a\n\tb  c", 80) == '"a b c"'


@given(st.text(), st.integers(2, 40))
def test_cut_is_a_bounded_prefix(text: str, limit: int) -> None:
    """The result is never longer than the limit and, ellipsis aside, is the beginning of the text."""
    short = cut(text, limit)
    assert len(short) <= limit
    if short != text:
        kept = short.removesuffix("…")
        assert text.startswith(kept)
        assert not unicodedata.category(text[len(kept)]).startswith("M") or not kept
