"""Dispatch under a mock clock: bounds, order, pause, time, bugs, cancelling."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiderwebd.core.codes import Code
from spiderwebd.work.dispatch import Ended, PausePoint, Report, Started, run_batch
from spiderwebd.work.gate import Gate
from spiderwebd.work.outcome import Outcome, complete
from spiderwebd.work.slots import FirstComeSlots
from spiderwebd.work.task import PassGate, PlannedTask
from tests.work.workbench import planned

READ, WRITE, STATUS = "find tea", "write file a: b", "report status"


@dataclass
class Bench:
    """A session that keeps every report, and a worker that takes a given time in steps of one second."""

    durations: dict[int, float] = field(default_factory=dict)
    session_slots: FirstComeSlots = field(default_factory=lambda: FirstComeSlots(2))
    daemon_slots: FirstComeSlots = field(default_factory=lambda: FirstComeSlots(2))
    gate: Gate = field(default_factory=Gate)
    bugs: frozenset[int] = frozenset()
    told: list[tuple[float, Report]] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    working: set[int] = field(default_factory=set)
    peak: int = 0
    began: dict[int, float] = field(default_factory=dict)
    finished: dict[int, float] = field(default_factory=dict)
    steps: list[tuple[float, int]] = field(default_factory=list)
    commit_seconds: float = 0.25
    on_report: Callable[[Report], None] = lambda report: None

    async def worker(self, task: PlannedTask, pass_gate: PassGate) -> Outcome:
        await trio.lowlevel.checkpoint()
        number = task.task_id
        assert any(report == Started(number) for _, report in self.told), "effect before durable"
        self.began[number] = trio.current_time()
        self.working.add(number)
        self.peak = max(self.peak, len(self.working))
        try:
            for _ in range(int(self.durations.get(number, 1))):
                await trio.sleep(1)
                if number in self.bugs:
                    raise ZeroDivisionError("planted")
                self.working.discard(number)
                await pass_gate()
                self.working.add(number)
                self.peak = max(self.peak, len(self.working))
                self.steps.append((trio.current_time(), number))
        finally:
            self.working.discard(number)
        self.finished[number] = trio.current_time()
        return complete(f"did {number}")

    async def report(self, report: Report) -> None:
        await trio.sleep(self.commit_seconds)
        self.told.append((trio.current_time(), report))
        self.on_report(report)

    async def run(
        self, titles: Iterable[str], *, pause_before: int | None = None, task_seconds: float = 100
    ) -> None:
        with trio.fail_after(100_000):
            await self._run(titles, pause_before, task_seconds)

    async def _run(self, titles: Iterable[str], pause_before: int | None, task_seconds: float) -> None:
        await run_batch(
            [planned(title, number) for number, title in enumerate(titles, start=1)],
            worker=self.worker,
            session="S",
            session_limiter=self.session_slots,
            daemon_limiter=self.daemon_slots,
            gate=self.gate,
            task_seconds=task_seconds,
            report=self.report,
            on_fault=lambda task, error: self.faults.append(task.task_id),
            pause_before=pause_before,
        )

    def outcomes(self) -> dict[int, Outcome]:
        return {report.task_id: report.outcome for _, report in self.told if isinstance(report, Ended)}

    def time_of(self, wanted: Report) -> float:
        return next(when for when, report in self.told if report == wanted)

    @property
    def slots_free(self) -> tuple[int, int]:
        return self.session_slots.free, self.daemon_slots.free


@pytest.mark.parametrize(("session", "daemon"), [(1, 9), (2, 9), (9, 3), (3, 3)])
async def test_bounds_are_used_and_never_exceeded(
    autojump_clock: trio.testing.MockClock, session: int, daemon: int
) -> None:
    """Ten reads run as many at once as the smaller limiter allows, never more, and all end."""
    bench = Bench(session_slots=FirstComeSlots(session), daemon_slots=FirstComeSlots(daemon))
    await bench.run([READ] * 10)
    assert bench.peak == min(session, daemon)
    assert sorted(bench.outcomes()) == list(range(1, 11))
    assert bench.slots_free == (session, daemon)


async def test_two_sessions_share_the_daemons_slots(autojump_clock: trio.testing.MockClock) -> None:
    """The daemon's limiter bounds what runs in all batches together."""
    shared = FirstComeSlots(3)
    benches = [Bench(session_slots=FirstComeSlots(2), daemon_slots=shared) for _ in range(3)]
    peaks: list[int] = []
    for bench in benches:
        bench.on_report = lambda report: peaks.append(sum(len(other.working) for other in benches))
    async with trio.open_nursery() as nursery:
        for bench in benches:
            nursery.start_soon(bench.run, [READ] * 6)
    assert max(peaks) <= 3
    assert all(len(bench.outcomes()) == 6 for bench in benches)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    titles=st.lists(st.sampled_from([READ, WRITE, STATUS, "fly"]), max_size=8),
    slots=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
async def test_order_rule(
    autojump_clock: trio.testing.MockClock, titles: list[str], slots: int, seed: int
) -> None:
    """Whatever the plan and the durations, no write runs beside anything before or after it.

    A status task has everything before it behind it; each task starts once and ends once; tasks start
    in the order of the plan.
    """
    chance = random.Random(seed)
    durations = {number: chance.randint(0, 4) for number in range(1, len(titles) + 1)}
    bench = Bench(durations, FirstComeSlots(slots), FirstComeSlots(4))
    await bench.run(titles)
    numbers = range(1, len(titles) + 1)
    tasks = {number: planned(title, number) for number, title in enumerate(titles, start=1)}
    assert sorted(bench.outcomes()) == list(numbers)
    assert len(bench.told) == 2 * len(titles)
    assert bench.peak <= slots
    for later in numbers:
        for earlier in range(1, later):
            assert bench.began[earlier] <= bench.began[later]
            if tasks[earlier].choice.writes or tasks[later].choice.waits:
                ended = bench.time_of(Ended(earlier, complete(f"did {earlier}")))
                assert ended <= bench.time_of(Started(later)) - bench.commit_seconds


async def test_reads_run_beside_reads(autojump_clock: trio.testing.MockClock) -> None:
    """Two reads overlap, and the write after them starts when both have ended."""
    bench = Bench({1: 5, 2: 3, 3: 1})
    await bench.run([READ, READ, WRITE])
    assert bench.began[2] < bench.finished[1]
    assert bench.began[3] > bench.finished[1]


async def test_pause_stops_dispatch_and_holds_running_workers(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Paused, running workers stop at their next step and nothing starts; resumed, all goes on."""
    bench = Bench({1: 4, 2: 4, 3: 2, 4: 2}, commit_seconds=0)
    idle: list[tuple[int, int]] = []

    async def pauser() -> None:
        await trio.sleep(1.5)
        bench.gate.pause()
        await trio.sleep(500)
        idle.append(bench.slots_free)
        await trio.sleep(500)
        bench.gate.resume()

    nursery.start_soon(pauser)
    await bench.run([READ] * 4)
    assert not [when for when, _ in bench.steps if 1.5 < when < 1001.5]
    assert not [when for when, _ in bench.told if 1.5 < when < 1001.5]
    assert idle == [(2, 2)]
    assert sorted(bench.outcomes()) == [1, 2, 3, 4]
    assert bench.peak == 2


async def test_pause_while_waiting_for_a_slot(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """A task that gets its slot during a pause gives it back and starts only after the resume."""
    bench = Bench({1: 5}, FirstComeSlots(2), FirstComeSlots(1), commit_seconds=0)
    await bench.daemon_slots.acquire("T")

    async def pauser() -> None:
        await trio.sleep(1)
        bench.gate.pause()
        bench.daemon_slots.release("T")
        await trio.sleep(10)
        assert bench.slots_free == (2, 1)
        assert not bench.told
        bench.gate.resume()

    nursery.start_soon(pauser)
    await bench.run([READ])
    assert bench.began == {1: 11}


async def test_timeout_ends_one_task(autojump_clock: trio.testing.MockClock) -> None:
    """A task past its time fails with task_timeout; its siblings and successors do their work."""
    bench = Bench({1: 50, 2: 2, 3: 2})
    await bench.run([READ, READ, WRITE], task_seconds=10)
    outcomes = bench.outcomes()
    assert outcomes[1].code is Code.TASK_TIMEOUT
    assert outcomes[2] == complete("did 2")
    assert outcomes[3] == complete("did 3")


async def test_a_bug_costs_one_task(autojump_clock: trio.testing.MockClock) -> None:
    """A planted bug fails its own task with internal, is told once, and harms no other."""
    bench = Bench({1: 3, 2: 3, 3: 3}, bugs=frozenset({2}))
    await bench.run([READ, READ, STATUS])
    outcomes = bench.outcomes()
    assert outcomes[2].code is Code.INTERNAL
    assert (outcomes[1], outcomes[3]) == (complete("did 1"), complete("did 3"))
    assert bench.faults == [2]
    assert bench.slots_free == (2, 2)


async def test_pause_before_is_exact(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """Everything before the task has ended and nothing of it has begun when the goal pauses itself."""
    bench = Bench({1: 1, 2: 6, 3: 1, 4: 1})
    paused = trio.Event()

    def on_report(report: Report) -> None:
        if isinstance(report, PausePoint):
            bench.gate.pause()
            paused.set()

    bench.on_report = on_report

    async def check() -> None:
        await paused.wait()
        await trio.sleep(1000)
        assert [report for _, report in bench.told if not isinstance(report, Started)] == [
            Ended(1, complete("did 1")),
            Ended(2, complete("did 2")),
            PausePoint(3),
        ]
        assert set(bench.began) == {1, 2}
        bench.gate.resume()

    nursery.start_soon(check)
    await bench.run([READ] * 4, pause_before=3)
    assert sorted(bench.outcomes()) == [1, 2, 3, 4]
    assert sum(isinstance(report, PausePoint) for _, report in bench.told) == 1


async def test_pause_before_a_task_that_is_not_there(autojump_clock: trio.testing.MockClock) -> None:
    """A pause point that the plan does not reach, or has passed, pauses nothing."""
    bench = Bench()
    await bench.run([READ, READ], pause_before=3)
    assert sorted(bench.outcomes()) == [1, 2]


@pytest.mark.parametrize("at", [0.1, 0.5, 1.5, 3.0])
async def test_cancelling_leaves_no_child_and_no_outcome(
    autojump_clock: trio.testing.MockClock, at: float
) -> None:
    """Cancelled at any moment, the batch ends at once, gives every slot back and reports no more."""
    bench = Bench({1: 50, 2: 2, 3: 50, 4: 1})
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.run, [READ, READ, READ, WRITE])
            await trio.sleep(at)
            told = list(bench.told)
            scope.cancel(reason="cancelled on request")
    assert scope.cancelled_caught
    assert trio.current_time() == at
    assert bench.told == told
    assert not bench.working
    assert bench.slots_free == (2, 2)


async def test_no_tasks(autojump_clock: trio.testing.MockClock) -> None:
    """A batch without tasks ends by itself."""
    bench = Bench()
    with trio.fail_after(1):
        await bench.run([])
    assert not bench.told
