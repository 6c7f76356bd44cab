"""What the tests of workers and dispatch share: tasks from titles, a step that never holds, hits."""

from dataclasses import dataclass

import trio

from spiderwebd.core.kinds import choose
from spiderwebd.work.task import PlannedTask


def planned(title: str, task_id: int = 1) -> PlannedTask:
    """Return the task that the planner and the table make of a title."""
    return PlannedTask(task_id, title, choose(title))


async def no_pause() -> None:
    """Pass a gate that is always open."""
    await trio.lowlevel.checkpoint()


@dataclass(frozen=True, slots=True)
class StoredHit:
    """A memory that a search found."""

    memory_id: int
    content: str
    role: str = "user"
    score: float = 1.0
    own: bool = True
