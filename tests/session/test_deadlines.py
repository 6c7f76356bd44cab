"""Deadlines from enqueue, in running sessions: nothing accepted is answered or run late."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from spiderwebd.core.state import Rules
from spiderwebd.session.desk import HouseDesk
from spiderwebd.session.sweeps import LONGEST_STEP_SECONDS, deadline_sweep
from spiderwebd.work.slots import FairSlots
from tests.session.household import HeldDesk, open_household

GOAL = "/goal search for tea; remember that tea is green; report"


async def test_an_answer_that_takes_too_long_is_given_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Without any sweep the message being answered is expired at its time, and the next is begun."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk, rules=Rules(chat_ms=30_000)) as household:
        link = await household.attach()
        start = trio.current_time()
        await link.ask("chat.send", id="a", content="one")
        await trio.sleep(10)
        await link.ask("chat.send", id="b", content="two")
        told = await link.until(lambda frame: frame.get("status") == "expired", seconds=1000)
        assert (told["request"], told["phase"]) == ("a", "execution")
        assert trio.current_time() - start == pytest.approx(30, abs=0.01)
        await trio.testing.wait_all_tasks_blocked()
        assert desk.asked == ["one", "two"]
        desk.go.set()
        await link.until(lambda frame: frame["type"] == "session.receive" and frame["request"] == "b")
        assert [frame["request"] for frame in link.of_type("session.receive")] == ["b"]
        assert household.metrics.requests_expired == 1


async def test_the_sweep_expires_what_waits(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Tasks that wait behind others are expired at most a step late, with nobody's request to wake them."""
    rules = Rules(queue_ms=20_000, parallel_tasks=1, goal_ms=600_000)
    async with (
        open_household(tmp_path, desk=HeldDesk(), rules=rules) as household,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(deadline_sweep, household.registry)
        link = await household.attach()
        start = trio.current_time()
        link.say("chat.send", id="g", content="/goal find a; find b")
        status = await link.until(lambda frame: frame["type"] == "agent.status", seconds=1000)
        assert (status["taskId"], status["status"], status["code"]) == (2, "expired", "expired")
        assert 20 <= trio.current_time() - start <= 20 + LONGEST_STEP_SECONDS + 0.01
        nursery.cancel_scope.cancel()


async def test_a_task_that_finds_no_slot_in_time_is_expired(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A started task that still waits for one of the daemon's slots at its time is never begun."""
    async with open_household(tmp_path, rules=Rules(queue_ms=20_000)) as household:
        desk = household.house.desk
        assert isinstance(desk, HouseDesk)
        desk.slots = slots = FairSlots(1)
        await slots.acquire("somebody else")
        link = await household.attach()
        start = trio.current_time()
        link.say("chat.send", id="g", content="/goal remember that tea is green")
        answer = await link.until(lambda frame: frame["type"] == "session.receive", seconds=1000)
        assert trio.current_time() - start == pytest.approx(20, abs=0.01)
        (status,) = link.of_type("agent.status")
        assert (status["status"], status["code"]) == ("expired", "expired")
        assert "no worker was free" in status["message"]
        assert answer["content"]
        assert slots.waiting == 0
        assert household.metrics.requests_expired == 1
        assert sum(household.metrics.task_wait_seconds.counts) == 0


async def test_what_a_task_waited_is_measured(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """The histogram counts every task that a worker got, from its queueing."""
    async with open_household(tmp_path, rules=Rules(parallel_tasks=1)) as household:
        desk = household.house.desk
        assert isinstance(desk, HouseDesk)
        desk.slots = slots = FairSlots(1)
        await slots.acquire("somebody else")
        link = await household.attach()
        link.say("chat.send", id="g", content="/goal find a; find b")
        await link.until(lambda frame: frame["type"] == "agent.plan")
        await trio.sleep(10)
        slots.release("somebody else")
        await link.until(lambda frame: frame["type"] == "session.receive")
        waits = household.metrics.task_wait_seconds
        assert sum(waits.counts) == 2
        assert waits.total == pytest.approx(20, abs=0.1)


async def test_how_long_goals_wait_is_counted(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """From the acceptance of a goal to its first started task, once a goal."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk) as household:
        link = await household.attach()
        link.say("chat.send", id="first", content=GOAL)
        await link.until(lambda frame: frame["type"] == "agent.plan")
        link.say("chat.send", id="second", content=GOAL)
        await trio.sleep(7)
        desk.go.set()
        await link.until(lambda frame: frame["type"] == "session.receive" and frame["request"] == "second")
        waits = household.metrics.goal_wait_seconds
        assert (sum(waits.counts), waits.total) == (2, pytest.approx(7, abs=0.2))
