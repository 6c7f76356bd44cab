"""Chats, goals and tasks that wait: they become rows and come back from them."""

from __future__ import annotations

from spiderwebd.core.kinds import choose
from spiderwebd.core.pending import Goal, Task
from spiderwebd.core.records import TaskState


def goal() -> Goal:
    tasks = [
        Task(1, "find a", choose("find a"), 5, TaskState.COMPLETE, 1, 6, 7, "research: found"),
        Task(2, "frobnicate", choose("frobnicate"), 5, TaskState.BLOCKED, 1, 6, 7, "cannot", "no_worker"),
        Task(3, "write file a: b", choose("write file a: b"), 5),
    ]
    return Goal(4, "k-1", "the goal", 9, 5, 1005, tasks, TaskState.RUNNING, 3, None)


def test_rows_bring_a_goal_back() -> None:
    """Goal and tasks are what they were, the choice made again from the title."""
    before = goal()
    rows = [task.record(1, before.goal_id) for task in before.tasks]
    assert Goal.restore(before.record(1), rows) == before
    assert [row.kind for row in rows] == ["research", "execution", "execution"]
    assert {row.goal_id for row in rows} == {4}


def test_tasks_are_found_by_place_and_counted_by_state() -> None:
    """Places count from 1; a goal is done when every task has ended."""
    found = goal()
    assert found.task(2).title == "frobnicate"
    assert (found.count(TaskState.COMPLETE), found.count(TaskState.QUEUED)) == (1, 1)
    assert not found.done
    found.task(3).state = TaskState.FAILED
    assert found.done
