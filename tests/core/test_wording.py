"""The pieces of patterns."""

import re

import pytest

from spiderwebd.core.wording import FILE, LEAD, compiled


def test_space_stands_for_any_white_space() -> None:
    """A plain space in a pattern matches tabs, line ends and runs of blanks, and letters of any case."""
    assert compiled("make directory").fullmatch("Make \t\n DIRECTORY")
    assert not compiled("make directory").fullmatch("makedirectory")


@pytest.mark.parametrize(
    ("title", "rest"),
    [("Please, read", "read"), ("2: then read", "read"), ("could you read", "read"), ("pleased", "pleased")],
)
def test_lead(title: str, rest: str) -> None:
    """Courtesies and numbering are skipped, words that merely begin like them are not."""
    match = LEAD.match(title)
    assert title[match.end() if match else 0 :] == rest


@pytest.mark.parametrize("name", ["a.txt", "a/b", "./a", "../a", ".hidden", "~/a", "'a b.txt'", "the file a"])
def test_what_looks_like_a_file(name: str) -> None:
    """A name with a suffix or a slash is taken for a file; other names need the word file."""
    assert re.fullmatch(FILE.replace(" ", r"\s+"), name)


@pytest.mark.parametrize("name", ["server", "the server", "a. b", "file", "'a b'"])
def test_what_does_not(name: str) -> None:
    """Plain words are no file names."""
    assert not re.fullmatch(FILE.replace(" ", r"\s+"), name)
