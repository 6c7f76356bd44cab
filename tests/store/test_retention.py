"""What is kept, what goes, and what is said about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spiderwebd.core.records import (
    ArchiveRecord,
    EntryKind,
    GoalRecord,
    LeaveRamRecord,
    RequestState,
    TaskState,
)
from spiderwebd.store.retention import DAY_MS, Policy, Removal, prune
from spiderwebd.store.runner import InlineRunner
from spiderwebd.store.search import Scope
from spiderwebd.store.store import Store, open_store
from tests.store.samples import NOW_MS, database, entry, event, ignore, request, session

NOTHING = Policy(0, 0, 0, 0, 0, 0)


async def put(store: Store, *records: Any) -> None:
    """Have records committed."""
    await store.writer.submit(records, ignore)
    await store.writer.settled()


async def rows(store: Store, statement: str) -> list[Any]:
    """Rows of any table."""
    return await store.writer.perform(lambda connection: connection.execute(statement).fetchall())


async def test_zero_is_no_limit(tmp_path: Path) -> None:
    """With every limit at 0 nothing goes, however old."""
    async with open_store(database(tmp_path), InlineRunner()) as store:
        await put(
            store, session(), entry(1, in_ram=False), event(1), request("a"),
            ArchiveRecord(1, NOW_MS, "x", 1, 1, 0, False),
        )  # fmt: skip
        assert await prune(store.writer, NOTHING, NOW_MS + 10_000 * DAY_MS) == []
        assert await rows(store, "SELECT * FROM removals") == []


async def test_events_by_count_and_age(tmp_path: Path) -> None:
    """The newest events stay, oldest go first and without a gap, in each session for itself."""
    async with open_store(database(tmp_path), InlineRunner()) as store:
        await put(store, session(1), session(2), *[event(seq) for seq in range(1, 11)], event(1, 2))
        assert await prune(store.writer, Policy(4, 0, 0, 0, 0, 0), NOW_MS) == [Removal(1, "event", 6)]
        assert [seq for seq, _ in await store.reader.events(1, 0, 99)] == [7, 8, 9, 10]
        assert [seq for seq, _ in await store.reader.events(2, 0, 99)] == [1]
        by_age = Policy(0, 1, 0, 0, 0, 0)
        assert await prune(store.writer, by_age, NOW_MS + DAY_MS + 9_000) == [
            Removal(1, "event", 2), Removal(2, "event", 1),
        ]  # fmt: skip
        assert await store.reader.first_seq(1) == 9
        assert await prune(store.writer, by_age, NOW_MS + 9 * DAY_MS) == [Removal(1, "event", 2)]
        assert await store.reader.first_seq(1) is None
        audit = await rows(store, "SELECT sid, kind, count, reason FROM removals")
        assert audit[0] == (1, "event", 6, "kept: 4 events, 0 days")


async def test_open_requests_stay(tmp_path: Path) -> None:
    """Only finished requests beyond the newest go."""
    async with open_store(database(tmp_path), InlineRunner()) as store:
        opened = request("open", state=RequestState.OPEN)
        await put(store, session(), opened, *[request(f"r{number}") for number in range(5)])
        assert await prune(store.writer, Policy(0, 0, 2, 0, 0, 0), NOW_MS) == [Removal(1, "request", 3)]
        assert await rows(store, "SELECT request FROM requests") == [("open",), ("r3",), ("r4",)]


async def test_archives_by_count_and_age(tmp_path: Path) -> None:
    """Archive markers beyond the newest or older than the days go."""
    async with open_store(database(tmp_path), InlineRunner()) as store:
        marks = [ArchiveRecord(1, NOW_MS + day * DAY_MS, f"day {day}", 1, 1, 0, False) for day in range(5)]
        await put(store, session(), *marks)
        assert await prune(store.writer, Policy(0, 0, 0, 4, 0, 0), NOW_MS) == [Removal(1, "archive", 1)]
        await prune(store.writer, Policy(0, 0, 0, 0, 2, 0), NOW_MS + 4 * DAY_MS)
        assert await rows(store, "SELECT reason FROM archives") == [("day 2",), ("day 3",), ("day 4",)]


async def test_entries_only_when_asked_for(tmp_path: Path) -> None:
    """Old texts out of RAM become tombstones that say so; what is in use stays; search forgets them."""
    goal = GoalRecord(1, 1, "g", "text", TaskState.RUNNING, 3, NOW_MS, NOW_MS)
    async with open_store(database(tmp_path), InlineRunner(1)) as store:
        await put(store, session(), entry(1, "giraffe"), entry(2, "zebra"), entry(3, "heron"), goal)
        await put(store, entry(4, "young", created_ms=NOW_MS + 40 * DAY_MS, in_ram=False))
        await put(store, LeaveRamRecord(1, (1, 3)))
        assert await prune(store.writer, Policy(), NOW_MS + 40 * DAY_MS) == []
        assert await prune(store.writer, Policy(entries_days=30), NOW_MS + 40 * DAY_MS) == [
            Removal(1, "memory", 1)
        ]
        gone = await store.reader.memory(1, 1)
        assert gone is not None
        assert (gone.kind, gone.related_to) == (EntryKind.TOMBSTONE, 1)
        assert gone.content == "[pruned:1] 2026-03-27T10:06:40Z kept: 30 days"
        assert (await store.reader.memory(1, 3)) == entry(3, "heron", in_ram=False)
        await put(store, entry(5, "more"))
        assert await store.reader.search("giraffe", Scope.session(1), 5) == []
        assert await prune(store.writer, Policy(entries_days=30), NOW_MS + 40 * DAY_MS) == []


async def test_much_goes_in_slices(tmp_path: Path) -> None:
    """A long log and many sessions are pruned to the end, each slice a transaction of its own."""
    async with open_store(database(tmp_path), InlineRunner()) as store:
        await put(store, *[session(sid) for sid in range(1, 201)], *[event(seq) for seq in range(1, 2_601)])
        await put(store, *[event(seq, 200) for seq in range(1, 4)])
        removed = await prune(store.writer, Policy(2, 0, 0, 0, 0, 0), NOW_MS)
        assert [(each.sid, each.count) for each in removed] == [(1, 1_000), (1, 1_000), (1, 598), (200, 1)]
        assert await rows(store, "SELECT sid, count(*) FROM events GROUP BY sid") == [(1, 2), (200, 2)]
