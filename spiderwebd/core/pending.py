"""What a session was asked and has not finished: chats that wait for an answer, goals with their tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spiderwebd.core.kinds import Choice, choose
from spiderwebd.core.records import GoalRecord, TaskRecord, TaskState


@dataclass(slots=True)
class Chat:
    """A chat message that waits for its answer."""

    request: str
    memory_id: int
    text: str
    created_ms: int


@dataclass(slots=True)
class Task:
    """One task of a goal, as the session sees it; times in wall-clock milliseconds."""

    task_id: int
    """1-based place in the plan."""
    title: str
    choice: Choice
    """What the title asks for; the same title always asks for the same."""
    created_ms: int
    state: TaskState = TaskState.QUEUED
    attempts: int = 0
    started_ms: int | None = None
    ended_ms: int | None = None
    detail: str = ""
    code: str | None = None
    working: bool = False
    """Whether a worker has it; a running task waits for one of the daemon's slots before that."""

    @classmethod
    def restore(cls, row: TaskRecord) -> Task:
        """Return the task that wrote this row."""
        return cls(
            row.task_id,
            row.title,
            choose(row.title),
            row.created_ms,
            row.state,
            row.attempts,
            row.started_ms,
            row.ended_ms,
            row.detail,
            row.code,
        )

    @property
    def kind(self) -> str:
        """Which worker carries it out: research, execution or status."""
        return self.choice.kind.value

    def record(self, sid: int, goal_id: int) -> TaskRecord:
        """Return the row that persists it as a task of this goal of session `sid`."""
        return TaskRecord(
            sid,
            goal_id,
            self.task_id,
            self.title,
            self.kind,
            self.state,
            self.attempts,
            self.created_ms,
            self.started_ms,
            self.ended_ms,
            self.detail,
            self.code,
        )


@dataclass(slots=True)
class Goal:
    """A goal that has not ended, with its tasks in plan order; times in wall-clock milliseconds."""

    goal_id: int
    request: str
    text: str
    memory_id: int
    """Of the goal's text in memory."""
    created_ms: int
    deadline_ms: int
    tasks: list[Task]
    state: TaskState = TaskState.QUEUED
    pause_before: int | None = None
    """Task before which the session pauses by itself, once."""
    ended_ms: int | None = None

    @classmethod
    def restore(cls, row: GoalRecord, tasks: Iterable[TaskRecord]) -> Goal:
        """Return the goal that wrote this row and these, its tasks in plan order."""
        return cls(
            row.goal_id,
            row.request,
            row.text,
            row.memory_id,
            row.created_ms,
            row.deadline_ms,
            [Task.restore(task) for task in tasks],
            row.state,
            row.pause_before,
            row.ended_ms,
        )

    @property
    def done(self) -> bool:
        """Whether every task has ended."""
        return all(task.state.ended for task in self.tasks)

    def task(self, task_id: int) -> Task:
        """Return the task with this 1-based place in the plan."""
        return self.tasks[task_id - 1]

    def count(self, state: TaskState) -> int:
        """Return how many of its tasks are in this state."""
        return [task.state for task in self.tasks].count(state)

    def record(self, sid: int) -> GoalRecord:
        """Return the row that persists it for session `sid`."""
        return GoalRecord(
            sid,
            self.goal_id,
            self.request,
            self.text,
            self.state,
            self.memory_id,
            self.created_ms,
            self.deadline_ms,
            self.ended_ms,
            self.pause_before,
        )
