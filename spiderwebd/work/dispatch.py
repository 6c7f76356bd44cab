"""Dispatching a plan: which task starts when.

Tasks start in the order of the plan. Reads run beside reads; a write waits for everything before it,
and everything after it waits for the write; status waits for everything before it, so that what it
reports is what was done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from spiderwebd.work.attempt import OnFault, attempt
from spiderwebd.work.gate import Gate
from spiderwebd.work.outcome import Outcome
from spiderwebd.work.slots import Seat, Slots
from spiderwebd.work.task import PlannedTask, Worker


@dataclass(frozen=True, slots=True)
class Started:
    """A task is about to run; it has no effect before this report has been taken."""

    task_id: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A task has ended; nothing that waits for it starts before this report has been taken."""

    task_id: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class PausePoint:
    """Everything before this task has ended, and the goal asked to pause here.

    Whoever takes the report closes the gate before returning.
    """

    task_id: int


Report = Started | Ended | PausePoint


async def run_batch(
    tasks: Sequence[PlannedTask],
    *,
    worker: Worker,
    session: str,
    session_limiter: Slots,
    daemon_limiter: Slots,
    gate: Gate,
    task_seconds: float,
    report: Callable[[Report], Awaitable[None]],
    on_fault: OnFault,
    pause_before: int | None = None,
) -> None:
    """Run the tasks of one goal; return when the last one's end has been reported.

    Cancelling the scope around it ends every task; what was cancelled is not reported. While the gate
    is closed nothing starts, and running workers hold at their next step without their slots.

    Args:
        tasks: in plan order; after a restart, those that have not ended.
        worker: who carries them out.
        session: whose tasks they are, for the limiters.
        session_limiter: bounds the session's running tasks, of all its goals.
        daemon_limiter: bounds those of the daemon; always taken after the session's.
        gate: the session's pause gate.
        task_seconds: what each task may take, pauses not counted.
        report: told of every step; returns when it is durable. What it raises ends the batch.
        on_fault: told of every bug in a worker.
        pause_before: task_id before which the goal pauses by itself.
    """
    place = partial(Seat, session, session_limiter, daemon_limiter)
    running = _Running()

    async def carry_out(task: PlannedTask, seat: Seat) -> None:
        try:
            await report(Started(task.task_id))
            outcome = await attempt(
                task, worker=worker, seat=seat, gate=gate, seconds=task_seconds, on_fault=on_fault
            )
            await report(Ended(task.task_id, outcome))
        finally:
            seat.leave()
            running.ended(task)

    async with trio.open_nursery() as nursery:
        for task in tasks:
            if task.choice.waits or running.writing or task.task_id == pause_before:
                await running.none_left()
            if task.task_id == pause_before:
                await report(PausePoint(task.task_id))
            seat = await _seated(place(), gate)
            running.started(task)
            nursery.start_soon(carry_out, task, seat, name=f"task:{task.task_id}")


async def _seated(seat: Seat, gate: Gate) -> Seat:
    """Take the seat while the gate is open: a pause that comes meanwhile is waited out without it."""
    try:
        await gate.wait()
        await seat.take()
        while gate.paused:
            seat.leave()
            await gate.wait()
            await seat.take()
    except BaseException:
        seat.leave()
        raise
    return seat


class _Running:
    """The tasks that have started and whose end is not yet reported."""

    def __init__(self) -> None:
        self._tasks: set[int] = set()
        self._none = trio.Event()
        self._none.set()
        self.writing = False

    def started(self, task: PlannedTask) -> None:
        if not self._tasks:
            self._none = trio.Event()
        self._tasks.add(task.task_id)
        self.writing = task.choice.writes

    def ended(self, task: PlannedTask) -> None:
        self._tasks.discard(task.task_id)
        if not self._tasks:
            self.writing = False
            self._none.set()

    async def none_left(self) -> None:
        await self._none.wait()
