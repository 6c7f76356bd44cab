"""The three workers behind one call: a task goes to the one its kind names."""

from __future__ import annotations

from dataclasses import dataclass

from spiderwebd.work.outcome import Outcome
from spiderwebd.work.task import PassGate, PlannedTask, Worker
from spiderwebd.work.verbs import Kind


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
