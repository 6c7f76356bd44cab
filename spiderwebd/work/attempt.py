"""One attempt at one task: bounded in time, walled, and holding at the gate while paused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf

import trio

from spiderwebd.core.codes import Code, SpiderwebError
from spiderwebd.core.outcome import Outcome, failed
from spiderwebd.work.gate import Gate
from spiderwebd.work.slots import Seat
from spiderwebd.work.task import PlannedTask, Worker

OnFault = Callable[[PlannedTask, BaseException], None]
"""Told once of every bug in a worker, to log and count it."""


async def attempt(
    task: PlannedTask, *, worker: Worker, seat: Seat, gate: Gate, seconds: float, on_fault: OnFault
) -> Outcome:
    """Run the worker and return how the task ended, whatever the worker did.

    Args:
        task: what to do.
        worker: who does it.
        seat: taken by the caller; given back here while the worker holds at the gate, so that a paused
            session keeps no one else from working. The caller leaves it in the end.
        gate: the session's.
        seconds: what the task may take, time at the gate not counted.
        on_fault: told of a bug.

    Returns:
        The worker's outcome; failed with the error's own code for a SpiderwebError, with task_timeout
        after `seconds`, with internal for any other exception.
    """
    kind = task.choice.kind
    outcome = failed(f"{kind}: stopped, it had not ended after {seconds:g} seconds", Code.TASK_TIMEOUT)
    try:
        with trio.move_on_after(seconds) as scope:
            outcome = await worker(task, partial(_pass_gate, gate, seat, scope))
    except* SpiderwebError as errors:
        error = _first(errors)
        code = error.code if isinstance(error, SpiderwebError) else Code.INTERNAL
        outcome = failed(f"{kind}: {error}", code)
    except* Exception as errors:
        on_fault(task, _first(errors))
        outcome = failed(f"{kind}: a fault of the daemon ended this task; its log has it", Code.INTERNAL)
    return outcome


async def _pass_gate(gate: Gate, seat: Seat, scope: trio.CancelScope) -> None:
    await trio.lowlevel.checkpoint()
    if not gate.paused:
        return
    left = scope.deadline - trio.current_time()
    scope.deadline = inf  # a pause lasts as long as its person wants; the goal's deadline goes on
    try:
        while gate.paused:  # again, if it closed while this task waited for a seat
            seat.leave()
            await gate.wait()
            await seat.take()
    finally:
        scope.deadline = trio.current_time() + left


def _first(errors: BaseExceptionGroup[Exception]) -> BaseException:
    """Return the error itself when there is only one, for a log one can read."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
