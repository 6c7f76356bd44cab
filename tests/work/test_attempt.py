"""One attempt always comes back with an outcome, and holds at the gate without its seat."""

import pytest
import trio
import trio.testing

from spiderwebd.core.codes import Code, Refused, StorageUnavailable
from spiderwebd.core.outcome import Outcome, complete
from spiderwebd.core.records import TaskState
from spiderwebd.work.attempt import attempt
from spiderwebd.work.gate import Gate
from spiderwebd.work.slots import FairSlots, Seat
from spiderwebd.work.task import PassGate, PlannedTask, Worker
from tests.work.workbench import planned

TASK = planned("find tea")


async def _attempt(
    worker: Worker, *, gate: Gate | None = None, seat: Seat | None = None, seconds: float = 10
) -> tuple[Outcome, list[BaseException]]:
    faults: list[BaseException] = []
    with trio.fail_after(100_000):
        outcome = await attempt(
            TASK,
            worker=worker,
            seat=seat or Seat("S"),
            gate=gate or Gate(),
            seconds=seconds,
            on_fault=lambda task, error: faults.append(error),
        )
    return outcome, faults


async def test_the_workers_outcome_is_handed_on() -> None:
    """What the worker returns is what comes back."""

    async def worker(task: PlannedTask, pass_gate: PassGate) -> Outcome:
        await pass_gate()
        return complete(task.title)

    assert await _attempt(worker) == (complete("find tea"), [])


async def test_timeout(autojump_clock: trio.testing.MockClock) -> None:
    """A worker that does not end is stopped at its deadline, exactly, and the task says task_timeout."""

    async def worker(task: PlannedTask, pass_gate: PassGate) -> Outcome:
        await trio.sleep_forever()

    began = trio.current_time()
    outcome, faults = await _attempt(worker, seconds=7.5)
    assert trio.current_time() - began == 7.5
    assert (outcome.state, outcome.code) == (TaskState.FAILED, Code.TASK_TIMEOUT)
    assert outcome.detail == "research: stopped, it had not ended after 7.5 seconds"
    assert not faults


@pytest.mark.parametrize("nested", [False, True])
async def test_a_bug_is_walled_and_told_once(nested: bool) -> None:
    """A planted bug, bare or from a worker's own nursery, becomes failed/internal and one report of it."""
    bug = ZeroDivisionError("planted")

    async def raising() -> None:
        await trio.lowlevel.checkpoint()
        raise bug

    async def worker(task: PlannedTask, pass_gate: PassGate) -> Outcome:
        if not nested:
            raise bug
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raising)
            nursery.start_soon(trio.sleep_forever)
        return complete("never")

    outcome, faults = await _attempt(worker)
    assert (outcome.state, outcome.code) == (TaskState.FAILED, Code.INTERNAL)
    assert "planted" not in outcome.detail
    assert faults == [bug]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("not yours", Code.FORBIDDEN), Code.FORBIDDEN),
        (StorageUnavailable("disk full"), Code.STORAGE_UNAVAILABLE),
    ],
)
async def test_our_own_errors_keep_their_code(error: Refused, code: Code) -> None:
    """An error with a stable code fails the task with it, and is no bug."""

    async def worker(task: PlannedTask, pass_gate: PassGate) -> Outcome:
        await pass_gate()
        raise error

    outcome, faults = await _attempt(worker)
    assert (outcome.state, outcome.code) == (TaskState.FAILED, code)
    assert outcome.detail == f"research: {error.message}"
    assert not faults


async def test_cancelling_is_not_an_outcome(nursery: trio.Nursery) -> None:
    """Cancelled from outside, the attempt ends without returning anything."""
    outcomes: list[Outcome] = []
    scope = trio.CancelScope()

    async def worker(task: PlannedTask, pass_gate: PassGate) -> Outcome:
        await trio.sleep_forever()

    async def run() -> None:
        with scope:
            outcomes.append((await _attempt(worker))[0])

    nursery.start_soon(run)
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel(reason="test")
    await trio.testing.wait_all_tasks_blocked()
    assert scope.cancelled_caught
    assert not outcomes


async def test_pause_gives_the_seat_back_and_stops_the_clock(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """While it holds at the gate its slot is free for others, and the pause does not count as work."""
    slots, gate = FairSlots(1), Gate()
    seat = Seat("S", slots)
    free: list[int] = []

    async def worker(task: PlannedTask, pass_gate: PassGate) -> Outcome:
        await trio.sleep(6)
        free.append(slots.free)
        await pass_gate()
        free.append(slots.free)
        await trio.sleep(3)
        return complete("x")

    async def pauser() -> None:
        await trio.sleep(1)
        gate.pause()
        await trio.sleep(1000)
        free.append(slots.free)
        gate.resume()

    nursery.start_soon(pauser)
    await seat.take()
    outcome, _ = await _attempt(worker, gate=gate, seat=seat, seconds=10)
    assert outcome == complete("x")
    assert free == [0, 1, 0]


async def test_the_clock_goes_on_after_a_pause(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """A worker that had four seconds left before a pause has four seconds left after it."""
    gate = Gate()

    async def worker(task: PlannedTask, pass_gate: PassGate) -> Outcome:
        await trio.sleep(6)
        await pass_gate()
        await trio.sleep_forever()

    async def resume() -> None:
        await trio.sleep(106)
        gate.resume()

    gate.pause()
    nursery.start_soon(resume)
    outcome, _ = await _attempt(worker, gate=gate, seconds=10)
    assert outcome.code is Code.TASK_TIMEOUT
    assert trio.current_time() == pytest.approx(110)


async def test_paused_again_while_waiting_for_a_seat(nursery: trio.Nursery) -> None:
    """A pause that comes between the gate and the seat holds the worker again, without the seat."""
    slots, gate = FairSlots(1), Gate()
    seat = Seat("S", slots)
    ended = trio.Event()

    async def worker(task: PlannedTask, pass_gate: PassGate) -> Outcome:
        await pass_gate()
        ended.set()
        return complete("x")

    async def run() -> None:
        await _attempt(worker, gate=gate, seat=seat)
        seat.leave()

    await seat.take()
    gate.pause()
    nursery.start_soon(run)
    await trio.testing.wait_all_tasks_blocked()
    await slots.acquire("T")
    gate.resume()
    await trio.testing.wait_all_tasks_blocked()
    gate.pause()
    slots.release("T")
    await trio.testing.wait_all_tasks_blocked()
    assert not ended.is_set()
    assert slots.free == 1
    gate.resume()
    await trio.testing.wait_all_tasks_blocked()
    assert ended.is_set()
    assert slots.free == 1
