"""One word for where a session stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from spiderwebd.core.lifecycle import LIFECYCLE, word

README = (Path(__file__).parents[2] / "README.md").read_text()

QUIET = {
    "draining": False,
    "degraded": False,
    "paused": False,
    "goals": 0,
    "active": 0,
    "working": 0,
    "chats": 0,
    "answering": False,
    "blocked": False,
}

SIGNS: list[dict[str, int]] = [
    {"draining": True},
    {"degraded": True},
    {"paused": True, "goals": 1},
    {"working": 1, "active": 1, "goals": 1},
    {"active": 1, "goals": 1},
    {"answering": True, "chats": 1},
    {"chats": 1},
    {"blocked": True},
    {},
]
"""What makes each word, in the order of LIFECYCLE."""


@pytest.mark.parametrize("place", range(len(SIGNS)))
def test_the_first_word_that_applies_is_told(place: int) -> None:
    """Each word has its own sign, and holds whatever signs of later words there are beside it."""
    names = list(LIFECYCLE)
    assert word(**{**QUIET, **SIGNS[place]}) == names[place]  # type: ignore[arg-type]  # ints and bools mixed
    for later in SIGNS[place:]:
        assert word(**{**QUIET, **later, **SIGNS[place]}) == names[place]  # type: ignore[arg-type]  # the same


def test_paused_without_goals_is_idle() -> None:
    """There is nothing to resume."""
    assert word(**{**QUIET, "paused": True}) == "idle"  # type: ignore[arg-type]  # ints and bools mixed


def test_the_table_of_words_is_the_code() -> None:
    """The README lists every word with its meaning, in the order in which they are tried."""
    section = README.split("\n### Where a session stands\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    said = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    assert said == [(f"`{name}`", meaning) for name, meaning in LIFECYCLE.items()]
