"""What runs for a session: deadlines of goals and tasks, and the gate."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from spiderwebd.core.state import Rules
from spiderwebd.session.desk import HouseDesk
from spiderwebd.work.gate import Gate
from tests.session.household import HeldDesk, open_household

HOUR_MS = 3_600_000
GOAL = "search for tea; remember that tea is green; report"


async def test_a_goal_expires_at_its_deadline(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """A goal whose task never ends is expired exactly when its time is up, and its task is cancelled."""
    async with open_household(tmp_path, desk=HeldDesk(), rules=Rules(goal_ms=90_000)) as household:
        link = await household.attach()
        link.say("chat.send", id="g", content=f"/goal {GOAL}")
        await link.until(lambda frame: frame["type"] == "agent.plan")
        start = trio.current_time()
        answer = await link.until(lambda frame: frame["type"] == "session.receive", seconds=1000)
        assert trio.current_time() - start == pytest.approx(90, abs=0.01)
        assert {frame["status"] for frame in link.of_type("agent.status")} == {"expired"}
        assert answer["content"]
        state = await link.ask("agent.control", action="state")
        assert (state["queuedTasks"], state["activeTasks"]) == (0, 0)
        assert household.metrics.requests_expired == 1


async def test_a_goal_that_never_began_expires_too(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A goal that waits in a paused session is expired at its deadline and not run late."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk, rules=Rules(goal_ms=90_000)) as household:
        link = await household.attach()
        await link.ask("agent.control", action="pause")
        link.say("chat.send", id="g", content=f"/goal {GOAL}")
        start = trio.current_time()
        await link.until(lambda frame: frame["type"] == "session.receive", seconds=1000)
        assert trio.current_time() - start == pytest.approx(90, abs=0.01)
        assert desk.asked == []


async def test_a_task_that_hangs_times_out(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """A task past its own time fails with task_timeout; the goal ends and the session goes on."""
    async with open_household(tmp_path, task_seconds=7) as household:
        desk = household.house.desk
        assert isinstance(desk, HouseDesk)
        desk.blocking = _never  # type: ignore[assignment]  # a disk that does not answer
        link = await household.attach()
        link.say("chat.send", id="g", content="/goal search for tea")
        start = trio.current_time()
        status = await link.until(lambda frame: frame["type"] == "agent.status")
        assert (status["status"], status["code"]) == ("failed", "task_timeout")
        assert trio.current_time() - start == pytest.approx(7, abs=0.01)


async def _never(function: object) -> None:
    await trio.sleep_forever()


async def test_a_pause_of_hours_does_not_time_a_task_out(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A worker held at the gate for hours goes on when its person comes back, within its own time."""
    reached = trio.Event()
    async with open_household(
        tmp_path, task_seconds=5, rules=Rules(goal_ms=48 * HOUR_MS, heartbeat_ms=HOUR_MS)
    ) as household:
        desk = household.house.desk
        assert isinstance(desk, HouseDesk)
        search = desk.reader.search

        async def slow_search(*arguments: object) -> object:
            reached.set()
            await trio.sleep(1)
            return await search(*arguments)  # type: ignore[arg-type]  # handed through

        desk.reader.search = slow_search  # type: ignore[method-assign,assignment]  # a slow disk
        link = await household.attach()
        link.say("chat.send", id="g", content="/goal search for tea")
        await reached.wait()
        await link.ask("agent.control", action="pause")
        await trio.sleep(5 * HOUR_MS / 1000)
        assert link.of_type("agent.status") == []
        await link.ask("agent.control", action="resume")
        status = await link.until(lambda frame: frame["type"] == "agent.status")
        assert status["status"] == "complete"


async def test_the_gate_holds_workers_while_paused(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """After a restart a paused session starts nothing and holds what runs, until it is resumed."""
    gates: list[Gate] = []

    class Desk(HeldDesk):
        async def carry_out(self, state, task, gate, *rest):  # type: ignore[no-untyped-def]  # as in the class above
            gates.append(gate)
            return await super().carry_out(state, task, gate, *rest)

    desk = Desk()
    desk.go.set()
    async with open_household(tmp_path, desk=desk) as household:
        link = await household.attach()
        await link.ask("agent.control", action="pause")
        link.say("chat.send", id="g", content=f"/goal {GOAL}")
        await link.until(lambda frame: frame["type"] == "agent.plan")
        await trio.testing.wait_all_tasks_blocked()
        assert gates == []
        await link.ask("agent.control", action="resume")
        await link.until(lambda frame: frame["type"] == "session.receive")
        assert len(gates) == 3
