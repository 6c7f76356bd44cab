"""Recognising a damaged database: at opening by a look over its pages, later by what SQLite says.

A disk that fails is not damage: the file may be whole, and is tried again. Damage is a file whose
pages do not make sense; it is never written again, but salvaged.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from spiderwebd.core.codes import Code, SpiderwebError
from spiderwebd.store.schema import SchemaTooNewError, migrate, steps, version

CHECK_SECONDS = 0.2
"""Longest that opening looks for damage: about 50 MB of warm pages. What lies beyond is found when it
is read."""

CHECK_INSTRUCTIONS = 2_000
"""SQLite virtual machine instructions between two looks at the deadline."""

DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""Primary result codes that say the file itself makes no sense (sqlite.org/rescode.html)."""

MAGIC = b"SQLite format 3\0"
WRITE_VERSION, READ_VERSION = 18, 19
"""Bytes of the header that are 1 or 2 in a file SQLite can read and write (sqlite.org/fileformat2.html)."""


class DamagedError(SpiderwebError):
    """The database file is damaged; the message says what was noticed."""

    code = Code.STORAGE_UNAVAILABLE


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the file is damaged, and not only that the disk fails."""
    if isinstance(error, DamagedError):
        return True
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE_CODES


def open_checked(
    connect: Callable[[], sqlite3.Connection], path: Path, seconds: float = CHECK_SECONDS
) -> sqlite3.Connection:
    """Open by `connect` and look over the file for at most `seconds`; raise DamagedError if it is damaged.

    What else `connect` raises (a failing disk, a newer schema) is raised as it is.
    """
    try:
        connection = connect()
    except (sqlite3.Error, SchemaTooNewError) as error:
        if is_damage(error) or not _plausible(path):
            raise DamagedError(f"{path.name} cannot be opened: {error}") from error
        raise
    try:
        problem = look_over(connection, seconds)
    except sqlite3.Error as error:
        connection.close()
        if is_damage(error):
            raise DamagedError(f"{path.name}: {error}") from error
        raise
    if problem:
        connection.close()
        raise DamagedError(f"{path.name}: {problem}")
    return connection


def look_over(connection: sqlite3.Connection, seconds: float) -> str:
    """Return the first problem that `PRAGMA quick_check` finds within `seconds`; empty: none so far.

    With no seconds at all nothing is looked at.

    Raises sqlite3.Error when the check itself cannot go on.
    """
    deadline = time.monotonic() + seconds
    if seconds <= 0:
        return ""
    connection.set_progress_handler(lambda: time.monotonic() > deadline, CHECK_INSTRUCTIONS)
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return ""
        raise
    finally:
        connection.set_progress_handler(None, 0)
    return "" if found is None or found[0] == "ok" else " ".join(str(found[0]).split())


def _plausible(path: Path) -> bool:
    """Whether a file that cannot be opened still says of itself what a sound one would say."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError:
        return True  # the disk is to blame
    if not header:
        return True
    if (
        not header.startswith(MAGIC)
        or header[WRITE_VERSION] not in (1, 2)
        or header[READ_VERSION] not in (1, 2)
    ):
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            said, present = version(connection), _schema_of(connection)
    except sqlite3.Error as error:
        return not is_damage(error)
    if 0 <= said <= len(steps()):
        return present == expected_schema(said)
    # A version of the future in a file that has this program's very tables is a damaged number: every step
    # changes the schema (test_schema.py sees to it).
    return present != expected_schema(len(steps()))


def expected_schema(number: int) -> set[tuple[str, str, str | None]]:
    """What the schema steps up to `number` make: type, name and SQL of everything."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, upto=number)
        return _schema_of(connection)


def _schema_of(connection: sqlite3.Connection) -> set[tuple[str, str, str | None]]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'")
    return set(rows.fetchall())
