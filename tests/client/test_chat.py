"""A conversation by lines: read as they come, answered in between, bounded, resumed."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from spiderwebd.client import chat
from spiderwebd.client.chat import LineReader
from spiderwebd.client.errors import UsageError
from tests.client.conftest import User


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe whose ends are closed when the test is over, if they are not before."""
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)
        try:
            os.close(writer)
        except OSError:
            assert writer > 2  # closed by the test, to end the input


def test_lines_are_whole() -> None:
    """Halves wait for their other half; the last line needs no line feed; CRLF is taken off."""
    with pipe() as (reader, writer):
        lines = LineReader(reader)
        os.write(writer, b"one\ntw")
        assert list(lines.read()) == ["one"]
        os.write(writer, b"o\r\nthr")
        assert list(lines.read()) == ["two"]
        os.close(writer)
        assert list(lines.read()) == ["thr"]
        assert lines.ended


def test_odd_bytes_do_not_end_the_conversation() -> None:
    """What is no UTF-8 is replaced."""
    with pipe() as (reader, writer):
        os.write(writer, b"a\xffb\n")
        assert list(LineReader(reader).read()) == ["a\ufffdb"]


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Input is bounded as everything is."""
    monkeypatch.setattr(chat, "LINE_BYTES", 10)
    with pipe() as (reader, writer):
        os.write(writer, b"x" * 11)
        with pytest.raises(UsageError, match="longer than 10"):
            list(LineReader(reader).read())


@pytest.fixture
def talk(user: User, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[User, int]]:
    """A user whose standard input is a pipe, and the end to write to."""
    with pipe() as (reader, writer), os.fdopen(os.dup(reader)) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield user, writer


def test_every_line_is_answered(talk: tuple[User, int]) -> None:
    """More lines than may be under way at once are all answered, in order; blank ones are not sent."""
    user, writer = talk
    count = chat.MOST_UNANSWERED * 2 + 3
    os.write(writer, b"\n\n".join(b"line %d" % number for number in range(count)))
    os.close(writer)
    assert user.run("chat", "--json") == 0
    accepted = [frame["request"] for frame in user.frames if frame["type"] == "session.accepted"]
    answered = [frame["request"] for frame in user.frames if frame["type"] == "session.receive"]
    assert len(accepted) == count
    assert answered == accepted
    seqs = [frame["seq"] for frame in user.frames if "seq" in frame and frame["type"] != "session.ack"]
    assert seqs == list(range(1, len(seqs) + 1))


def test_live_frames_come_between_lines(talk: tuple[User, int]) -> None:
    """What another terminal does shows up while the user has typed nothing."""
    user, writer = talk
    user.run("memory", "create", "begin", "--json")
    key = user.frames[0]["sessionKey"]
    other = User({**user.environment, "XDG_STATE_HOME": user.environment["XDG_STATE_HOME"] + "-other"})

    def interrupts() -> None:
        assert other.run("memory", "create", "from elsewhere", "--session", key, "--json") == 0
        os.write(writer, b"/state\n/quit\nnever sent\n")

    thread = threading.Thread(target=interrupts)
    thread.start()
    assert user.run("chat", "--json") == 0
    thread.join(30)
    kinds = [frame["type"] for frame in user.frames]
    assert kinds.count("session.accepted") == 1
    assert kinds[-1] == "agent.state"
    assert other.frames[0] in user.frames


def test_a_goal_in_a_conversation_is_waited_for(talk: tuple[User, int]) -> None:
    """The end of the input does not cut a goal off, and its outcome is the exit code."""
    user, writer = talk
    os.write(writer, b"/goal fly to the moon\n")
    os.close(writer)
    assert user.run("chat") == 3
    assert "task 1 blocked (no_worker)" in user.out
    assert user.out.splitlines()[-1].startswith("execution/complete")


def test_a_refused_line_is_told(talk: tuple[User, int]) -> None:
    """The refusal goes to standard error, the rest goes on, and the exit code remembers it."""
    user, writer = talk
    os.write(writer, b"x" * 5000 + b"\nhello\n")
    os.close(writer)
    assert user.run("chat") == 1
    assert "message_too_large" in user.notes
    assert "Nothing stored about this yet." in user.out


def test_what_was_missed_is_shown_first_and_once(talk: tuple[User, int]) -> None:
    """A conversation resumes where the user left off."""
    user, writer = talk
    user.run("memory", "create", "seen", "--json")
    key = user.frames[0]["sessionKey"]
    other = User({**user.environment, "XDG_STATE_HOME": user.environment["XDG_STATE_HOME"] + "-other"})
    other.run("memory", "create", "missed", "--session", key, "--json")
    os.write(writer, b"hello\n")
    os.close(writer)
    assert user.run("chat", "--json") == 0
    seqs = [frame["seq"] for frame in user.frames if "seq" in frame and frame["type"] != "session.ack"]
    assert seqs == [2, 3, 4]
    path = f"{user.environment['XDG_STATE_HOME']}/spiderweb/sessions.json"
    with open(path, encoding="utf-8") as file:
        assert json.load(file)["seqs"][key] == 4
