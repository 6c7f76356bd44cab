"""The sweeps: on time to the step, one loop over all sessions, a bug costs one visit."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from types import ModuleType
from typing import cast

import pytest
import trio
import trio.testing

from spiderwebd.clock import SteppedClock
from spiderwebd.core import deadlines, suggestions
from spiderwebd.core.ram import Budget
from spiderwebd.core.state import Rules, State
from spiderwebd.session.sweeps import (
    LONGEST_STEP_SECONDS,
    deadline_sweep,
    every,
    heartbeat_sweep,
    hibernation_sweep,
    memory_manager_sweep,
)
from tests.session.household import HeldDesk, Household, key_of, open_household

INTERVAL_MS = 30_000
GOAL = "/goal search for tea; remember that tea is green; report"


@asynccontextmanager
async def sweeping(sweep: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run a sweep beside the block."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweep)
        yield
        nursery.cancel_scope.cancel()


def beats(household: Household, jitter_seconds: float) -> AbstractAsyncContextManager[None]:
    """Run the heartbeat sweep beside the block, with jitter that is the same in every run."""
    return sweeping(partial(heartbeat_sweep, household.registry, jitter_seconds, Random(7)))


@pytest.mark.parametrize("jitter", [0.0, 5.0])
async def test_a_heartbeat_comes_within_interval_jitter_and_step(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, jitter: float
) -> None:
    """While work waits, an agent.heartbeat comes unasked, never early and never later than promised."""
    async with (
        open_household(tmp_path, desk=HeldDesk(), rules=Rules(heartbeat_ms=INTERVAL_MS)) as household,
        beats(household, jitter),
    ):
        link = await household.attach()
        link.say("chat.send", content=GOAL)
        await link.until(lambda frame: frame["type"] == "agent.plan")
        last = trio.current_time()
        for sequence in range(1, 20):
            beat = await link.until(
                lambda frame, sequence=sequence: frame.get("sequence") == sequence,  # type: ignore[misc]  # mypy cannot type a default of a lambda
                seconds=1000,
            )
            assert beat["request"] == "heartbeat-sweep"
            waited = trio.current_time() - last
            # The accepting of the goal started the interval up to one step before it was seen.
            assert 30 - LONGEST_STEP_SECONDS <= waited <= 30 + max(jitter, LONGEST_STEP_SECONDS)
            last = trio.current_time()


async def test_heartbeats_of_many_are_spread(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Sessions that began together do not all speak in the same step when there is jitter."""
    async with (
        open_household(tmp_path, desk=HeldDesk(), rules=Rules(heartbeat_ms=INTERVAL_MS)) as household,
        beats(household, 5.0),
    ):
        links = [await household.attach() for _ in range(20)]
        for link in links:
            link.say("chat.send", content=GOAL)
        times = []
        for link in links:
            beat = await link.until(lambda frame: frame["type"] == "agent.heartbeat", seconds=1000)
            assert beat["suggestions"] == []
        await trio.sleep(10)
        for link in links:
            session = link.session
            assert session is not None
            times.append(session.state.beat["last_ms"])
        assert len(set(times)) > 3


async def test_a_session_without_links_speaks_too(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Heartbeats are journalled while nobody listens, and told to whoever resumes."""
    async with (
        open_household(tmp_path, desk=HeldDesk(), rules=Rules(heartbeat_ms=INTERVAL_MS)) as household,
        beats(household, 0.0),
    ):
        quiet = await household.attach()
        link = await household.attach()
        link.say("chat.send", content=GOAL)
        await link.until(lambda frame: frame["type"] == "agent.plan")
        assert link.session is not None
        link.session.detach(link)
        seen = link.seqs[-1]
        await trio.sleep(100)
        back = await household.attach(key_of(link), seen)
        await back.until(lambda frame: frame.get("sequence") == 3)
        assert quiet.of_type("agent.heartbeat") == []


async def test_a_wall_clock_set_back_does_not_silence_it(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """When the administrator sets the clock back a day, the next heartbeat still comes in time."""
    clock = SteppedClock()
    rules = Rules(heartbeat_ms=INTERVAL_MS, goal_ms=10**9)
    async with (
        open_household(tmp_path, desk=HeldDesk(), clock=clock, rules=rules) as household,
        beats(household, 0.0),
    ):
        link = await household.attach()
        link.say("chat.send", content=GOAL)
        await link.until(lambda frame: frame.get("sequence") == 1, seconds=1000)
        clock.step(-86_400_000)
        start = trio.current_time()
        await link.until(lambda frame: frame.get("sequence") == 2, seconds=1000)
        assert trio.current_time() - start <= 31


async def test_ticks_do_not_pile_up(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """A session whose loop waits finds one tick of each kind, however many sweeps have passed."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        session = link.session
        assert session is not None
        session._inbox.put(lambda step: None)  # the loop has something to do
        for _ in range(100):
            session.tick_heartbeat()
            session.tick_memory_manager()
        assert len(session._inbox) == 1 + 2


async def test_the_memory_manager_compacts_between_turns(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A session above its threshold is compacted at the next sweep, without client or link."""
    rules = Rules(budget=Budget(max_entries=64))
    async with open_household(tmp_path, rules=rules) as household:
        link = await household.attach()
        for number in range(20):
            await link.ask("memory.create", id=f"m{number}", content=f"memory number {number}")
        assert link.of_type("memory.event") == []
        # A reload lowers the budget; the session itself has no reason to look.
        household.house.rules = replace(rules, budget=Budget(max_entries=16))
        async with sweeping(partial(memory_manager_sweep, household.registry, lambda: 5.0)):
            start = trio.current_time()
            first = await link.until(lambda frame: frame["type"] == "memory.event")
            assert trio.current_time() - start <= 5
            assert first["request"] == "memory-manager"
            await trio.sleep(60)
        assert link.session is not None
        assert link.session.state.ram.active_count <= 12
        link.say("memory.load", memoryId=1)
        loaded = await link.until(lambda frame: frame["type"] == "memory.load")
        assert loaded["item"]["content"] == "memory number 0"


async def test_sweeps_look_only_at_sessions_with_something_under_way(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many sessions are idle, a sweep asks only those that work; and those again that begin to."""
    asked: Counter[str] = Counter()

    def listen(module: ModuleType) -> None:
        real = module.due_at

        def due_at(state: State) -> int | None:
            asked[state.key] += 1
            return cast("int | None", real(state))

        monkeypatch.setattr(module, "due_at", due_at)

    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk) as household:
        idle = [await household.attach() for _ in range(20)]
        link = await household.attach()
        link.say("chat.send", content=GOAL)
        await link.until(lambda frame: frame["type"] == "agent.plan")
        for module in (deadlines, suggestions):
            listen(module)
        async with (
            beats(household, 0.0),
            sweeping(partial(deadline_sweep, household.registry)),
            sweeping(partial(memory_manager_sweep, household.registry, lambda: 1.0)),
        ):
            await trio.sleep(30)
            assert set(asked) == {key_of(link)}
            desk.go.set()
            await link.until(lambda frame: frame["type"] == "session.receive")
            asked.clear()
            await trio.sleep(30)
            assert not asked
            desk.go = trio.Event()
            idle[0].say("chat.send", content=GOAL)
            await trio.sleep(30)
            assert set(asked) == {key_of(idle[0])}
            assert list(household.house.attentive) == [key_of(idle[0])]
    assert not household.house.attentive


async def test_quiet_sessions_hibernate_in_time(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A session without a link sleeps hibernate_seconds after its last one went, or a twelfth later."""
    async with (
        open_household(tmp_path, hibernate_seconds=60) as household,
        sweeping(partial(hibernation_sweep, household.registry)),
    ):
        link = await household.attach()
        await trio.sleep(200)
        assert link.session is not None
        link.session.detach(link)
        start = trio.current_time()
        with trio.fail_after(100):
            await link.session.ended.wait()
        assert 60 <= trio.current_time() - start <= 60 + 60 / 12


async def test_visits_stand_on_a_grid(autojump_clock: trio.testing.MockClock) -> None:
    """Visits come at fixed slots; slots missed by a slow visit are skipped, and the grid stays."""
    times: list[float] = []

    def visit() -> None:
        times.append(trio.current_time())
        if len(times) == 2:
            autojump_clock.jump(3.5)

    with trio.move_on_after(10.5):
        await every(lambda: 1.0, visit, _unexpected)
    assert times == pytest.approx([1, 2, 6, 7, 8, 9, 10])


async def test_a_bug_in_one_visit_is_walled(autojump_clock: trio.testing.MockClock) -> None:
    """A visit that raises is reported, and the next one comes as usual."""
    faults: list[BaseException] = []
    visits = 0

    def visit() -> None:
        nonlocal visits
        visits += 1
        if visits == 2:
            raise ZeroDivisionError("planted")

    with trio.move_on_after(4.5):
        await every(lambda: 1.0, visit, faults.append)
    assert visits == 4
    assert [type(fault) for fault in faults] == [ZeroDivisionError]


async def test_a_new_interval_is_heeded(autojump_clock: trio.testing.MockClock) -> None:
    """A reload that changes the interval counts from the next slot on."""
    times: list[float] = []
    period = 1.0

    def visit() -> None:
        nonlocal period
        times.append(trio.current_time())
        period = 3.0

    with trio.move_on_after(8):
        await every(lambda: period, visit, _unexpected)
    assert times == pytest.approx([1, 4, 7])


def _unexpected(error: BaseException) -> None:
    raise AssertionError(error)
