"""The text that ends a goal: what became of each of its tasks, in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from spiderwebd.core.quotes import cut, quote
from spiderwebd.core.records import TaskState

GOAL_CHARACTERS = 200
TITLE_CHARACTERS = 120
DETAIL_CHARACTERS = 400


class Told(Protocol):
    """What the report reads of a task; a row of the store or a task of the session."""

    @property
    def task_id(self) -> int:
        """1-based place in the plan."""

    @property
    def title(self) -> str:
        """The task as the plan words it."""

    @property
    def state(self) -> TaskState:
        """Where it stands."""

    @property
    def detail(self) -> str:
        """What its worker said."""

    @property
    def code(self) -> str | None:
        """Why it did not complete."""


def goal_report(goal: str, tasks: Sequence[Told]) -> str:
    """Return the answer to a goal: a verdict, then a line for each task in plan order."""
    counts = Counter(task.state for task in tasks)
    rest = ", ".join(
        f"{counts[state]} {state.value}"
        for state in TaskState
        if state is not TaskState.COMPLETE and counts[state]
    )
    quoted = quote(goal, GOAL_CHARACTERS)
    if not rest:
        verdict = f"Done: {quoted}. All {len(tasks)} tasks are complete."
        if len(tasks) == 1:
            verdict = f"Done: {quoted}. Its one task is complete."
    else:
        verdict = f"Not all done: {quoted}. {counts[TaskState.COMPLETE]} of {len(tasks)} complete, {rest}."
    return "\n".join((verdict, *(_line(task) for task in tasks)))


def _line(task: Told) -> str:
    state = task.state.value if task.code is None else f"{task.state.value} ({task.code})"
    line = f"{task.task_id}. {cut(' '.join(task.title.split()), TITLE_CHARACTERS)}: {state}"
    detail = cut(" ".join(task.detail.split()), DETAIL_CHARACTERS)
    return f"{line}. {detail}" if detail else line
