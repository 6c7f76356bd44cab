"""What comes first where work competes: control, then chats, then goals; and nobody starves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
import trio.testing

from spiderwebd.core.state import Rules
from spiderwebd.session.desk import HouseDesk
from spiderwebd.store.runner import READERS
from spiderwebd.work.slots import FairSlots
from tests.session.household import PATIENCE, Household, open_household

GOAL = "/goal " + "; ".join(f"find tea {number}" for number in range(6))


class SlowReader:
    """A reader with as many lanes as the service has; each search waits until the test lets it go."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._lanes = trio.CapacityLimiter(READERS)
        self.searching: list[str] = []
        self.go = trio.Event()

    async def search(self, text: str, *rest: Any) -> Any:
        """Search as the real one, once the test says so."""
        async with self._lanes:
            self.searching.append(text)
            if text.startswith("tea"):
                await self.go.wait()
            return await self._reader.search(text, *rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def desk_of(household: Household) -> HouseDesk:
    """The household's real desk."""
    desk = household.house.desk
    assert isinstance(desk, HouseDesk)
    return desk


async def test_chats_are_answered_while_every_task_waits_for_the_database(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Tasks leave one reader free: a message is answered although searches of goals hang in every other."""
    async with open_household(tmp_path, rules=Rules(parallel_tasks=6)) as household:
        desk = desk_of(household)
        desk.reader = reader = SlowReader(desk.reader)  # type: ignore[assignment]  # stands in for the real one
        worker, talker = await household.attach(), await household.attach()
        worker.say("chat.send", id="g", content=GOAL)
        with trio.fail_after(PATIENCE):
            while len(reader.searching) < READERS - 1:
                await trio.testing.wait_all_tasks_blocked()
        await talker.answer("chat.send", "c", content="hello")
        state = await worker.ask("agent.control", action="state")
        assert state["type"] == "agent.state"
        assert worker.of_type("session.receive") == []
        reader.go.set()
        await worker.until(lambda frame: frame["type"] == "session.receive")


async def test_control_is_answered_while_every_slot_is_taken(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """State, pause, resume and cancel never wait for a slot or a worker."""
    async with open_household(tmp_path) as household:
        desk_of(household).slots = slots = FairSlots(1)
        await slots.acquire("somebody else")
        link = await household.attach()
        link.say("chat.send", id="g", content=GOAL)
        await link.until(lambda frame: frame["type"] == "agent.plan")
        start = trio.current_time()
        for action in ("state", "pause", "resume", "cancel"):
            start_at = len(link.frames)
            link.say("agent.control", id=action, action=action)
            await link.until(lambda frame, a=action: frame.get("request") == a, start_at)  # type: ignore[misc]  # a default of a lambda
        assert trio.current_time() == start
        assert slots.waiting == 0


async def test_a_crowd_delays_one_by_at_most_one_task(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Issue 5: beside a session with 1,000 tasks, a session with one waits for one task's time."""
    rules = Rules(parallel_tasks=32, goals_queued=64)
    async with open_household(tmp_path, rules=rules) as household:
        desk = desk_of(household)
        desk.slots = slots = FairSlots(1)
        seconds = 4.0

        async def slowly(function: Any) -> Any:
            await trio.sleep(seconds)
            return function()

        desk.blocking = slowly  # type: ignore[assignment]  # each task takes as long
        crowd, one = await household.attach(), await household.attach()
        for goal in range(32):
            titles = "; ".join(f"read file f{goal}-{number}.txt" for number in range(32))
            crowd.say("chat.send", id=f"g{goal}", content=f"/goal {titles}")
        with trio.fail_after(PATIENCE):
            while slots.waiting < 31:
                await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        await one.answer("chat.send", "g", content="/goal read file mine.txt")
        assert trio.current_time() - start <= 2 * seconds + 0.1
        assert crowd.of_type("session.receive") == []
