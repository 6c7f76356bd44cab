"""Requests: the frame that ends each, and how."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from spiderwebd.client.errors import Exit
from spiderwebd.client.request import LAST_ANSWER, UNANSWERED, Request
from spiderwebd.core.protocol import CLIENT_FRAMES, AnyFrame


def client_types() -> set[str]:
    """Every client frame type of the protocol."""
    union = get_args(AnyFrame)[0]
    return {kind for frame in get_args(union) for kind in get_args(frame.model_fields["type"].annotation)}


def test_every_client_frame_is_known() -> None:
    """The client knows for each frame of the protocol when its answer is complete."""
    depends = {"chat.send", "session.send", "agent.control"}
    assert client_types() == set(LAST_ANSWER) | set(UNANSWERED) | depends
    assert CLIENT_FRAMES.validate_python({"type": "ping"}).type == "ping"


def feed(frame: dict[str, Any], *answers: dict[str, Any], detached: bool = False) -> Request:
    """Give a request its answers; the last one must be what ends it."""
    request = Request(frame, "r", detached)
    for answer in answers:
        assert not request.ended, f"ended before {answer}"
        request.take({"request": "r", **answer})
    return request


ACCEPTED = {"type": "session.accepted", "memoryId": 1, "seq": 1}
GOAL = {"type": "session.accepted", "memoryId": 1, "seq": 1, "goalId": 4}
LAST = {"type": "agent.progress", "phase": "execution", "status": "complete", "goalId": 4}


def task(state: str, number: int = 1) -> dict[str, Any]:
    return {"type": "agent.status", "taskId": number, "status": state, "goalId": 4}


@pytest.mark.parametrize(
    ("frame", "answers"),
    [
        ({"type": "ping"}, [{"type": "pong"}]),
        (
            {"type": "chat.send", "content": "hi"},
            [ACCEPTED, {"type": "memory.event"}, {"type": "session.receive"}],
        ),
        ({"type": "session.send", "text": "/new"}, [{"type": "session.new"}]),
        ({"type": "memory.create", "content": "x"}, [ACCEPTED]),
        ({"type": "memory.update"}, [{"type": "memory.event"}, {"type": "memory.update"}]),
        ({"type": "agent.heartbeat"}, [{"type": "agent.progress"}, {"type": "agent.heartbeat"}]),
        ({"type": "agent.control", "action": "pause"}, [{"type": "agent.state"}]),
        (
            {"type": "agent.control", "action": "heartbeat"},
            [{"type": "agent.progress"}, {"type": "agent.heartbeat"}],
        ),
        ({"type": "session.list"}, [{"type": "session.list.response"}]),
        (
            {"type": "chat.send", "content": "/goal x"},
            [GOAL, {"type": "agent.state"}, task("complete"), {"type": "session.receive"}, LAST],
        ),
        ({"type": "agent.control", "goal": "x"}, [GOAL, {"type": "agent.state"}, task("complete"), LAST]),
    ],
)
def test_what_ends_a_request(frame: dict[str, Any], answers: list[dict[str, Any]]) -> None:
    """The last answer ends it, nothing before that does, and it is done."""
    request = feed(frame, *answers)
    assert (request.ended, request.exit) == (True, Exit.DONE)


@pytest.mark.parametrize("state", ["blocked", "failed", "cancelled", "expired"])
def test_a_goal_that_is_not_done(state: str) -> None:
    """One task that did not complete is enough."""
    request = feed({"type": "chat.send", "content": "/goal x"}, GOAL, task("complete"), task(state, 2), LAST)
    assert (request.ended, request.exit) == (True, Exit.NOT_DONE)


def test_an_interrupted_task_that_completes_later_is_done() -> None:
    """Only the last state of a task counts: a crash in between does not spoil the goal."""
    request = feed(
        {"type": "chat.send", "content": "/goal x"}, GOAL, task("interrupted"), task("complete"), LAST
    )
    assert request.exit is Exit.DONE


def test_a_milestone_of_an_execution_task_is_not_the_end() -> None:
    """The worker is called execution as well, and its milestone names the task."""
    milestone = {**LAST, "taskId": 1}
    request = feed({"type": "chat.send", "content": "/goal x"}, GOAL, milestone)
    assert not request.ended


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_message_without_an_answer(status: str) -> None:
    """A message that was accepted and not answered is told, and not done."""
    request = feed(
        {"type": "chat.send", "content": "hi"},
        ACCEPTED,
        {"type": "agent.progress", "phase": "execution", "status": status},
    )
    assert (request.ended, request.exit) == (True, Exit.NOT_DONE)


def test_detached() -> None:
    """A detached goal ends with its acceptance."""
    assert feed({"type": "chat.send", "content": "/goal x"}, GOAL, detached=True).ended


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("unauthorized", Exit.NOT_AUTHORISED),
        ("forbidden", Exit.NOT_AUTHORISED),
        ("queue_full", Exit.TEMPORARY),
        ("draining", Exit.TEMPORARY),
        ("storage_unavailable", Exit.TEMPORARY),
        ("rate_limited", Exit.TEMPORARY),
        ("goal_empty", Exit.REFUSED),
        ("a_code_of_tomorrow", Exit.REFUSED),
    ],
)
def test_an_error_ends_it(code: str, how: Exit) -> None:
    """The code decides the exit code."""
    request = feed({"type": "chat.send", "content": "hi"}, {"type": "error", "code": code})
    assert (request.ended, request.exit) == (True, how)


def test_frames_of_others_are_not_taken() -> None:
    """A frame with another request id, or none, changes nothing."""
    request = Request({"type": "ping"}, "r")
    assert not request.take({"type": "pong", "request": "other"})
    assert not request.take({"type": "pong"})
    assert not request.ended
