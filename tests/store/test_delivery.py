"""What the store reports is told in order, and never for long at a time."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from spiderwebd.store.committer import Report, Submission
from spiderwebd.store.delivery import SLICE_SECONDS, Delivery

COST = SLICE_SECONDS / 4


class Hearer:
    """Takes what is told, each for COST seconds of the mock clock."""

    def __init__(self, clock: trio.testing.MockClock, fault_at: int | None = None) -> None:
        self.said: list[str] = []
        self.faults: list[Exception] = []
        self.failed = trio.Event()
        self._awaited = ""
        self._heard = trio.Event()
        self.turns: list[int] = []
        """How much had been said whenever the loop had its turn."""
        self._clock = clock
        self._fault_at = fault_at
        self.delivery = Delivery(self._begin, self._tell, self._finish, self._fail)

    def _begin(self, report: Report) -> None:
        self.said.append(f"begin {report.rows}")

    def _tell(self, submission: Submission) -> None:
        number = submission.result
        if number == self._fault_at:
            raise ZeroDivisionError(str(number))
        self.said.append(str(number))
        self._clock.jump(COST)

    def _finish(self, report: Report) -> None:
        self.said.append(f"finish {report.rows}")
        if self.said[-1] == self._awaited:
            self._heard.set()

    def _fail(self, fault: Exception) -> None:
        self.faults.append(fault)
        self.failed.set()

    async def bystander(self) -> None:
        """Note the turns of the loop."""
        while True:
            self.turns.append(len(self.said))
            await trio.lowlevel.checkpoint()

    async def until(self, line: str) -> None:
        """Return when `line` was said."""
        self._awaited = line
        with trio.fail_after(60):
            await self._heard.wait()


def report(name: int, *numbers: int) -> Report:
    """A report of the submissions with these numbers."""
    submissions = [Submission((), None, 0.0) for _ in numbers]
    for submission, number in zip(submissions, numbers, strict=True):
        submission.result = number
    made = Report(submissions)
    made.rows = name
    return made


async def test_long_reports_are_told_in_slices_and_in_order(mock_clock: trio.testing.MockClock) -> None:
    """Others have their turn every few milliseconds; a report that comes meanwhile waits for its place."""
    hearer = Hearer(mock_clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hearer.bystander)
        token = trio.lowlevel.current_trio_token()
        token.run_sync_soon(hearer.delivery.take, report(1, *range(20)))
        token.run_sync_soon(hearer.delivery.take, report(2, 100, 101))
        token.run_sync_soon(hearer.delivery.take, report(3))
        await hearer.until("finish 3")
        nursery.cancel_scope.cancel()
    assert hearer.said == [
        "begin 1", *map(str, range(20)), "finish 1",
        "begin 2", "100", "101", "finish 2",
        "begin 3", "finish 3",
    ]  # fmt: skip
    told = [after - before for before, after in zip(hearer.turns, hearer.turns[1:], strict=False)]
    # Two slices of five at most, when the loop turns late once and early then, and the lines about reports.
    assert max(told) <= 2 * 5 + 5
    assert sum(step > 0 for step in told) >= 2


async def test_the_rest_is_told_at_once_when_asked(mock_clock: trio.testing.MockClock) -> None:
    """When nobody will come back, all that is left is told, and the slice that was to come says nothing."""
    hearer = Hearer(mock_clock)
    hearer.delivery.take(report(1, *range(20)))
    assert len(hearer.said) == 1 + 4
    hearer.delivery.tell_rest()
    assert hearer.said == ["begin 1", *map(str, range(20)), "finish 1"]
    await trio.testing.wait_all_tasks_blocked()
    assert hearer.said[-1] == "finish 1"
    assert len(hearer.said) == 22


@pytest.mark.parametrize("fault_at", [0, 7])
async def test_a_fault_ends_the_telling(mock_clock: trio.testing.MockClock, fault_at: int) -> None:
    """What a part raises reaches `fault` once, and never the entry queue, where it would end the run."""
    hearer = Hearer(mock_clock, fault_at)
    token = trio.lowlevel.current_trio_token()
    token.run_sync_soon(hearer.delivery.take, report(1, *range(20)))
    with trio.fail_after(60):
        await hearer.failed.wait()
    await trio.testing.wait_all_tasks_blocked()
    assert [str(fault) for fault in hearer.faults] == [str(fault_at)]
    assert "finish 1" not in hearer.said
