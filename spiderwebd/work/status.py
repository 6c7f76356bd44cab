"""The status worker: where the goal, the queue, memory and the store stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spiderwebd.core.outcome import Outcome, complete
from spiderwebd.core.quotes import quote
from spiderwebd.work.task import PassGate, PlannedTask

GOAL_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a session stands at one moment."""

    goal: str
    mode: str
    """running, paused or cancelled."""
    tasks: int
    """Of the goal's plan; the four counts that follow are of the same plan."""
    complete: int
    blocked: int
    failed: int
    running: int
    goals_waiting: int
    """Goals accepted after this one."""
    ram_entries: int
    ram_entries_limit: int
    ram_bytes: int
    ram_bytes_limit: int
    memories: int
    """Every MemoryID given out by the session so far."""
    store_accepting: bool
    store_waiting: int
    """Submissions not yet committed."""


def describe(snapshot: Snapshot) -> str:
    """Return the snapshot as one line of words."""
    now = snapshot
    ended = now.complete + now.blocked + now.failed
    waiting = max(0, now.tasks - ended - now.running)
    counts = (
        f"{now.complete} of {now.tasks} tasks complete",
        *(
            f"{count} {word}"
            for count, word in (
                (now.blocked, "blocked"),
                (now.failed, "failed"),
                (now.running, "running"),
                (waiting, "queued"),
            )
            if count
        ),
    )
    store = "accepting" if now.store_accepting else "not accepting: the disk cannot be written"
    return "; ".join(
        (
            f"goal {quote(now.goal, GOAL_CHARACTERS)}: {', '.join(counts)}",
            f"queue: workers {now.mode}, {now.goals_waiting} more "
            f"{'goal' if now.goals_waiting == 1 else 'goals'} waiting",
            f"memory: {now.ram_entries}/{now.ram_entries_limit} entries and "
            f"{now.ram_bytes}/{now.ram_bytes_limit} bytes in RAM, {now.memories} ids given out",
            f"store: {store}, {now.store_waiting} writes waiting",
        )
    )


class StatusWorker:
    """Reports; changes nothing."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    async def __call__(self, task: PlannedTask, pass_gate: PassGate) -> Outcome:
        """Return where the session stands; the task itself counts among the running."""
        await pass_gate()
        return complete(f"status: {describe(self._snapshot())}")
