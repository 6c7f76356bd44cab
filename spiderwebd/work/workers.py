"""The three workers behind one call: a task goes to the one its kind names."""

from __future__ import annotations

from dataclasses import dataclass

from spiderwebd.core.outcome import Outcome
from spiderwebd.core.verbs import Kind
from spiderwebd.work.task import PassGate, PlannedTask, Worker


@dataclass(frozen=True, slots=True)
class Workers:
    """What one session's tasks are given to; itself a Worker."""

    research: Worker
    execution: Worker
    status: Worker

    async def __call__(self, task: PlannedTask, pass_gate: PassGate) -> Outcome:
        """Hand the task to the worker of its kind."""
        worker = {Kind.RESEARCH: self.research, Kind.EXECUTION: self.execution, Kind.STATUS: self.status}
        return await worker[task.choice.kind](task, pass_gate)
