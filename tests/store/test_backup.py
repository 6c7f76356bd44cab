"""Backups are whole, checked, and never overwrite anything."""

from __future__ import annotations

import os
import sqlite3
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
