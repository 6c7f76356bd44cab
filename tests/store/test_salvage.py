"""Damaged databases: what can be read is saved, what cannot is said, and the store serves."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from spiderwebd.core.codes import StorageUnavailable
from spiderwebd.core.records import (
    EntryKind,
    GoalRecord,
    Record,
    RequestState,
    TaskRecord,
    TaskState,
    VersionRecord,
)
from spiderwebd.store import salvage as salvaging
from spiderwebd.store.damage import CHECK_SECONDS, DamagedError, open_checked
from spiderwebd.store.salvage import finish, salvage
from spiderwebd.store.salvage_report import SalvageReport
from spiderwebd.store.salvage_tables import KEPT, LEFT_BEHIND
from spiderwebd.store.schema import migrate, open_writer, version
from spiderwebd.store.search import Scope
from spiderwebd.store.store import open_store
from tests.store.samples import (
    NOW_MS,
    RUNNERS,
    States,
    database,
    entry,
    event,
    ignore,
    request,
    session,
    turn,
)

PAGE = 4_096
SESSIONS = 6
TURNS = 60
COPIES = 50
PRECIOUS = {kept.name: kept for kept in KEPT}


def life(sid: int, turns: int) -> list[Record]:
    """A session with turns, replaced texts, a summary, goals and tasks."""
    records: list[Record] = [session(sid)]
    for number in range(1, turns + 1):
        records += turn(number, sid, f"{sid}/{number} " + "words of a memory " * (number % 40))[:3]
    records.append(VersionRecord(sid, 1, 1, "an older text", "update", "ana", NOW_MS))
    records.append(entry(turns + 1, "a summary", sid, kind=EntryKind.SUMMARY, role="system", sources=(1, 2)))
    for goal_id in range(1, 9):
        records.append(
            GoalRecord(sid, goal_id, f"g{goal_id}", "a goal", TaskState.COMPLETE, 1, NOW_MS, NOW_MS, NOW_MS)
        )
        records += [
            TaskRecord(sid, goal_id, task_id, f"task {task_id}", "status", TaskState.COMPLETE, 1, NOW_MS)
            for task_id in range(1, 6)
        ]
    records.append(session(sid, next_memory_id=turns + 2, next_goal_id=9, seq=turns))
    return records


async def fill(path: Path, sessions: int = SESSIONS, turns: int = TURNS) -> None:
    """A database as a daemon leaves it after a clean end."""
    async with open_store(path) as store:
        for sid in range(1, sessions + 1):
            await store.writer.submit(life(sid, turns), ignore)
        await store.writer.settled()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sound database that tests copy before they damage it."""
    path = database(tmp_path_factory.mktemp("sound"))
    trio.run(fill, path)
    return path


def copy_of(sound: Path, folder: Path) -> Path:
    """A database of one's own."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(sound, database(folder)))


def overwrite(path: Path, number: int, data: bytes, offset: int = 0) -> None:
    """Put bytes into a page (1-based)."""
    with path.open("r+b") as file:
        file.seek((number - 1) * PAGE + offset)
        file.write(data)


def root(path: Path, name: str) -> int:
    """The page at which a table or index begins."""
    with closing(sqlite3.connect(path)) as connection:
        return int(
            connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]
        )


def rows(path: Path, name: str) -> set[tuple[Any, ...]]:
    """All rows of one of the kept tables."""
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute(f"SELECT {PRECIOUS[name].columns} FROM {name}"))


def readable_rows(path: Path, name: str) -> set[tuple[Any, ...]]:
    """Rows that plain SQLite reads from either end or one by one: what must not be lost."""
    kept = PRECIOUS[name]
    found: set[tuple[Any, ...]] = set()
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        try:
            for direction in ("ASC", "DESC"):
                order = ", ".join(f"{column} {direction}" for column in kept.key)
                try:
                    found.update(
                        connection.execute(f"SELECT {kept.columns} FROM {name} ORDER BY {order}").fetchall()
                    )
                    return found
                except sqlite3.DatabaseError:
                    cursor = connection.execute(f"SELECT {kept.columns} FROM {name} ORDER BY {order}")
                    with ignoring_damage():
                        for row in cursor:
                            found.add(row)
        except sqlite3.DatabaseError:
            return found
    return found


@contextmanager
def ignoring_damage() -> Iterator[None]:
    """Stop reading where SQLite stops."""
    with suppress(sqlite3.DatabaseError):
        yield


def make_it_read_again(path: Path) -> None:
    """Have another process commit something, so that the writer's cached pages are void."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE health SET recoveries = recoveries + 1")


@dataclass
class Served:
    """What a store said while it was opened on a damaged file."""

    reports: list[SalvageReport]

    async def open(self, path: Path) -> None:
        """Open, use and close it."""
        async with open_store(path, on_salvage=self.reports.append) as store:
            await store.writer.submit([session(99, key="a new session")], ignore)
            await store.writer.settled()
            assert store.writer.degraded is None
            for sid in range(1, SESSIONS + 1):
                await store.reader.session(f"key-{sid}")


def test_every_table_is_kept_or_made_anew(tmp_path: Path) -> None:
    """A table that a later schema step adds cannot be forgotten, and every column of the others is copied."""
    with closing(open_writer(database(tmp_path))) as connection:
        names = {
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            if not name.startswith("entries_fts_")
        }
        assert names == set(PRECIOUS) | LEFT_BEHIND
        for kept in KEPT:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({kept.name})")]
            assert columns == [name.strip() for name in kept.columns.split(",")]


@pytest.mark.parametrize("seed", range(COPIES))
async def test_random_damage_never_keeps_the_store_from_opening(
    sound: Path, tmp_path: Path, seed: int
) -> None:
    """Pages overwritten at random: it opens and serves, loses no readable row, and names what is gone."""
    chance = random.Random(seed)
    path = copy_of(sound, tmp_path)
    pages = path.stat().st_size // PAGE
    for _ in range(chance.randint(1, 6)):
        number = chance.randint(1, pages)
        if chance.random() < 0.7:
            overwrite(path, number, chance.randbytes(PAGE))
        else:
            overwrite(path, number, chance.randbytes(chance.randint(1, 300)), chance.randrange(PAGE - 300))
    damaged = path.read_bytes()
    before = {name: readable_rows(path, name) for name in PRECIOUS}
    served = Served([])
    await served.open(path)
    original = {name: rows(sound, name) for name in PRECIOUS}
    after = {name: rows(path, name) for name in PRECIOUS}
    if not served.reports:
        # Nothing noticed: then nothing may be missing.
        assert all(before[name] <= after[name] for name in PRECIOUS)
        return
    (report,) = served.reports
    assert report.kept.read_bytes() == damaged
    copied = {table.name: table for table in report.tables}
    for name in PRECIOUS:
        places = [column.strip() for column in PRECIOUS[name].columns.split(",")]
        key = [places.index(column) for column in PRECIOUS[name].key]
        there = {tuple(row[place] for place in key) for row in after[name]}
        # A sound row that SQLite still reads is there (rows whose bytes were hit may read differently).
        wanted = {tuple(row[place] for place in key) for row in before[name] & original[name]}
        assert wanted <= there, name
        # The report is honest: who is missing from a table is not called whole.
        missing = {tuple(row[place] for place in key) for row in original[name]} - there
        if missing:
            assert not copied[name].whole or not report.indexes_whole, (name, missing)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        for sid, seq, next_memory_id in connection.execute("SELECT sid, seq, next_memory_id FROM sessions"):
            for table, column, limit in (
                ("events", "seq", seq + 1),
                ("entries", "memory_id", next_memory_id),
            ):
                highest = connection.execute(
                    f"SELECT max({column}) FROM {table} WHERE sid = ?", (sid,)
                ).fetchone()[0]
                assert highest is None or highest < limit


async def test_lost_rows_are_named_and_sessions_go_on(sound: Path, tmp_path: Path) -> None:
    """One leaf of memories and one of events gone: each id is named, ids go on, the rest is as it was."""
    path = copy_of(sound, tmp_path)
    for table in ("entries", "events"):
        overwrite(path, leaf_of(path, table), b"\xff" * PAGE)
    reports: list[SalvageReport] = []
    async with open_store(path, on_salvage=reports.append) as store:
        (report,) = reports
        tables = {table.name: table for table in report.tables}
        lost = tables["entries"].lost
        assert lost
        assert tables["events"].lost
        sid, memory_id = lost[0]
        assert isinstance(memory_id, int)
        gone = await store.reader.memory(sid, memory_id)
        assert gone is not None
        assert gone.kind is EntryKind.TOMBSTONE
        assert gone.content.startswith(f"[lost:{memory_id}] ")
        image = await store.reader.session(f"key-{sid}")
        assert image is not None
        assert (image.session.seq, image.session.next_memory_id) == (TURNS, TURNS + 2)
        await store.writer.submit([event(TURNS + 1, sid), entry(TURNS + 2, "after the damage", sid)], ignore)
        await store.writer.settled()
        hits = await store.reader.search("words of a memory", Scope.session(sid), 5)
        assert hits
    names = set(report.text().splitlines())
    assert any(line.strip().startswith(f"session {sid}: memory") for line in names)
    assert report.file.read_text() == report.text()
    assert report.file.stat().st_mode & 0o777 == 0o600
    assert "key-" not in report.text()
    assert report.kept.name in report.summary


def leaf_of(path: Path, table: str) -> int:
    """A leaf page in the middle of a table: the page that holds its third child."""
    data = path.read_bytes()
    page = data[(root(path, table) - 1) * PAGE :][:PAGE]
    assert page[0] == 5, "an interior page of a table"
    cell = int.from_bytes(page[12 + 4 : 12 + 6], "big")
    return int.from_bytes(page[cell : cell + 4], "big")


@pytest.mark.parametrize("page", ["header", "schema", "both"])
async def test_lost_schema_is_grafted(sound: Path, tmp_path: Path, page: str) -> None:
    """Without its header or schema pages no row is lost: they are the same in every database."""
    path = copy_of(sound, tmp_path)
    if page != "schema":
        overwrite(path, 1, os.urandom(PAGE))
    if page != "header":
        overwrite(path, 15, os.urandom(PAGE))
    served = Served([])
    await served.open(path)
    assert len(served.reports) == 1
    assert "schema" in served.reports[0].notes[0]
    for name in ("entries", "versions", "events", "requests", "goals", "tasks"):
        assert rows(path, name) == rows(sound, name)
    assert rows(path, "sessions") > rows(sound, "sessions")


async def test_committed_log_is_salvaged_too(tmp_path: Path) -> None:
    """What stands only in the write-ahead log of a killed daemon is recovered with the rest."""
    path = database(tmp_path)
    await fill(path, sessions=1)
    with closing(open_writer(path)) as writing:
        writing.execute(
            "INSERT INTO removals (sid, kind, first, last, count, reason, at_ms) "
            "VALUES (1, 'memory', 7, 7, 1, 'in the log', 1)"
        )
        folder = tmp_path / "killed"
        folder.mkdir()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", f"{database(folder)}{suffix}")
    killed = database(folder)
    overwrite(killed, leaf_of(killed, "entries"), os.urandom(PAGE))
    served = Served([])
    await served.open(killed)
    (report,) = served.reports
    assert "in the log" in {row[6] for row in rows(killed, "removals")}
    assert f"{report.kept.name}-wal" in os.listdir(folder)


async def test_lost_session_row_is_rebuilt(sound: Path, tmp_path: Path) -> None:
    """A session's own row is made again from the indexes that name it, so its key still opens it."""
    path = copy_of(sound, tmp_path)
    overwrite(path, root(path, "sessions"), os.urandom(PAGE))
    reports: list[SalvageReport] = []
    async with open_store(path, on_salvage=reports.append) as store:
        for sid in range(1, SESSIONS + 1):
            image = await store.reader.session(f"key-{sid}")
            assert image is not None
            assert (image.session.principal, image.session.agent) == ("ana", "default")
            assert (image.session.seq, image.session.next_memory_id) == (TURNS, TURNS + 2)
            assert image.session.next_goal_id == 9
    assert reports[0].mended.rebuilt == list(range(1, SESSIONS + 1))
    assert not reports[0].mended.ownerless


async def test_sessions_that_nobody_owns_are_kept(sound: Path, tmp_path: Path) -> None:
    """Rows whose session can no longer be known stay, under a key that nobody has."""
    path = copy_of(sound, tmp_path)
    for name in ("sessions", "sqlite_autoindex_sessions_1", "sessions_by_owner"):
        overwrite(path, root(path, name), os.urandom(PAGE))
    served = Served([])
    await served.open(path)
    (report,) = served.reports
    assert report.mended.ownerless == list(range(1, SESSIONS + 1))
    assert rows(path, "entries") == rows(sound, "entries")


async def test_work_without_its_rows_ends(tmp_path: Path) -> None:
    """An open goal whose tasks are gone, and its request, end as failed instead of waiting for ever."""
    path = database(tmp_path)
    async with open_store(path) as store:
        await store.writer.submit(
            [
                session(next_goal_id=2, next_memory_id=2, seq=1), entry(1, "/goal report status"), event(1),
                request("r1", state=RequestState.OPEN, memory_id=1, goal_id=1),
                GoalRecord(1, 1, "r1", "report status", TaskState.RUNNING, 1, NOW_MS, NOW_MS + 1_000),
                TaskRecord(1, 1, 1, "report status", "status", TaskState.RUNNING, 1, NOW_MS),
            ],
            ignore,
        )  # fmt: skip
    overwrite(path, root(path, "tasks"), os.urandom(PAGE))
    reports: list[SalvageReport] = []
    async with open_store(path, on_salvage=reports.append) as store:
        assert await store.reader.unfinished() == []
        image = await store.reader.session("key-1")
        assert image is not None
        assert [each.state for each in image.requests] == [RequestState.FAILED]
        assert image.goals == ()
    assert reports[0].mended.failed_goals == [(1, 1)]


async def test_something_else_entirely_is_kept_aside(tmp_path: Path) -> None:
    """A file that never was a database is kept under its dated name, and an empty store serves."""
    text = b"something else entirely, long enough to be looked at" * 400
    database(tmp_path).write_bytes(text)
    served = Served([])
    await served.open(database(tmp_path))
    (report,) = served.reports
    assert report.kept.read_bytes() == text
    assert not report.complete
    assert "the schema could not be read" in report.text()


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS.keys())
@pytest.mark.parametrize("noticed_by", ["writer", "reader"])
async def test_damage_while_serving_is_salvaged_without_a_restart(
    sound: Path, tmp_path: Path, noticed_by: str, runner: Any
) -> None:
    """The running store is degraded at once, salvages, writes what waited, and is sound again."""
    path = copy_of(sound, tmp_path)
    reports: list[SalvageReport] = []
    states = States()
    async with open_store(path, runner(), on_salvage=reports.append, on_state=states.note) as store:
        assert reports == []
        for table in ("entries", "sqlite_autoindex_entries_1"):
            overwrite(path, root(path, table), os.urandom(PAGE))
        durable: list[bool] = []
        if noticed_by == "reader":
            with pytest.raises(StorageUnavailable, match="cannot be read"):
                await store.reader.memory(1, 1)
        else:
            make_it_read_again(path)
        await store.writer.submit(
            [entry(TURNS + 2, "while it was damaged"), event(TURNS + 1)], durable.append
        )
        await store.writer.settled()
        with trio.fail_after(30):
            await states.sound.wait()
        assert states == [True, False]
        assert durable == [False]
        assert len(reports) == 1
        stored = await store.reader.memory(1, TURNS + 2)
        assert stored is not None
        assert stored.content == "while it was damaged"
        assert [seq for seq, _ in await store.reader.events(1, TURNS, 10)] == [TURNS + 1]
        await store.writer.submit([event(TURNS + 2)], durable.append)
        await store.writer.settled()
        assert durable == [False, True]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_damage_that_comes_back_is_not_salvaged_again(sound: Path, tmp_path: Path) -> None:
    """A disk that damages the new file too leaves the store degraded, and no pile of copies."""
    path = copy_of(sound, tmp_path)
    salvaged, degraded_again = trio.Event(), trio.Event()

    def note(bad: bool, reason: str) -> None:
        if bad and salvaged.is_set():
            degraded_again.set()

    async with open_store(path, on_salvage=lambda report: salvaged.set(), on_state=note) as store:
        for happens in (salvaged, degraded_again):
            overwrite(path, root(path, "entries"), os.urandom(PAGE))
            make_it_read_again(path)
            with pytest.raises(StorageUnavailable):
                await store.reader.memory(1, 1)
            with trio.fail_after(30):
                await happens.wait()
        deadline = trio.current_time() + 30
        while "salvaged less than" not in (store.writer.degraded or ""):
            assert trio.current_time() < deadline
            await store.writer.ping()
    assert len([name for name in os.listdir(tmp_path) if name.endswith(".txt")]) == 1


@pytest.mark.parametrize("step", ["_sync", "_keep_damaged", "finish"])
async def test_salvage_cut_off_is_done_again(
    sound: Path, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A salvage that ends at any step leaves the damaged file or the new one, never neither."""
    path = copy_of(sound, tmp_path)
    overwrite(path, leaf_of(path, "entries"), os.urandom(PAGE))
    if step == "finish":
        salvage(path, "a test", NOW_MS)
        assert path.with_name(f"{path.name}.salvaged").exists()
        finish(path)
    else:

        def fail(*arguments: Any) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(salvaging, step, fail)
            with pytest.raises(OSError, match="No space"):
                salvage(path, "a test", NOW_MS)
        assert not path.with_name(f"{path.name}.salvaging").exists()
    served = Served([])
    await served.open(path)
    assert len(served.reports) == (0 if step == "finish" else 1)
    assert rows(path, "goals") == rows(sound, "goals")


async def test_older_schema_is_salvaged_and_brought_up(tmp_path: Path) -> None:
    """A damaged file of an earlier version is copied as it is and then migrated."""
    path = database(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, upto=1)
        connection.execute(
            "INSERT INTO sessions VALUES "
            "(1, 'key-1', 'ana', 'default', 1, 1, 400, 1, 0, 'running', '', 0, '{}')"
        )
        connection.execute("BEGIN")
        for number in range(1, 400):
            connection.execute(
                "INSERT INTO entries VALUES (?, 1, ?, 'entry', 'user', ?, 1, 0, 1, NULL, NULL, '[]')",
                (number, number, "x" * 100),
            )
        connection.execute("COMMIT")
    overwrite(path, leaf_of(path, "entries"), os.urandom(PAGE))
    served = Served([])
    await served.open(path)
    with closing(sqlite3.connect(path)) as connection:
        assert version(connection) == 4
        kinds = dict(connection.execute("SELECT kind, count(*) FROM entries GROUP BY kind").fetchall())
    assert kinds["entry"] > 300
    assert kinds["entry"] + kinds["tombstone"] == 399


def test_the_look_at_opening_is_bounded(sound: Path, tmp_path: Path) -> None:
    """With no time at all nothing is noticed; with the usual time a broken page is."""
    path = copy_of(sound, tmp_path)
    overwrite(path, leaf_of(path, "entries"), os.urandom(PAGE))
    open_checked(lambda: open_writer(path), path, seconds=-1.0).close()
    with pytest.raises(DamagedError):
        open_checked(lambda: open_writer(path), path, CHECK_SECONDS)
