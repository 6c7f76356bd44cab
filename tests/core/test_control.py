"""agent.control: the matrix of compatibility 6.4 and the modes of 6.5, silence replaced by errors."""

from __future__ import annotations

from typing import Any

import pytest

from spiderwebd.core.effects import Hold, StartTask, StopGoal
from spiderwebd.core.records import RequestState
from tests.core.life import KEY, Frame, Life, told

GOAL = "find a; find b; find c; find d; find e"

UNSUPPORTED = ("agent.control unsupported action", "control_unsupported")
MISSING = ("agent.control requires goal field or text", "control_goal_missing")


def control(life: Life, **fields: Any) -> list[Frame]:
    return life.send({"type": "agent.control", "id": "k-1", **fields})


@pytest.mark.parametrize(
    ("fields", "goal"),
    [
        ({"goal": "find a"}, "find a"),
        ({"action": "goal", "goal": "find a"}, "find a"),
        ({"action": "plan", "goal": " find a\n"}, "find a"),
        ({"action": 5, "goal": "find a"}, "find a"),
        ({"action": None, "text": "find a"}, "find a"),
        ({"content": "find a", "text": "find b"}, "find a"),
        ({"content": 5, "text": "find b"}, "find b"),
        ({"content": "find a", "goal": "find b"}, "find b"),
        ({"content": "/goal find a"}, "/goal find a"),
    ],
)
def test_6_4_a_goal_is_found_in_this_order(fields: dict[str, Any], goal: str) -> None:
    """Compatibility 6.4: the goal key decides when it is there; else content, else text; trimmed."""
    life = Life()
    control(life, **fields)
    assert life.state.last_goal == goal
    assert life.rows.requests["k-1"].type == "agent.control"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"action": "jump"}, UNSUPPORTED),
        ({"action": ""}, UNSUPPORTED),
        ({"action": "State"}, UNSUPPORTED),
        ({"action": "jump", "goal": "find a"}, UNSUPPORTED),
        ({}, MISSING),
        ({"action": "goal"}, MISSING),
        ({"action": "plan", "text": " \t\r\n"}, MISSING),
        ({"content": "", "text": "find a"}, MISSING),
        ({"goal": ""}, MISSING),
        ({"goal": 5, "content": "find a"}, MISSING),
        ({"goal": None, "content": "find a"}, MISSING),
        ({"goal": "  ", "text": "find a"}, MISSING),
    ],
)
def test_6_4_every_error_has_the_original_words_and_a_code(
    fields: dict[str, Any], error: tuple[str, str]
) -> None:
    """Compatibility 6.4: unsupported actions and missing goals, also where the original kept silent."""
    life = Life()
    (frame,) = control(life, **fields)
    assert (frame["message"], frame["code"], frame["request"]) == (*error, "k-1")
    assert life.rows.requests == {}


@pytest.mark.parametrize("action", ["state", "status"])
@pytest.mark.parametrize("mode", ["running", "paused", "cancelled"])
def test_6_4_state_reports_the_mode_as_phase(action: str, mode: str) -> None:
    """Compatibility 6.4: state and status answer agent.state whose phase is the current mode."""
    life = Life()
    life.control({"running": "resume", "paused": "pause", "cancelled": "cancel"}[mode])
    (frame,) = control(life, action=action)
    assert (frame["type"], frame["phase"], frame["mode"]) == ("agent.state", mode, mode)
    assert list(frame)[:7] == [
        "type",
        "request",
        "sessionKey",
        "phase",
        "queuedTasks",
        "activeTasks",
        "lastGoal",
    ]
    assert (frame["sessionKey"], frame["lastGoal"], frame["goals"]) == (KEY, "", [])
    assert "seq" not in frame


@pytest.mark.parametrize(
    ("action", "phase", "mode"),
    [
        ("pause", "workers.paused", "paused"),
        ("resume", "workers.running", "running"),
        ("cancel", "workers.cancelled", "cancelled"),
    ],
)
@pytest.mark.parametrize("before", ["pause", "resume", "cancel"])
def test_6_5_every_action_is_legal_from_every_mode(action: str, phase: str, mode: str, before: str) -> None:
    """Compatibility 6.5: each answers agent.state with its phase, whatever the mode was."""
    life = Life()
    life.control(before)
    (frame,) = control(life, action=action)
    assert (frame["type"], frame["phase"], frame["mode"]) == ("agent.state", phase, mode)
    assert life.rows.session is not None
    assert life.rows.session.mode == mode


def test_6_4_heartbeat_forces_a_heartbeat() -> None:
    """Compatibility 6.4: action heartbeat is the same as agent.heartbeat, and always answered."""
    life = Life()
    assert told(control(life, action="heartbeat")) == [
        ("agent.progress", "heartbeat", "idle"),
        ("agent.heartbeat",),
    ]


def test_6_5_pause_stops_dispatch_and_holds_workers() -> None:
    """Issue 3: running tasks are held at their gate and nothing further starts until resume."""
    life = Life()
    life.goal("k-g", GOAL)
    (frame,) = control(life, action="pause")
    assert (frame["queuedTasks"], frame["activeTasks"]) == (3, 2)
    assert life.gate_closed
    life.end(1)
    assert sorted(life.running) == [(1, 2)]
    (frame,) = control(life, action="resume")
    assert not life.gate_closed
    assert sorted(life.running) == [(1, 2), (1, 3)]
    assert (frame["queuedTasks"], frame["activeTasks"]) == (2, 2)


def test_the_gate_opens_before_work_starts() -> None:
    """Resume lets held workers go before it starts others; a pause closes the gate once more."""
    life = Life()
    life.control("pause")
    life.goal("k-g", "find a")
    del life.starts[:]
    control(life, action="resume")
    assert life.starts[0] == Hold(closed=False)
    assert isinstance(life.starts[1], StartTask)


def test_6_5_cancel_ends_running_work_and_lasts_until_resume() -> None:
    """Correction of 6.5: running tasks are stopped, every goal ends, and the mode stays cancelled."""
    life = Life()
    life.goal("k-g", GOAL)
    life.goal("k-h", "find z")
    frames = control(life, action="cancel")
    assert frames[-1]["phase"] == "workers.cancelled"
    assert (frames[-1]["queuedTasks"], frames[-1]["activeTasks"]) == (0, 0)
    assert [start for start in life.starts if isinstance(start, StopGoal)] == [
        StopGoal(1, "goal cancelled"),
        StopGoal(2, "goal cancelled"),
    ]
    assert not life.running
    for name in ("k-g", "k-h"):
        assert life.rows.requests[name].state is RequestState.CANCELLED
    life.goal("k-i", "find y")
    assert life.rows.requests["k-i"].state is RequestState.CANCELLED
    control(life, action="resume")
    life.goal("k-j", "find x")
    assert life.running


def test_cancel_with_a_goal_id_ends_one_goal() -> None:
    """Issue 3: with goalId one goal ends, the mode stays, and the next goal starts."""
    life = Life()
    life.goal("k-g", "find a")
    life.goal("k-h", "find b")
    frames = control(life, action="cancel", goalId=1)
    assert (frames[-1]["phase"], frames[-1]["mode"]) == ("workers.cancelled", "running")
    assert list(life.state.goals) == [2]
    assert list(life.running) == [(2, 1)]


@pytest.mark.parametrize("goal_id", [0, 1, 3])
def test_cancel_of_no_open_goal_is_refused(goal_id: int) -> None:
    """An ended, unknown or impossible goalId changes nothing."""
    life = Life()
    life.goal("k-g", "find a")
    life.end(1)
    (frame,) = control(life, action="cancel", goalId=goal_id)
    assert frame["message"] == f"No running goal of this session has goalId {goal_id}."
    assert frame["code"] == "goal_unknown"


def test_1_4_a_goal_that_cannot_be_planned() -> None:
    """Compatibility 1.4: the planner's refusal has the original's words; the goal is not accepted."""
    life = Life()
    for frame in (
        {"content": "/goal \u00a0", "type": "chat.send"},
        {"goal": "\x0b", "type": "agent.control"},
    ):
        (error,) = life.send({"id": "k-1", **frame})
        assert error["message"] == "Failed to build Primary Brain plan"
        assert error["code"] == "goal_empty"
    assert life.state.next_goal_id == 1


def test_a_mode_is_written_down_once() -> None:
    """A change of mode survives a crash; asking for the mode that is costs no transaction."""
    life = Life()
    control(life, action="pause")
    life.crash()
    assert life.state.mode == "paused"
    assert life.gate_closed
    step = life.do(lambda step: None)
    assert step.records == []
