"""Records become rows and come back as they were."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiderwebd.core.records import (
    ArchiveRecord,
    EntryKind,
    EntryRecord,
    EraseRecord,
    GoalRecord,
    RequestState,
    TaskRecord,
    TaskState,
    VersionRecord,
)
from spiderwebd.store.reader import Query, read_image, read_memories
from spiderwebd.store.schema import open_writer
from spiderwebd.store.tables import ENTRY_COLUMNS, entry_of, write
from tests.store.samples import NOW_MS, database, entry, event, request, session, turn


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """An open store without a runner."""
    opened = open_writer(database(tmp_path))
    yield opened
    opened.close()


def stored(connection: sqlite3.Connection, memory_id: int) -> EntryRecord:
    """One memory as the table has it."""
    row = connection.execute(
        f"SELECT {ENTRY_COLUMNS} FROM entries WHERE sid = 1 AND memory_id = ?", (memory_id,)
    ).fetchone()
    return entry_of(row)


def test_session_comes_back_exactly(connection: sqlite3.Connection) -> None:
    """The image holds the session, RAM in id order, open goals, their tasks in plan order, and requests."""
    goal = GoalRecord(1, 3, "g", "do it", TaskState.RUNNING, 2, NOW_MS, NOW_MS + 60_000, None, 2)
    ended = GoalRecord(1, 2, "e", "done", TaskState.COMPLETE, 1, NOW_MS, NOW_MS, NOW_MS)
    tasks = [
        TaskRecord(1, 3, number, f"task {number}", "research", TaskState.QUEUED, 0, NOW_MS, code="no_worker")
        for number in (1, 2)
    ]
    summary = EntryRecord(1, 3, EntryKind.SUMMARY, "system", "short", NOW_MS, related_to=1, sources=(1, 2))
    opened = request("g", state=RequestState.OPEN, goal_id=3)
    record = session(seq=4, next_memory_id=4, extra='{"beat":1}')
    # The session's own row may come last, as the core sends it.
    records = [
        entry(2, name="colour"), entry(1), summary, *reversed(tasks), goal, ended, opened, event(4), record,
    ]  # fmt: skip
    write(connection, [records])
    image = read_image(connection, "key-1", 10)
    assert image is not None
    assert image.session == record
    assert image.ram == (entry(1), entry(2, name="colour"), summary)
    assert image.goals == (goal,)
    assert image.tasks == tuple(tasks)
    assert image.requests == (opened,)
    assert image.first_seq == 4


def test_newest_requests_and_every_open_one(connection: sqlite3.Connection) -> None:
    """Finished requests are bounded, open ones never, and the order is that of their coming."""
    old = request("old", state=RequestState.OPEN)
    rest = [request(f"r{number}") for number in range(5)]
    write(connection, [[session(), old, *rest]])
    image = read_image(connection, "key-1", 2)
    assert image is not None
    assert [each.request for each in image.requests] == ["old", "r3", "r4"]


def test_last_state_of_a_batch_wins(connection: sqlite3.Connection) -> None:
    """Several states of one row in one transaction leave the last."""
    write(
        connection,
        [
            [session(seq=1), request("a", state=RequestState.OPEN)],
            [session(seq=2), request("a", state=RequestState.ANSWERED)],
        ],
    )
    image = read_image(connection, "key-1", 5)
    assert image is not None
    assert image.session.seq == 2
    assert image.requests[0].state is RequestState.ANSWERED


def test_reset_marker_empties_ram(connection: sqlite3.Connection) -> None:
    """A cleared archive takes every row out of RAM and no text away."""
    write(connection, [[session(), entry(1, "kept")], [ArchiveRecord(1, NOW_MS, "reset", 2, 1, 0, True)]])
    assert stored(connection, 1) == entry(1, "kept", in_ram=False)


@pytest.mark.parametrize("version_first", [True, False])
def test_replaced_text_is_kept(connection: sqlite3.Connection, version_first: bool) -> None:
    """An update keeps the old text with who replaced it, whichever record comes first."""
    old = VersionRecord(1, 1, 1, "before", "update", "ana", NOW_MS + 5)
    new = entry(1, "after", version=2)
    write(connection, [[session(), entry(1, "before")], [old, new] if version_first else [new, old]])
    row = connection.execute("SELECT content, operation, actor, at_ms FROM versions").fetchall()
    assert row == [("before", "update", "ana", NOW_MS + 5)]
    assert stored(connection, 1).content == "after"


def test_text_cannot_change_without_a_version(connection: sqlite3.Connection) -> None:
    """Overwriting a text in place is refused; the schema, not the caller, keeps history."""
    write(connection, [[session(), entry(1, "before")]])
    with pytest.raises(sqlite3.IntegrityError, match="higher version"):
        write(connection, [[entry(1, "after")]])


def test_memory_cannot_become_something_else(connection: sqlite3.Connection) -> None:
    """An entry does not turn into a summary, nor a user's text into the assistant's."""
    write(connection, [[session(), entry(1)]])
    with pytest.raises(sqlite3.IntegrityError, match="kind or role"):
        write(connection, [[entry(1, role="assistant")]])


def test_sid_of_another_session_is_refused(connection: sqlite3.Connection) -> None:
    """A sid given out twice does not mix two sessions."""
    write(connection, [[session(1)]])
    with pytest.raises(sqlite3.IntegrityError):
        write(connection, [[session(1, key="another")]])
    assert connection.execute("SELECT key, seq FROM sessions").fetchall() == [("key-1", 0)]


def test_seq_is_never_used_twice(connection: sqlite3.Connection) -> None:
    """A second event with the same seq is refused."""
    write(connection, [[session(), event(1)]])
    with pytest.raises(sqlite3.IntegrityError):
        write(connection, [[event(1)]])


def test_erasure_leaves_a_dated_tombstone(connection: sqlite3.Connection) -> None:
    """Text, name, versions and sources go; the row says when and why, and the audit row that it was so."""
    write(
        connection,
        [
            [session(), entry(1, "my secret", name="secret")],
            [VersionRecord(1, 1, 1, "my secret", "update", "ana", NOW_MS), entry(1, "hush", version=2)],
            [EraseRecord(1, (1, 99), "asked for", NOW_MS)],
        ],
    )
    gone = stored(connection, 1)
    assert gone.kind is EntryKind.TOMBSTONE
    assert gone.related_to == 1
    assert gone.content == "[erased:1] 2026-02-15T10:06:40Z asked for"
    assert (gone.name, gone.in_ram) == (None, False)
    assert connection.execute("SELECT count(*) FROM versions").fetchone() == (0,)
    assert connection.execute("SELECT kind, first, last, count, reason FROM removals").fetchall() == [
        ("memory", 1, 1, 1, "erased: asked for")
    ]


def test_erased_text_leaves_the_file(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """After an erasure and a checkpoint the words are in no page of the file."""
    secret = "xylophonequarrel"
    write(connection, [turn(1, content=f"the word is {secret}")])
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert secret.encode() in database(tmp_path).read_bytes()
    write(connection, [[EraseRecord(1, (1,), "", NOW_MS)]])
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert secret.encode() not in database(tmp_path).read_bytes()


@settings(max_examples=50, deadline=None)
@given(
    content=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    name=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    sources=st.lists(st.integers(1, 2**53), max_size=4).map(tuple),
    related_to=st.none() | st.integers(1, 2**53),
    in_ram=st.booleans(),
)
def test_any_entry_comes_back_equal(
    content: str, name: str | None, sources: tuple[int, ...], related_to: int | None, in_ram: bool
) -> None:
    """Whatever the text (NUL, control characters, any script), the record read is the record written."""
    record = entry(7, content, name=name, sources=sources, related_to=related_to, in_ram=in_ram)
    with TemporaryDirectory() as folder:
        connection = open_writer(database(Path(folder)), "OFF")
        write(connection, [[session(), record]])
        assert read_memories(connection, Query(1, exclude_in_ram=False)) == [record]
        connection.close()
