"""Queries and fetches beside the loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from spiderwebd.core.codes import StorageUnavailable
from spiderwebd.core.records import EntryRecord
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


async def test_requests_for_one_fetched_memory_are_done_in_order(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Updates sent one after the other of memories that only the archive has: the last one stands."""
    async with open_household(tmp_path, query_limit=200) as household:
        link = await household.attach()
        for number in range(15):
            link.say("memory.create", content=f"memory {number}")
        await trio.testing.wait_all_tasks_blocked()
        memories = [frame["memoryId"] for frame in link.of_type("session.accepted")]
        for memory in memories:
            link.say("memory.evict", memoryId=memory)
        await trio.testing.wait_all_tasks_blocked()
        for memory in memories:
            for turn in ("first", "second"):
                link.say("memory.update", id=f"{turn}-{memory}", memoryId=memory, content=turn)
            link.say("memory.load", id=f"load-{memory}", memoryId=memory)
        for memory in memories:
            # Answered, the first has brought the memory into RAM, where the third must not overtake.
            await link.until(lambda frame, first=f"first-{memory}": frame.get("request") == first)
            link.say("memory.update", id=f"third-{memory}", memoryId=memory, content="third")
        await trio.testing.wait_all_tasks_blocked()
        loaded = [frame["item"]["content"] for frame in link.of_type("memory.load")]
        assert loaded == ["second"] * 15
        stored = [await household.store.reader.memory(1, memory) for memory in memories]
        assert [record.content for record in stored if record is not None] == ["third"] * 15
        assert link.session is not None
        assert not link.session.state.fetching


async def test_a_fetch_that_fails_lets_the_next_one_go(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that cannot be read once costs the request that met it."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.ask("memory.create", content="tea")
        link.say("memory.evict", memoryId=1)
        await link.until(lambda frame: frame["type"] == "memory.evict")
        real, reads = household.store.reader.memory, []

        async def memory(sid: int, memory_id: int) -> EntryRecord | None:
            reads.append(memory_id)
            if len(reads) == 1:
                raise StorageUnavailable("the store cannot be read: planted")
            return await real(sid, memory_id)

        monkeypatch.setattr(household.store.reader, "memory", memory)
        link.say("memory.load", id="a", memoryId=1)
        link.say("memory.load", id="b", memoryId=1)
        failed = await link.until(lambda frame: frame.get("request") == "a")
        assert failed["code"] == "storage_unavailable"
        answer = await link.until(
            lambda frame: frame.get("request") == "b" and frame["type"] != "memory.event"
        )
        assert answer["item"]["content"] == "tea"
        assert (await link.ask("memory.load", id="c", memoryId=1))["item"]["content"] == "tea"
        assert len(reads) == 2


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
