"""The pool of reading connections."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from spiderwebd.core.codes import StorageUnavailable
from spiderwebd.store.reading import ReadPool, ReadTimeoutError
from spiderwebd.store.schema import open_reader, open_writer
from spiderwebd.store.tables import write
from tests.store.samples import database, event, session

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"


@pytest.fixture
def pool(tmp_path: Path) -> ReadPool:
    """A pool over an empty store, with a short deadline."""
    open_writer(database(tmp_path)).close()
    return ReadPool(lambda: open_reader(database(tmp_path)), seconds=0.05)


def test_read_is_one_snapshot(tmp_path: Path, pool: ReadPool) -> None:
    """A commit in the middle of a read is not seen by it."""
    writer = open_writer(database(tmp_path))
    write(writer, [[session()]])

    def read(connection: sqlite3.Connection) -> list[int]:
        counts = [connection.execute("SELECT count(*) FROM events").fetchone()[0]]
        write(writer, [[event(1)]])
        return [*counts, connection.execute("SELECT count(*) FROM events").fetchone()[0]]

    assert pool.run(read) == [0, 0]
    assert pool.run(lambda c: c.execute("SELECT count(*) FROM events").fetchone()[0]) == 1
    pool.close()
    writer.close()


def test_endless_read_is_stopped(pool: ReadPool) -> None:
    """A read past its deadline ends with an error that says what to do, and the pool still works."""
    with pytest.raises(ReadTimeoutError, match="ask for less"):
        pool.run(lambda connection: connection.execute(ENDLESS).fetchone())
    assert pool.run(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
    pool.close()


def test_callers_error_passes_through(pool: ReadPool) -> None:
    """An exception of the function itself is raised as it is, and ends its transaction."""
    with pytest.raises(KeyError):
        pool.run(lambda connection: {}["missing"])
    assert pool.run(lambda connection: connection.in_transaction) is True
    pool.close()


def test_unreadable_file_is_storage_unavailable(tmp_path: Path) -> None:
    """A missing or damaged file gives the stable error, not sqlite3's."""
    missing = ReadPool(lambda: open_reader(tmp_path / "none.db"))
    with pytest.raises(StorageUnavailable, match="opened for reading"):
        missing.run(lambda connection: None)
    (tmp_path / "bad.db").write_bytes(b"not a database at all" * 100)
    damaged = ReadPool(lambda: open_reader(tmp_path / "bad.db"))
    with pytest.raises(StorageUnavailable):
        damaged.run(lambda connection: connection.execute("SELECT * FROM sessions").fetchall())
