"""What is handed to a worker: one task of a plan, and the gate it passes between two steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from spiderwebd.core.kinds import Choice
from spiderwebd.core.outcome import Outcome
from spiderwebd.work.progress import Progress


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One task of a goal's plan."""

    task_id: int
    """1-based place in the plan."""
    title: str
    choice: Choice
    progress: Progress = field(default_factory=Progress)


PassGate = Callable[[], Awaitable[None]]
"""Called by a worker between two steps; returns at once unless the session is paused."""


class Worker(Protocol):
    """Carries out one task."""

    async def __call__(self, task: PlannedTask, pass_gate: PassGate) -> Outcome:
        """Return how the task ended. What it raises is walled and ends only this task."""
