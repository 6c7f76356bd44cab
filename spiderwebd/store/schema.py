"""The database file: how a connection is opened, and the numbered steps that bring the schema up.

`PRAGMA user_version` holds the number of the last step. Each step is one file of `sql/` and one
transaction, so a crash or a full disk leaves the version before it, whole.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Literal

from spiderwebd.core.codes import SpiderwebError

BUSY_SECONDS = 5.0
"""How long a statement waits for another process (backup, import) that holds the write lock."""

CACHED_STATEMENTS = 256
"""More than all statements of this room together, so that none is ever compiled twice."""

WRITER_CACHE_KIB = 16_384
READER_CACHE_KIB = 8_192
"""Page caches, full after minutes of load: until then resident memory grows. A search over a cold default
cache of 2 MiB is several times slower; with 8 MiB for the writer memory.create of 1,000 sessions cost 1.2
times as much CPU, with 32 and 64 MiB as much as with 16."""

CHECKPOINT_PAGES = 4_000
"""WAL size at which a commit also checkpoints (16 MiB): pages written by many turns are then copied
into the database once."""

Synchronous = Literal["FULL", "NORMAL", "OFF"]
OnMigrated = Callable[[int, int], None]
"""Told the schema versions before and after; not of a new database."""


class SchemaTooNewError(SpiderwebError):
    """The database was written by a newer spiderwebd."""


class StoreInUseError(SpiderwebError):
    """Another process has the store open for writing."""


def steps() -> list[tuple[int, str, str]]:
    """Return (number, file name, SQL) of every schema step, in order.

    Raises ValueError when the numbers have a gap: a step was deleted or misnamed.
    """
    found = sorted(
        (int(item.name.split("_")[0]), item.name, item.read_text(encoding="utf-8"))
        for item in files("spiderwebd.store").joinpath("sql").iterdir()
        if item.name.endswith(".sql")
    )
    if [number for number, _, _ in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"schema steps are not numbered 1..{len(found)}: {[name for _, name, _ in found]}")
    return found


def open_writer(
    path: Path, synchronous: Synchronous = "FULL", on_migrated: OnMigrated = lambda before, after: None
) -> sqlite3.Connection:
    """Open (or create, mode 0600) the database for writing and bring its schema up to date.

    Raises SchemaTooNewError for a database of a newer version, and sqlite3.Error when the file is not a
    database or the disk fails.
    """
    if not path.exists():
        # The file holds session keys: nobody else may read it, not even before the first chmod.
        path.touch(mode=0o600)
    connection = sqlite3.connect(
        path,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        # Erased text is overwritten in the page that held it, at no extra page write.
        connection.execute("PRAGMA secure_delete = FAST")
        connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        before = version(connection)
        after = migrate(connection)
    except BaseException:
        connection.close()
        raise
    if 0 < before < after:
        on_migrated(before, after)
    return connection


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Be the only process that writes the database at `path`; the claim ends with the block or process.

    Session ids are given out in memory, so a second writer would give out the same ones. The claim is
    an flock on a file beside the database: SQLite's own locks would be lost if the database file were
    opened and closed here. Raises StoreInUseError when another process has it.
    """
    descriptor = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreInUseError(
                f"{path} is in use by another spiderwebd; stop that one first, or use another state directory"
            ) from error
        yield
    finally:
        os.close(descriptor)


def open_reader(path: Path) -> sqlite3.Connection:
    """Open an existing database for reading only; raises sqlite3.OperationalError when it is absent."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
    return connection


def version(connection: sqlite3.Connection) -> int:
    """Return the number of the last schema step that the database has seen."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, upto: int | None = None) -> int:
    """Run the steps that are missing, each in a transaction of its own; return the version reached.

    `upto` stops early, for tests of a single step. Raises SchemaTooNewError, and whatever a failing step
    raises, with that step rolled back.
    """
    known = steps()
    present = version(connection)
    if present > len(known):
        raise SchemaTooNewError(
            f"the database has schema version {present}, this spiderwebd knows up to {len(known)}; "
            "start the newer spiderwebd, or restore a backup made before the upgrade"
        )
    for number, _, script in known[present:upto]:
        with transaction(connection):
            # Another process may have taken the step while this one waited for the lock.
            if version(connection) >= number:
                continue
            for statement in statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
    return version(connection)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block in one BEGIN IMMEDIATE transaction: committed at its end, else rolled back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite itself rolls back on some errors (a full disk); a second ROLLBACK would fail.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def statements(script: str) -> list[str]:
    """Split a script into statements; `executescript` would commit each on its own."""
    found: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    return found
