"""Reading sessions, events and memories."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiderwebd.core.records import (
    EntryKind,
    EntryRecord,
    EraseRecord,
    GoalRecord,
    LeaveRamRecord,
    RequestState,
    TaskState,
    VersionRecord,
)
from spiderwebd.store.reader import Query, read_memories
from spiderwebd.store.runner import InlineRunner
from spiderwebd.store.schema import open_writer
from spiderwebd.store.store import Store, open_store
from spiderwebd.store.tables import write
from tests.store.samples import NOW_MS, RUNNERS, database, entry, event, ignore, request, session, turn


@pytest.fixture(params=RUNNERS.values(), ids=RUNNERS.keys())
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A store with either runner."""
    runner: Any = request.param
    async with open_store(database(tmp_path), runner()) as opened:
        yield opened


async def put(store: Store, *records: Any) -> None:
    """Have records committed."""
    await store.writer.submit(records, ignore)
    await store.writer.settled()


async def test_unknown_session_is_none(store: Store) -> None:
    """A key that nobody has gives None, and an empty store has no sid."""
    assert await store.reader.session("nobody") is None
    assert await store.reader.highest_sid() == 0
    assert await store.reader.unfinished() == []


async def test_events_after_a_seq(store: Store) -> None:
    """Events come in order after the seq asked for, bounded, and the oldest kept is known."""
    await put(store, session(seq=6), *[event(seq) for seq in range(3, 7)])
    assert [seq for seq, _ in await store.reader.events(1, 4, 10)] == [5, 6]
    assert [seq for seq, _ in await store.reader.events(1, 0, 2)] == [3, 4]
    assert await store.reader.first_seq(1) == 3
    image = await store.reader.session("key-1")
    assert image is not None
    assert image.first_seq == 3


async def test_session_without_events_begins_after_its_seq(store: Store) -> None:
    """An empty log starts at the next seq."""
    await put(store, session(seq=9))
    assert await store.reader.first_seq(1) is None
    image = await store.reader.session("key-1")
    assert image is not None
    assert image.first_seq == 10


async def test_events_of_one_request(store: Store) -> None:
    """What a request caused can be told again, in order."""
    await put(store, session(seq=4), *[event(seq, request="a" if seq % 2 else "b") for seq in range(1, 5)])
    assert [seq for seq, _ in await store.reader.request_events(1, "a", 1)] == [1, 3]
    assert [seq for seq, _ in await store.reader.request_events(1, "b", 3)] == [4]


async def test_sessions_of_a_principal(store: Store) -> None:
    """Last active first, of one agent or all, with the number of messages and nobody else's."""
    tombstone = EntryRecord(2, 3, EntryKind.TOMBSTONE, "system", "[evicted:1]", NOW_MS, related_to=1)
    await put(
        store,
        session(1, active_ms=1), session(2, active_ms=3, agent="kim"), session(3, active_ms=2),
        session(4, principal="bob"), entry(1, sid=2), entry(2, sid=2), tombstone,
    )  # fmt: skip
    found = await store.reader.sessions("ana", None, 10)
    assert [(each.sid, each.message_count, each.active_ms) for each in found] == [
        (2, 2, 3),
        (3, 0, 2),
        (1, 0, 1),
    ]
    assert [each.key for each in await store.reader.sessions("ana", "default", 1)] == ["key-3"]
    assert await store.reader.sessions("eve", None, 10) == []
    assert await store.reader.highest_sid() == 4


async def test_unfinished_sessions(store: Store) -> None:
    """Open requests and goals that have not ended make a session unfinished; blocked goals do not."""

    def goal(sid: int, state: TaskState) -> GoalRecord:
        return GoalRecord(sid, 1, "g", "text", state, 1, NOW_MS, NOW_MS)

    await put(
        store,
        *[session(sid) for sid in range(1, 7)],
        request("a", 1, state=RequestState.OPEN), request("b", 2),
        goal(3, TaskState.RUNNING), goal(4, TaskState.BLOCKED), goal(5, TaskState.INTERRUPTED),
        goal(6, TaskState.COMPLETE),
    )  # fmt: skip
    assert await store.reader.unfinished() == ["key-1", "key-3", "key-5"]


async def test_recall_order_and_filters(store: Store) -> None:
    """Summaries first, then entries and tombstones, each newest first; kinds, ids and limit hold."""
    summary = EntryRecord(1, 3, EntryKind.SUMMARY, "system", "short", NOW_MS, related_to=1, sources=(1,))
    tombstone = EntryRecord(1, 4, EntryKind.TOMBSTONE, "system", "[evicted:1]", NOW_MS, related_to=1)
    await put(store, session(), session(2), entry(1), entry(2), summary, tombstone, entry(5), entry(1, sid=2))

    async def ids(**filters: Any) -> list[int]:
        return [each.memory_id for each in await store.reader.memories(Query(1, **filters))]

    assert await ids(exclude_in_ram=False) == [3, 5, 4, 2, 1]
    assert await ids(exclude_in_ram=False, limit=2) == [3, 5]
    assert await ids(exclude_in_ram=False, kinds=(EntryKind.ENTRY,)) == [5, 2, 1]
    assert await ids(exclude_in_ram=False, kinds=(EntryKind.SUMMARY,)) == [3]
    assert await ids(exclude_in_ram=False, memory_ids=(1, 3, 77)) == [3, 1]
    assert await ids() == []
    await put(store, LeaveRamRecord(1, (1, 3)))
    assert await ids() == [3, 1]


async def test_memory_with_its_versions(store: Store) -> None:
    """One memory by id, its replaced texts, and what was made from it."""
    summary = EntryRecord(1, 2, EntryKind.SUMMARY, "system", "short", NOW_MS, related_to=1, sources=(1,))
    old = VersionRecord(1, 1, 1, "before", "update", "ana", NOW_MS)
    await put(store, session(), entry(1, "before"), summary)
    await put(store, old, entry(1, "after", version=2))
    assert await store.reader.memory(1, 1) == entry(1, "after", version=2)
    assert await store.reader.versions(1, 1) == [old]
    assert await store.reader.quoting(1, 1) == (2,)
    assert await store.reader.memory(1, 9) is None
    await put(store, EraseRecord(1, (1,), "", NOW_MS))
    gone = await store.reader.memory(1, 1)
    assert gone is not None
    assert (gone.kind, gone.related_to) == (EntryKind.TOMBSTONE, 1)


async def test_image_of_a_long_session_is_its_ram(store: Store) -> None:
    """What left RAM is not in the image, however much there is."""
    for number in range(1, 101):
        await store.writer.submit(turn(number), ignore)
    await put(store, LeaveRamRecord(1, tuple(range(1, 91))))
    image = await store.reader.session("key-1", requests=5)
    assert image is not None
    assert [each.memory_id for each in image.ram] == list(range(91, 101))
    assert [each.request for each in image.requests] == [f"r{number}" for number in range(96, 101)]


TEXT = st.text(st.sampled_from("aAbé€😀\u0301\0%_"), max_size=8)


@settings(max_examples=80, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=6), topic=TEXT)
def test_topic_is_a_byte_substring(
    texts: list[str], topic: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A topic finds exactly the texts whose UTF-8 bytes hold its bytes, case and accents as written."""
    connection = open_writer(database(tmp_path_factory.mktemp("topic")), "OFF")
    write(connection, [[session(), *[entry(number, text) for number, text in enumerate(texts, 1)]]])
    found = read_memories(connection, Query(1, topic=topic, exclude_in_ram=False))
    connection.close()
    expected = [number for number, text in enumerate(texts, 1) if topic.encode() in text.encode()]
    assert [each.memory_id for each in found] == expected[::-1]


async def test_topic_with_half_a_character(tmp_path: Path) -> None:
    """A lone surrogate is in no stored text, so it finds nothing and breaks nothing."""
    async with open_store(database(tmp_path), InlineRunner()) as store:
        await put(store, session(), entry(1, "text"))
        assert await store.reader.memories(Query(1, topic="\ud83d", exclude_in_ram=False)) == []
