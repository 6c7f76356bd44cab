"""agent.state: what it shows is counted from the goals and tasks themselves."""

from __future__ import annotations

from spiderwebd.core import goals
from spiderwebd.core.state_frames import full_state_frame, state_frame
from tests.core.life import Life


def test_the_state_frame_counts_the_tasks_of_all_goals() -> None:
    """queuedTasks and activeTasks are counted over the tasks, and go back to 0."""
    life = Life()
    life.goal("k-1", "find a; find b; find c")
    life.goal("k-2", "find d")
    frame = state_frame(life.state, "k-3", "running")
    assert (frame["queuedTasks"], frame["activeTasks"], frame["lastGoal"]) == (2, 2, "find d")
    life.control("cancel")
    frame = state_frame(life.state, "k-3", "running")
    assert (frame["queuedTasks"], frame["activeTasks"]) == (0, 0)


def test_the_full_state_shows_every_goal_with_its_tasks() -> None:
    """A client that asks sees where each task stands, and how old each goal is."""
    life = Life()
    life.goal("k-1", "find a; frobnicate")
    life.end(1)
    frame = full_state_frame(life.state, "k-3", "running", life.now + 1500)
    assert frame["goals"] == [
        {
            "goalId": 1,
            "request": "k-1",
            "goal": "find a; frobnicate",
            "status": "running",
            "ageMs": 1500,
            "tasks": [
                {
                    "id": 1,
                    "title": "find a",
                    "worker": "research",
                    "status": "complete",
                    "attempt": 1,
                    "ageMs": 1500,
                },
                {
                    "id": 2,
                    "title": "frobnicate",
                    "worker": "execution",
                    "status": "running",
                    "attempt": 1,
                    "ageMs": 1500,
                },
            ],
        }
    ]
    assert "seq" not in frame


def test_the_full_state_shows_queues_and_limits() -> None:
    """An answer carries how much waits and runs, and how much may; the journalled frame does not."""
    life = Life(chats_queued=7, goals_queued=5, parallel_tasks=1, tasks_queued=99)
    life.chat("k-1", "hello")
    life.goal("k-2", "find a; find b; find c")
    life.do(lambda step: goals.task_began(step, 1, 1))
    frame = full_state_frame(life.state, "k-3", "running", life.now)
    assert frame["version"] == 1
    assert frame["queues"] == {"chats": 1, "goals": 1, "tasks": 2, "started": 1, "working": 1}
    assert frame["limits"] == {"chats": 7, "goals": 5, "tasks": 99, "started": 1}
    assert not {"queues", "limits", "version"} & state_frame(life.state, "k-3", "running").keys()
