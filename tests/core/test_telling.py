"""Frames of a goal's story carry the original's fields first, in its order (compatibility 1.4)."""

from __future__ import annotations

from spiderwebd.core.codes import Code
from spiderwebd.core.outcome import failed
from spiderwebd.core.telling import tell_answer, tell_progress
from tests.core.life import KEY, Life


def test_1_4_progress_status_state_and_answer() -> None:
    """Field for field as the examples of compatibility 1.4; ours follow, seq last."""
    life = Life()
    life.goal("k-2", "read log")
    progress, status, *_ = life.end(1, failed("research: no log", Code.TASK_FAILED))
    assert list(progress.items()) == [
        ("type", "agent.progress"),
        ("request", "k-2"),
        ("sessionKey", KEY),
        ("phase", "research"),
        ("status", "failed"),
        ("message", "research worker failed for task 1: research: no log"),
        ("goalId", 1),
        ("taskId", 1),
        ("seq", 7),
    ]
    assert list(status.items()) == [
        ("type", "agent.status"),
        ("request", "k-2"),
        ("sessionKey", KEY),
        ("taskId", 1),
        ("worker", "research"),
        ("status", "failed"),
        ("message", "research: no log"),
        ("goalId", 1),
        ("attempt", 1),
        ("code", "task_failed"),
        ("seq", 8),
    ]
    state = next(frame for frame in life.frames if frame["type"] == "agent.state")
    assert list(state)[:7] == [
        "type",
        "request",
        "sessionKey",
        "phase",
        "queuedTasks",
        "activeTasks",
        "lastGoal",
    ]
    received = next(frame for frame in life.frames if frame["type"] == "session.receive")
    assert list(received) == ["type", "content", "memoryId", "request", "sessionKey", "goalId", "seq"]


def test_particulars_are_left_out_when_there_are_none() -> None:
    """A progress that is about no goal has the original's six fields and seq; so has a chat's answer."""
    life = Life()
    life.do(lambda step: tell_progress(step, "k-1", "heartbeat", "idle", "Quiet."))
    life.do(lambda step: tell_answer(step, "k-1", "hi", 4))
    assert list(life.frames[0]) == ["type", "request", "sessionKey", "phase", "status", "message", "seq"]
    assert list(life.frames[1]) == ["type", "content", "memoryId", "request", "sessionKey", "seq"]
