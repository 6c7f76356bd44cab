"""Queries and fetches beside the loop."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from spiderwebd.core.codes import StorageUnavailable
from tests.session.household import HeldDesk, open_household


async def test_queries_at_once_are_bounded(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """One query more than allowed is refused with queue_full; when they end, the next is answered."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk, query_limit=2) as household:
        link = await household.attach()
        for request in ("a", "b", "c"):
            link.say("memory.recall", id=request)
        refusal = await link.until(lambda frame: frame["type"] == "error")
        assert (refusal["request"], refusal["code"]) == ("c", "queue_full")
        assert refusal["retry_after_ms"] > 0
        desk.go.set()
        await link.until(lambda frame: frame.get("request") == "b")
        assert (await link.ask("memory.recall", id="d"))["type"] == "memory.recall"
        assert household.metrics.requests_refused == {"queue_full": 1}


async def test_a_memory_that_left_ram_is_fetched(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """load and update of a memory that only the archive has bring it back, byte-equal or revised."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        text = "tea \N{SNOWMAN} \u0001"
        await link.ask("memory.create", content=text)
        link.say("memory.evict", memoryId=1)
        await link.until(lambda frame: frame["type"] == "memory.evict")
        link.say("memory.load", id="l", memoryId=1)
        loaded = await link.until(lambda frame: frame["type"] == "memory.load")
        assert (loaded["item"]["content"], loaded["item"]["source"]) == (text, "ram")
        link.say("memory.evict", memoryId=1)
        await link.until(lambda frame: frame.get("request") != "l" and frame["type"] == "memory.evict", 5)
        link.say("memory.update", id="u", memoryId=1, content="milk")
        updated = await link.until(lambda frame: frame["type"] == "memory.update")
        assert (updated["item"]["content"], updated["item"]["version"]) == ("milk", 2)


async def test_a_fetch_whose_link_left_changes_nothing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A link that goes while its query runs is answered to nobody; the session stays sound and sleeps."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk) as household:
        link = await household.attach()
        session = link.session
        assert session is not None
        link.say("memory.recall", id="r")
        await trio.testing.wait_all_tasks_blocked()
        session.detach(link)
        assert not session.quiet
        desk.go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert session.quiet
        assert household.faults == []


async def test_a_store_that_cannot_be_read_is_told(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """What the store says of itself reaches the asker with its own code, and is no fault."""
    desk = HeldDesk()
    desk.go.set()
    desk.fault = StorageUnavailable("the store cannot be read: planted")
    async with open_household(tmp_path, desk=desk) as household:
        link = await household.attach()
        refusal = await link.ask("memory.recall", id="r")
        assert (refusal["code"], refusal["request"]) == ("storage_unavailable", "r")
        assert household.faults == []
