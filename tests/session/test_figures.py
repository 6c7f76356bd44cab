"""What the metrics say of the queues is what stands in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from spiderwebd.core.state import Rules
from spiderwebd.session.figures import collect
from tests.session.household import HeldDesk, open_household

GOAL = "/goal find a; find b; find c"


async def test_depths_and_ages_are_those_of_the_queues(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Chats, goals and tasks that wait are counted over all sessions, with the age of the oldest."""
    rules = Rules(parallel_tasks=1)
    async with open_household(tmp_path, desk=HeldDesk(), rules=rules) as household:
        first, second = await household.attach(), await household.attach()
        for name in ("a", "b", "c"):
            await first.ask("chat.send", id=name, content=name)
        await trio.sleep(10)
        for link in (first, second):
            link.say("chat.send", id="g", content=GOAL)
            await link.until(lambda frame: frame.get("phase") == "workers.dispatching")
        second.say("chat.send", id="h", content=GOAL)
        await second.until(lambda frame: frame["type"] == "agent.plan" and frame["request"] == "h")
        await trio.sleep(5)
        metrics = household.metrics
        collect(metrics, household.registry)
        assert metrics.queue_depth == {"inbox": 0, "chats": 2, "goals": 1, "tasks": 7, "slots": 0}
        ages = metrics.queue_oldest_seconds
        assert ages["chats"] == pytest.approx(15, abs=0.1)
        assert ages["goals"] == ages["tasks"] == pytest.approx(5, abs=0.1)
        assert ages["slots"] == 0
        assert (metrics.requests_running, metrics.requests_queued) == (3, 3)
        assert metrics.sessions_awake == 2
        assert metrics.requests_accepted == 6
        waits = metrics.chat_wait_seconds
        assert (sum(waits.counts), waits.total) == (1, pytest.approx(0, abs=0.1))
        # What the loop has not come to yet waits too.
        assert first.session is not None
        first.session._inbox.put(lambda step: None)
        first.say("memory.create", content="late")
        assert first.session.waiting == 2
        collect(metrics, household.registry)
        assert metrics.queue_depth["inbox"] == 2
        assert 0 <= ages["inbox"] < 1


async def test_an_idle_house_shows_nothing(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Without sessions everything is 0, and waits are even."""
    async with open_household(tmp_path) as household:
        collect(household.metrics, household.registry)
        assert set(household.metrics.queue_depth.values()) == {0}
        assert set(household.metrics.queue_oldest_seconds.values()) == {0}
        assert household.metrics.fairness_ratio == 1.0
