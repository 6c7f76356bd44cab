"""The sessions file: what it keeps, who may read it, and that a spoilt one harms nobody."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from spiderwebd.client.remembered import KEPT, RememberedSessions, default_path


@pytest.fixture
def remembered(tmp_path: Path) -> RememberedSessions:
    return RememberedSessions(tmp_path / "state" / "sessions.json")


def test_the_last_session_of_each_place_is_kept(remembered: RememberedSessions) -> None:
    """Another daemon or agent has a last session of its own; a later one replaces it."""
    remembered.keep("a default", "one", 3)
    remembered.keep("b default", "two", None)
    remembered.keep("a default", "three", 7)
    again = RememberedSessions(remembered.path)
    assert (again.last("a default"), again.last("b default"), again.last("c")) == ("three", "two", None)
    assert [again.seq(key) for key in ("one", "two", "three", "four")] == [3, None, 7, None]


def test_only_the_user_may_read_it(remembered: RememberedSessions) -> None:
    """A session key is a secret: the file is 0600, its folder 0700, and no draft stays behind."""
    remembered.keep("a", "one", 1)
    assert stat.S_IMODE(remembered.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(remembered.path.parent.stat().st_mode) == 0o700
    assert list(remembered.path.parent.iterdir()) == [remembered.path]


def test_it_stays_small(remembered: RememberedSessions) -> None:
    """The session used longest ago is forgotten first, and its place with it."""
    for number in range(KEPT + 2):
        remembered.keep(f"place {number}", f"key {number}", number)
    assert remembered.seq("key 0") is None
    assert remembered.last("place 1") is None
    assert remembered.seq("key 2") == 2
    assert remembered.last(f"place {KEPT + 1}") == f"key {KEPT + 1}"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version":99}', '{"version":1,"last":[],"seqs":3}', '{"version":1,"last":{"a":5}}'],
)
def test_a_spoilt_file_is_begun_anew(remembered: RememberedSessions, text: str) -> None:
    """Nothing in it is worth failing for."""
    remembered.path.parent.mkdir()
    remembered.path.write_text(text)
    assert remembered.last("a") is None
    remembered.keep("a", "one", 1)
    assert (remembered.last("a"), remembered.seq("one")) == ("one", 1)


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_STATE_HOME decides, but only when it is absolute."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path({"XDG_STATE_HOME": "/x"}) == Path("/x/spiderweb/sessions.json")
    assert default_path({"XDG_STATE_HOME": "x"}) == tmp_path / ".local/state/spiderweb/sessions.json"
    assert default_path({}) == tmp_path / ".local/state/spiderweb/sessions.json"


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The caller is told, to tell the user."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        RememberedSessions(tmp_path / "file" / "sessions.json").keep("a", "one", 1)
