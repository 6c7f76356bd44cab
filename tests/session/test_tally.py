"""The numbers that a session adds up."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from tests.session.household import open_household


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
