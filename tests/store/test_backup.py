"""Backups are whole, checked, and never overwrite anything."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trio

from spiderwebd.store.backup import BackupError, backup
from spiderwebd.store.store import open_store
from tests.store.samples import database, ignore, turn


async def test_backup_while_writing_can_be_restored(tmp_path: Path) -> None:
    """A copy made under traffic is one moment: a session's seq and its events agree; and it opens."""
    target = tmp_path / "copy.db"
    async with open_store(database(tmp_path)) as store:
        for number in range(1, 2_000):
            await store.writer.submit(turn(number, content="x" * 400), ignore)
        await store.writer.settled()
        done = trio.Event()

        async def copy() -> None:
            assert await trio.to_thread.run_sync(backup, database(tmp_path), target) > 100
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(copy)
            number = 2_000
            while not done.is_set():
                await store.writer.submit(turn(number), ignore)
                await store.writer.settled()
                number += 1
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith("copy")) == ["copy.db"]
    connection = sqlite3.connect(target)
    seq = connection.execute("SELECT seq FROM sessions").fetchone()[0]
    assert 1_999 <= seq < number
    assert connection.execute("SELECT count(*), max(seq) FROM events").fetchone() == (seq, seq)
    connection.close()
    async with open_store(target) as restored:
        image = await restored.reader.session("key-1")
        assert image is not None
        assert image.session.seq == seq
        await restored.writer.submit(turn(seq + 1), ignore)


def test_existing_target_is_left_alone(tmp_path: Path) -> None:
    """A file at the target is never touched."""
    source, target = tmp_path / "a.db", tmp_path / "b.db"
    sqlite3.connect(source).close()
    target.write_text("mine")
    with pytest.raises(BackupError, match="not overwritten"):
        backup(source, target)
    assert target.read_text() == "mine"


def test_missing_source_is_named(tmp_path: Path) -> None:
    """The error says which file is missing."""
    with pytest.raises(BackupError, match=r"none\.db does not exist"):
        backup(tmp_path / "none.db", tmp_path / "copy.db")


def test_damaged_source_gives_no_copy(tmp_path: Path) -> None:
    """A damaged database is reported and leaves no file that looks like a backup."""
    source = tmp_path / "a.db"
    connection = sqlite3.connect(source)
    connection.execute("CREATE TABLE t (a)")
    connection.executemany("INSERT INTO t VALUES (?)", [("x" * 500,) for _ in range(200)])
    connection.commit()
    connection.close()
    raw = bytearray(source.read_bytes())
    raw[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    source.write_bytes(raw)
    with pytest.raises(BackupError, match=r"damaged|failed"):
        backup(source, tmp_path / "copy.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db"]


def test_backup_has_a_deadline(tmp_path: Path) -> None:
    """A copy that takes too long is given up and leaves nothing."""
    source = tmp_path / "a.db"
    connection = sqlite3.connect(source)
    connection.execute("CREATE TABLE t (a)")
    connection.executemany("INSERT INTO t VALUES (?)", [("x" * 4_000,) for _ in range(2_000)])
    connection.commit()
    connection.close()
    with pytest.raises(BackupError, match="too long"):
        backup(source, tmp_path / "copy.db", seconds=-1.0)
    assert not (tmp_path / "copy.db").exists()


HELD = """
import sys
import time
from pathlib import Path
from spiderwebd.store import backup

def hold(*_):
    print("held", flush=True)
    sys.stdin.read()
    return 0.0

moment, source, target = sys.argv[1:]
if moment == "copying":
    backup.STEP_PAGES = 100
    began = time.monotonic()
    backup.time.monotonic = lambda times=iter((began, began)): next(times, None) or hold()
else:
    backup._sync = hold
backup.backup(Path(source), Path(target))
"""
"""A backup that waits amid its copying, or before the whole copy gets its name, until stdin ends."""


@contextmanager
def _held_backup(moment: str, source: Path, target: Path) -> Iterator[subprocess.Popen[str]]:
    """A backup in a process of its own that has come to the moment; it is killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", HELD, moment, str(source), str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def _filled(path: Path, rows: int = 2_000) -> Path:
    """A database in WAL mode as the daemon's, of about a page a row."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (a)")
    connection.executemany("INSERT INTO t VALUES (?)", [("x" * 4_000,) for _ in range(rows)])
    connection.commit()
    connection.close()
    return path


def _rows(path: Path) -> int:
    """Count the rows of such a database."""
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute("SELECT count(*) FROM t").fetchone()[0]
    return count


@pytest.mark.parametrize("moment", ["copying", "whole"])
def test_what_a_killed_backup_left_is_replaced(tmp_path: Path, moment: str) -> None:
    """After SIGKILL amid a backup the next one to the same name succeeds and takes the remains away."""
    folder = tmp_path / "backups"
    folder.mkdir()
    source, target = _filled(tmp_path / "a.db"), folder / "copy.db"
    with _held_backup(moment, source, target) as process:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert (folder / "copy.db.partial").exists()
    # What SQLite may leave beside a copy: none of it may get into the next one.
    for suffix in ("-journal", "-wal", "-shm"):
        (folder / f"copy.db.partial{suffix}").write_bytes(b"of the dead")
    assert backup(source, target) > 2_000
    assert os.listdir(folder) == ["copy.db"]
    assert _rows(target) == 2_000


def test_remains_that_share_their_file_with_a_good_backup_do_not_harm_it(tmp_path: Path) -> None:
    """Killed while the copy had two names, and the good one moved away: the next backup leaves it be."""
    source = _filled(tmp_path / "a.db", rows=10)
    backup(source, tmp_path / "kept.db")
    before = (tmp_path / "kept.db").read_bytes()
    os.link(tmp_path / "kept.db", tmp_path / "copy.db.partial")
    _filled(tmp_path / "b.db", rows=20)
    backup(tmp_path / "b.db", tmp_path / "copy.db")
    assert (tmp_path / "kept.db").read_bytes() == before


@pytest.mark.parametrize("moment", ["copying", "whole"])
def test_second_backup_to_a_name_is_refused_while_the_first_runs(tmp_path: Path, moment: str) -> None:
    """Two live backups never write into one file; the second says why, and the first comes to its end."""
    folder = tmp_path / "backups"
    folder.mkdir()
    source, target = _filled(tmp_path / "a.db"), folder / "copy.db"
    with _held_backup(moment, source, target) as process:
        with pytest.raises(BackupError, match=r"another backup to .*copy\.db is running"):
            backup(source, target)
        assert backup(source, folder / "other.db") > 2_000
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert sorted(os.listdir(folder)) == ["copy.db", "other.db"]
    assert _rows(target) == 2_000
