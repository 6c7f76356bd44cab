"""Importing the original's memory whole, once, and without losing an id's meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from spiderwebd.core.ram import Budget, Ram
from spiderwebd.core.records import EntryKind, EntryRecord, SessionImage
from spiderwebd.store.legacy import AUTO_SNAPSHOT, import_directory
from spiderwebd.store.reader import Query
from spiderwebd.store.runner import InlineRunner
from spiderwebd.store.schema import StoreInUseError
from spiderwebd.store.search import Scope
from spiderwebd.store.store import open_store
from tests.store.samples import database, ignore, turn
from tests.store.upstream import (
    KEY,
    active,
    archive,
    state,
    summary,
    tombstone,
    write_archive,
    write_database,
    write_state,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the original kept its archives."""
    return tmp_path / "old" / ".spiderweb-ltm"


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Path:
    """The original's working directory."""
    (tmp_path / "old").mkdir()
    return tmp_path / "old"


async def stored(path: Path, key: str = KEY) -> tuple[SessionImage, list[EntryRecord]]:
    """The session as it would wake, and all its memories, oldest first."""
    async with open_store(path, InlineRunner()) as store:
        image = await store.reader.session(key)
        assert image is not None
        found = await store.reader.memories(Query(image.session.sid, exclude_in_ram=False, limit=10_000))
    return image, sorted(found, key=lambda each: each.memory_id)


async def test_snapshots_become_one_session(tmp_path: Path, home: Path, folder: Path) -> None:
    """Copies of one entry in many snapshots are one memory; ids, times, roles and links are kept."""
    first = archive(1_000, [active(1, "hello"), active(2, "hi there", "assistant")], reason=AUTO_SNAPSHOT)
    second = archive(
        2_000,
        [active(2, "hi there", "assistant"), tombstone(4, 1), active(5, "check disk")],
        [summary(3, 1, "hello", 1_500)],
        reason=AUTO_SNAPSHOT,
    )
    write_database(folder, [first, second])
    report = import_directory(database(tmp_path), home, "ana", now_ms=9_000)
    assert report.problems == []
    assert report.renumbered == []
    assert (report.sessions, report.snapshots, report.entries, report.summaries, report.tombstones) == (
        1,
        2,
        3,
        1,
        1,
    )
    image, memories = await stored(database(tmp_path))
    session = image.session
    assert (session.principal, session.agent, session.next_memory_id) == ("ana", "default", 6)
    assert (session.created_ms, session.active_ms) == (1_000, 2_000)
    assert [(each.memory_id, each.kind.value, each.content, each.created_ms) for each in memories] == [
        (1, "entry", "hello", 1_000),
        (2, "entry", "hi there", 1_000),
        (3, "summary", "[summary:1] hello", 1_500),
        (4, "tombstone", "[evicted:1] [evicted context entry]", 2_000),
        (5, "entry", "check disk", 2_000),
    ]
    assert memories[2].sources == (1,)
    assert memories[3].related_to == 1
    # In RAM stands what the newest snapshot had: entries and summaries, no tombstones (3.6).
    assert [each.memory_id for each in image.ram] == [2, 3, 5]
    ram = Ram.restore(image.ram, session.next_memory_id, Budget())
    assert [entry.id for entry in ram.entries()] == [2, 5]


async def test_importing_again_changes_nothing(tmp_path: Path, home: Path, folder: Path) -> None:
    """A second import finds everything known; a new snapshot alone is added; the files stay as they were."""
    write_database(folder, [archive(1_000, [active(1, "one")], reason=AUTO_SNAPSHOT)])
    before = (folder / "memory.db").read_bytes()
    import_directory(database(tmp_path), home, "ana")
    image, memories = await stored(database(tmp_path))
    again = import_directory(database(tmp_path), folder, "ana")
    assert (again.sessions, again.snapshots, again.known, again.entries) == (0, 0, 1, 0)
    assert (image, memories) == await stored(database(tmp_path))
    assert (folder / "memory.db").read_bytes() == before
    write_archive(folder, archive(2_000, [active(1, "one"), active(2, "two")]))
    third = import_directory(database(tmp_path), home, "ana")
    assert (third.snapshots, third.known, third.entries) == (1, 1, 1)
    _, memories = await stored(database(tmp_path))
    assert [each.content for each in memories] == ["one", "two"]


async def test_ids_that_collide_after_a_reset_are_renumbered(
    tmp_path: Path, home: Path, folder: Path
) -> None:
    """After a reset ids began at 1 again (defect 15): both lives are kept, in the order of time, and told."""
    write_database(
        folder,
        [
            archive(1_000, [active(1, "old one"), active(2, "old two")], reason="slash-new"),
            archive(2_000, [active(1, "new one"), active(3, "new three")], [summary(2, 1, "n", 1)]),
        ],
    )
    report = import_directory(database(tmp_path), home, "ana")
    image, memories = await stored(database(tmp_path))
    assert [(each.memory_id, each.content) for each in memories] == [
        (1, "old one"), (2, "old two"), (3, "new one"), (4, "[summary:1] n"), (5, "new three"),
    ]  # fmt: skip
    assert memories[3].sources == (3,)
    assert image.session.next_memory_id == 6
    assert "1->3, 2->4, 3->5" in report.renumbered[0]
    assert KEY not in report.text()


async def test_same_text_in_two_lives_is_two_memories(tmp_path: Path, home: Path, folder: Path) -> None:
    """Saying the same after a reset is saying it again."""
    write_database(folder, [archive(1_000, [active(1, "hello")]), archive(2_000, [active(1, "hello")])])
    import_directory(database(tmp_path), home, "ana")
    _, memories = await stored(database(tmp_path))
    assert [(each.memory_id, each.created_ms) for each in memories] == [(1, 1_000), (2, 2_000)]


async def test_state_file_is_the_newest(tmp_path: Path, home: Path, folder: Path) -> None:
    """The session-state file says what stands in RAM now, with mode and last goal of version 2 (2.10)."""
    write_database(folder, [archive(1_000, [active(1, "archived")], reason=AUTO_SNAPSHOT)])
    now = state([active(2, "now")], workerMode="paused", workerLastGoal="paint", workerQueueDepth=3)
    write_state(home, [now], version=2)
    import_directory(database(tmp_path), home, "ana", now_ms=9_000)
    image, memories = await stored(database(tmp_path))
    assert (image.session.mode, image.session.last_goal) == ("paused", "paint")
    assert [each.content for each in memories] == ["archived", "now"]
    assert [each.content for each in image.ram] == ["now"]


async def test_ram_is_bounded_as_the_original_was(tmp_path: Path, home: Path, folder: Path) -> None:
    """Of a large snapshot the newest entries that fit 64 and 16 KiB stand in RAM; all are kept (3.6)."""
    texts = [active(number, "x" * 300) for number in range(1, 101)]
    texts[99] = active(100, "y" * 20_000)
    write_database(folder, [archive(1_000, texts)])
    import_directory(database(tmp_path), home, "ana")
    image, memories = await stored(database(tmp_path))
    assert len(memories) == 100
    assert [each.memory_id for each in image.ram] == list(range(46, 100))


async def test_imported_memory_is_searched_and_goes_on(tmp_path: Path, home: Path, folder: Path) -> None:
    """What was imported is found, and the session goes on with the next free id."""
    write_database(folder, [archive(1_000, [active(7, "the giraffe escaped")])])
    import_directory(database(tmp_path), home, "ana")
    async with open_store(database(tmp_path), InlineRunner(1)) as store:
        hits = await store.reader.search("giraffes", Scope.of_principal("ana"), 5)
        assert [(hit.memory_id, hit.session_key) for hit in hits] == [(7, KEY)]
        image = await store.reader.session(KEY)
        assert image is not None
        assert image.session.next_memory_id == 8
        await store.writer.submit(turn(8, image.session.sid, "more")[:1], ignore)
        await store.writer.settled()
        assert len(await store.reader.search("giraffes", Scope.of_principal("ana"), 5)) == 2


async def test_odd_session_gets_a_new_key(tmp_path: Path, home: Path, folder: Path) -> None:
    """An id that is no session key cannot be used as one; its memory is kept under a fresh key."""
    write_archive(folder, archive(1_000, [active(1, "unbound")], session="unbound-session"))
    assert import_directory(database(tmp_path), home, "ana").sessions == 1
    async with open_store(database(tmp_path), InlineRunner()) as store:
        assert await store.reader.session("unbound-session") is None
        (found,) = await store.reader.sessions("ana", "default", 5)
    assert len(found.key) == 32


async def test_one_bad_session_spares_the_others(tmp_path: Path, home: Path, folder: Path) -> None:
    """A session that cannot be stored is rolled back and reported, the others are imported."""
    write_archive(folder, archive(2**70, [active(1, "from the far future")], session="B" * 32))
    write_archive(folder, archive(1_000, [active(1, "sound")]))
    report = import_directory(database(tmp_path), home, "ana")
    assert report.sessions == 1
    assert "session BBBB...: not imported" in report.problems[0]
    _, memories = await stored(database(tmp_path))
    assert [each.content for each in memories] == ["sound"]
    async with open_store(database(tmp_path), InlineRunner()) as store:
        assert await store.reader.highest_sid() == 1


async def test_import_waits_for_nobody(tmp_path: Path, home: Path, folder: Path) -> None:
    """While a daemon has the store, an import is refused and says what to do."""
    write_database(folder, [archive(1_000, [active(1, "one")])])
    async with open_store(database(tmp_path)):
        with pytest.raises(StoreInUseError, match="stop that one first"):
            import_directory(database(tmp_path), home, "ana")


def test_nothing_to_import_makes_no_database(tmp_path: Path, home: Path) -> None:
    """An empty directory is a report of nothing."""
    report = import_directory(database(tmp_path), home, "ana")
    assert report.text().startswith("imported 0 snapshots of 0 sessions")
    assert not database(tmp_path).exists()


def test_kinds_are_those_of_the_records() -> None:
    """The names that the file formats use are the store's own."""
    assert {kind.value for kind in EntryKind} == {"entry", "summary", "tombstone"}
