"""Saturation: compatibility 8.3 and 8.4, with texts and the five counters (12.13)."""

from __future__ import annotations

from spiderwebd.core.saturation import PROLONGED_MS
from tests.core.life import KEY, Frame, Life, told

FIVE = "find a; find b; find c; find d; find e"


def saturated(life: Life) -> list[Frame]:
    return [frame for frame in life.frames if "saturat" in frame.get("status", "")]


def test_8_4_a_plan_beyond_the_limit_is_told_with_five_counters() -> None:
    """Compatibility 8.4: after planner/ready, the original's words; the plan frame names what is left out."""
    life = Life(max_tasks=4)
    frames = life.goal("k-2", FIVE)
    assert told(frames)[2:6] == [
        ("agent.plan",),
        ("agent.progress", "planner", "ready"),
        ("agent.progress", "planner", "saturated"),
        ("agent.progress", "workers", "queued"),
    ]
    assert frames[2]["dropped"] == ["find e"]
    assert len(frames[2]["tasks"]) == 4
    assert frames[4] == {
        "type": "agent.progress",
        "request": "k-2",
        "sessionKey": KEY,
        "phase": "planner",
        "status": "saturated",
        "message": "Worker queue saturation: accepted 4/5 plan tasks; 1 dropped",
        "goalId": 1,
        "accepted": 4,
        "total": 5,
        "deferred": 4,
        "dropped": 1,
        "queued": 4,
        "active": 0,
        "seq": 5,
    }


def test_a_plan_within_the_limit_says_nothing() -> None:
    """No saturation frame, and no dropped field, when every task was accepted."""
    life = Life(max_tasks=5)
    assert "dropped" not in life.goal("k-2", FIVE)[2]
    assert saturated(life) == []


def test_8_4_prolonged_saturation_is_told_once() -> None:
    """Compatibility 8.4 and 12.13: after 30 s, before the heartbeat's own line, once."""
    life = Life(max_tasks=4)
    life.goal("k-2", FIVE)
    life.end(1)
    life.now += PROLONGED_MS - 1
    assert told(life.control("heartbeat"))[0] == ("agent.progress", "heartbeat", "watching")
    life.now += 1
    frames = life.control("heartbeat")
    assert told(frames) == [
        ("agent.progress", "planner", "prolonged_saturation"),
        ("agent.progress", "heartbeat", "watching"),
        ("agent.heartbeat",),
    ]
    assert frames[0]["message"] == (
        "Backpressure persisted for the last 30000ms; 1 dropped tasks were deferred on prior dispatch."
    )
    counters = [frames[0][name] for name in ("accepted", "total", "deferred", "dropped", "queued", "active")]
    assert counters == [3, 4, 1, 1, 1, 2]
    life.now += PROLONGED_MS
    assert told(life.control("heartbeat"))[0] == ("agent.progress", "heartbeat", "watching")


def test_12_13_only_while_work_is_really_waiting() -> None:
    """Correction of defect 12: when the goal has ended, its saturation has too."""
    life = Life(max_tasks=1)
    life.goal("k-2", FIVE)
    life.end(1)
    life.goal("k-3", "find z")
    life.now += PROLONGED_MS
    life.control("heartbeat")
    assert [frame["status"] for frame in saturated(life)] == ["saturated"]
    assert "dropped" not in life.state.beat


def test_12_13_what_only_runs_does_not_wait() -> None:
    """Tasks that were left out are no work that waits, nor is one that a worker has."""
    life = Life(max_tasks=2, parallel_tasks=2)
    life.goal("k-2", FIVE)
    life.now += 2 * PROLONGED_MS
    life.control("heartbeat")
    assert [frame["status"] for frame in saturated(life)] == ["saturated"]


def test_another_goal_s_end_leaves_saturation_alone() -> None:
    """The figures belong to the goal they are about, and survive a crash with it."""
    life = Life(max_tasks=2, parallel_tasks=1)
    life.goal("k-2", "find z")
    life.goal("k-3", FIVE)
    life.end(1)
    life.crash()
    assert life.state.beat["dropped"] == 3
    life.now += PROLONGED_MS
    life.control("heartbeat")
    assert [frame["status"] for frame in saturated(life)] == ["saturated", "prolonged_saturation"]
