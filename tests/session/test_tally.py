"""The numbers that a session adds up."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from spiderwebd.core.records import RequestState
from tests.session.household import HeldDesk, Household, Listener, key_of, open_household


def undecided(household: Household) -> int:
    """Requests that every awake session has taken in and not decided about."""
    return sum(session.tally.undecided for session in household.registry.awake.values())


def open_requests(household: Household) -> tuple[int, int]:
    """Accepted requests that run and that wait, over all awake sessions."""
    found = [session.tally.open for session in household.registry.awake.values()]
    return sum(running for running, _ in found), sum(waiting for _, waiting in found)


def balanced(household: Household) -> bool:
    """Whether accepted = answered + running + queued + failed + cancelled + expired."""
    numbers = household.metrics
    ended = numbers.requests_answered + numbers.requests_failed
    ended += numbers.requests_cancelled + numbers.requests_expired
    return numbers.requests_accepted == ended + sum(open_requests(household)) + numbers.requests_left


async def test_the_numbers_add_up(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """accepted = answered + failed + cancelled + expired, goals and tasks by state, refusals by code."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.answer("chat.send", "a", content="hello")
        await link.ask("memory.create", id="b", content="x")
        await link.answer("chat.send", "c", content="/goal search for tea; fly to the moon")
        await link.ask("agent.control", action="pause")
        link.say("chat.send", id="d", content="/goal search for tea")
        await link.until(lambda frame: frame.get("phase") == "workers.paused" and frame.get("request") == "d")
        numbers = household.metrics
        assert numbers.goals_open == 1
        link.say("agent.control", action="cancel")
        await link.until(lambda frame: frame["type"] == "session.receive" and frame["request"] == "d")
        await link.ask("memory.create", id="b", content="something else")
        await link.ask("agent.control", action="dance")
        assert numbers.requests_accepted == 4
        assert (numbers.requests_answered, numbers.requests_cancelled) == (3, 1)
        assert (numbers.requests_failed, numbers.requests_expired, numbers.goals_open) == (0, 0, 0)
        assert numbers.goals == {"queued": 2, "running": 1, "blocked": 1, "cancelled": 1}
        assert numbers.tasks == {"queued": 3, "running": 2, "complete": 1, "blocked": 1, "cancelled": 1}
        assert numbers.requests_refused == {"request_conflict": 1, "control_unsupported": 1}


async def test_what_is_open_runs_or_waits(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """The oldest message and the running goal run, the others wait, and the sum is what was accepted."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk) as household:
        link = await household.attach()
        for name in ("a", "b", "c"):
            await link.ask("chat.send", id=name, content=name)
        for name in ("g", "h"):
            link.say("chat.send", id=name, content="/goal search for tea")
            await link.until(
                lambda f, name=name: f.get("phase") == "workers.dispatching" and f["request"] == name
            )
        assert open_requests(household) == (2, 3)
        assert household.metrics.requests_accepted == 5
        assert balanced(household)
        desk.go.set()
        await link.until(lambda frame: frame["type"] == "session.receive" and frame["request"] == "h")
        await trio.testing.wait_all_tasks_blocked()
        assert open_requests(household) == (0, 0)
        assert balanced(household)
        assert undecided(household) == 0


async def test_a_fault_leaves_its_open_requests_on_the_books(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A session that fails refuses what it never came to; what it had accepted waits for its next life."""
    async with open_household(tmp_path, desk=HeldDesk()) as household:
        link = await household.attach()
        await link.ask("chat.send", id="a", content="hello")
        session = link.session
        assert session is not None
        session.fail(ZeroDivisionError("planted"))
        link.say("chat.send", id="b", content="lost")
        link.say("ping")
        await household.asleep(key_of(link))
        numbers = household.metrics
        assert numbers.requests_refused == {"internal": 1}
        assert (numbers.requests_accepted, numbers.requests_left) == (1, 1)
        assert balanced(household)
        late = Listener()
        late.session = session
        late.say("chat.send", id="c", content="too late")
        assert numbers.requests_refused == {"internal": 2}
        await household.attach(key_of(link))
        assert numbers.requests_left == 0
        assert open_requests(household) == (1, 0)
        assert balanced(household)


async def test_an_earlier_run_is_taken_over(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """What an earlier run accepted counts as received and accepted by the run that answers it."""
    async with open_household(tmp_path, desk=HeldDesk()) as household:
        link = await household.attach()
        await link.ask("chat.send", id="a", content="hello")
    async with open_household(tmp_path) as household:
        back = await household.attach(key_of(link))
        await back.until(lambda frame: frame["type"] == "session.receive")
        numbers = household.metrics
        assert (numbers.requests_received, numbers.requests_accepted, numbers.requests_answered) == (1, 1, 1)
        record = back.session.state.requests["a"] if back.session is not None else None
        assert record is not None
        assert record.state is RequestState.ANSWERED
        assert balanced(household)
