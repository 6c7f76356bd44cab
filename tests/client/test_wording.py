"""Frames in words: every frame has some, and none can steer a terminal."""

from __future__ import annotations

import re
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.client import wording
from spiderwebd.client.wording import visible, words
from spiderwebd.core import frames


def server_types() -> set[str]:
    """Every server frame type of the protocol."""
    hints = [get_type_hints(frame)["type"] for frame in get_args(frames.ServerFrame)]
    return {kind for hint in hints for kind in get_args(hint)}


def test_every_server_frame_has_words() -> None:
    """No frame of the protocol is shown to a person as JSON."""
    assert server_types() == set(wording._WORDINGS)


@pytest.mark.parametrize("kind", sorted(wording._WORDINGS))
def test_a_frame_without_its_fields_does_not_fail(kind: str) -> None:
    """An older or newer daemon may leave fields out; the client goes on."""
    assert isinstance(words({"type": kind}), list)


def test_an_unknown_frame_is_shown_whole() -> None:
    """Nothing that comes is hidden."""
    assert words({"type": "agent.dance", "step": 1}) == ['{"type": "agent.dance", "step": 1}']


def test_a_plan_in_words() -> None:
    """A plan names its tasks and what did not fit."""
    frame = {
        "type": "agent.plan",
        "goalId": 2,
        "tasks": [{"id": 1, "title": "read", "worker": "research"}],
        "dropped": ["write"],
    }
    assert words(frame) == ["plan of goal 2, 1 tasks:", "  1. read [research]", "  dropped: write"]


def test_a_blocked_task_in_words() -> None:
    """The code is told with the state."""
    frame = {
        "type": "agent.status",
        "taskId": 1,
        "status": "blocked",
        "code": "no_worker",
        "message": "cannot",
    }
    assert words(frame) == ["task 1 blocked (no_worker): cannot"]


def test_a_milestone_that_a_status_repeats_is_left_out() -> None:
    """A task's progress and status frames say the same; one line is enough."""
    milestone = {
        "type": "agent.progress",
        "phase": "research",
        "status": "complete",
        "taskId": 1,
        "message": "m",
    }
    paused = {"type": "agent.progress", "phase": "workers", "status": "paused", "taskId": 3, "message": "m"}
    assert words(milestone) == []
    assert words(paused) == ["workers/paused: m"]


def test_an_error_in_words() -> None:
    """Code, message and when to try again."""
    frame = {"type": "error", "code": "queue_full", "message": "Full.", "retry_after_ms": 5}
    assert words(frame) == ["refused (queue_full): Full.; try again in 5 ms"]


def test_escapes_are_shown() -> None:
    """A daemon's text cannot clear the screen, set a title or turn the writing round."""
    assert visible("a\x1b[2J\x9b\u202eb\ud800\tc\n") == "a\\x1b[2J\\x9b\\u202eb\\ud800\tc\n"


@given(st.text())
def test_visible_text_cannot_steer_a_terminal(text: str) -> None:
    """Whatever comes, no control but tab and line feed is left, and plain text stays as it is."""
    shown = visible(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    shown.encode()
    if text.isascii() and text.isprintable():
        assert shown == text
