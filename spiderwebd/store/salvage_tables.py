"""What of a damaged database is copied, table by table, and which rows make sense."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from spiderwebd.core.records import EntryRecord, RequestRecord, VersionRecord
from spiderwebd.store import tables
from spiderwebd.store.scan import Gap

Row = tuple[Any, ...]

ROWS_AT_ONCE = 1_000
ROWS_A_PAGE = 200
"""More rows than a page of 4 KiB holds of any table here: bounds what a damaged page may have held."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One table that is copied."""

    name: str
    columns: str
    key: tuple[str, ...]
    clustered: bool
    """Whether rows stand in the tree of the primary key (WITHOUT ROWID)."""
    check: Callable[[Row], object]
    """Raises when a row is none that this daemon could have written."""
    index: str = ""
    """An index that names rows without touching them, and so tells which were lost."""
    identity: tuple[str, ...] = ()
    """The columns of that index."""
    distinct: bool = True
    """Whether a row tells by itself that it is one of this table, so that a stray page can be given to it."""


def _session(row: Row) -> None:
    if not isinstance(json.loads(row[-1]), dict) or not isinstance(row[1], str):
        raise ValueError("extra is no object")


def _entry(row: Row) -> EntryRecord:
    return tables.entry_of(row[1:])


def _version(row: Row) -> VersionRecord:
    return VersionRecord(*row)


def _event(row: Row) -> None:
    if json.loads(row[5])["seq"] != row[2]:
        raise ValueError("the frame is another event's")


def _request(row: Row) -> RequestRecord:
    return tables.request_of(row[1:])


def _any(row: Row) -> None:
    """Nothing but the types is known of it; the new table checks these."""


KEPT = (
    Kept(
        "sessions", tables.SESSION_COLUMNS, ("sid",), False, _session,
        "sqlite_autoindex_sessions_1", ("sid", "key"),
    ),
    Kept(
        "entries", f"entry, {tables.STORED_ENTRY_COLUMNS}", ("entry",), False, _entry,
        "sqlite_autoindex_entries_1", ("sid", "memory_id"),
    ),
    Kept("versions", tables.VERSION_COLUMNS, ("sid", "memory_id", "version"), True, _version),
    Kept(
        "events", "event, sid, seq, type, request, frame, created_ms", ("event",), False, _event,
        "sqlite_autoindex_events_1", ("sid", "seq"),
    ),
    Kept(
        "requests", f"place, {tables.REQUEST_COLUMNS}", ("place",), False, _request,
        "sqlite_autoindex_requests_1", ("sid", "request"),
    ),
    Kept("goals", tables.GOAL_COLUMNS, ("sid", "goal_id"), True, tables.goal_of),
    Kept("tasks", tables.TASK_COLUMNS, ("sid", "goal_id", "task_id"), True, tables.task_of),
    Kept(
        "archives", "archive, sid, at_ms, reason, next_memory_id, entry_count, summary_count, cleared",
        ("archive",), False, _any,
    ),
    Kept("removals", "removal, sid, kind, first, last, count, reason, at_ms", ("removal",), False, _any),
    Kept("imports", "session, moment, digest, sid, at_ms", ("session", "moment", "digest"), True, _any),
    # Two integers may stand in any index; a session whose page of it is lost wakes with less in RAM.
    Kept("ram", "sid, memory_id", ("sid", "memory_id"), True, _any, distinct=False),
)  # fmt: skip

LEFT_BEHIND = frozenset({"health", "indexed", "reindex", "index_state", "entries_fts", "entries_vocabulary"})
"""Tables that are made anew: the search index and what belongs to it, and the count of recoveries."""


@dataclass(slots=True)
class Copied:
    """What became of one table."""

    name: str
    key: tuple[str, ...]
    rows: int = 0
    placed: bool = True
    """Whether it was known where its tree begins; else only stray pages of it could be found."""
    refused: list[tuple[object, ...]] = field(default_factory=list)
    """Keys of rows that could be read and make no sense."""
    gaps: list[Gap] = field(default_factory=list)
    lost: list[tuple[int, object]] = field(default_factory=list)
    """(sid, id) of rows that an index names and that are gone."""

    @property
    def whole(self) -> bool:
        """Whether nothing is known to be missing."""
        return self.placed and not (self.refused or self.gaps or self.lost)


@dataclass(slots=True)
class Receiver:
    """Writes rows of one table to the new database, each once, and remembers those it cannot take."""

    target: sqlite3.Connection
    kept: Kept
    refused: dict[tuple[object, ...], None] = field(default_factory=dict)
    _columns: list[str] = field(init=False)
    _insert: str = field(init=False)
    _waiting: list[Row] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Make the statement."""
        self._columns = [name.strip() for name in self.kept.columns.split(",")]
        # A row seen twice is kept once; a value of the wrong type still raises.
        self._insert = (
            f"INSERT INTO {self.kept.name} ({self.kept.columns}) "  # noqa: S608 - constant names
            f"VALUES ({', '.join('?' * len(self._columns))}) ON CONFLICT DO NOTHING"
        )

    def row(self, row: Row) -> None:
        """Take one row, in the order of the columns."""
        if not self.fits(row):
            self.refused[self._key(row)] = None
            return
        self._waiting.append(row)
        if len(self._waiting) >= ROWS_AT_ONCE:
            self.flush()

    def found(self, rowid: int | None, values: list[Any]) -> None:
        """Take one row as it stands in a tree: an integer primary key is the rowid, and NULL in the row."""
        if not self.kept.clustered and values and values[0] is None:
            values[0] = rowid
        self.row(tuple(values))

    def fits(self, row: Row) -> bool:
        """Whether the row could be one of this table."""
        if len(row) != len(self._columns):
            return False
        try:
            self.kept.check(row)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return False
        return True

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        self.target.execute("SAVEPOINT rows")
        try:
            self.target.executemany(self._insert, waiting)
        except (sqlite3.IntegrityError, sqlite3.InterfaceError, OverflowError, UnicodeEncodeError):
            # A value of the wrong type is among them; one by one finds it.
            self.target.execute("ROLLBACK TO rows")
            for row in waiting:
                self._write_alone(row)
        self.target.execute("RELEASE rows")

    def _write_alone(self, row: Row) -> None:
        try:
            self.target.execute(self._insert, row)
        except (sqlite3.IntegrityError, sqlite3.InterfaceError, OverflowError, UnicodeEncodeError):
            self.refused[self._key(row)] = None

    def _key(self, row: Row) -> tuple[object, ...]:
        places = [self._columns.index(name) for name in self.kept.key]
        return tuple(row[place] for place in places) if len(row) == len(self._columns) else ("?",)


@dataclass(frozen=True, slots=True)
class Named:
    """What the index of a table says is in it."""

    rows: frozenset[Row] = frozenset()
    """(sid, id, place): the identity of a row, and the integer key it stands under."""
    whole: bool = True
    """Whether the index could be read to its end."""
