"""The damaged database as salvage reads it: through SQLite where that works, else page by page.

When the schema itself cannot be read, the roots of the tables are known all the same: the first schema
step runs on an empty file, and without auto-vacuum a root never moves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spiderwebd.store.pages import PAGE_BYTES, BadPageError, Pages
from spiderwebd.store.salvage_tables import Kept, Named, Receiver, Row
from spiderwebd.store.scan import Gap, Walk, orphans
from spiderwebd.store.schema import migrate, steps, version

OWNERS = "sessions_by_owner"


class _OutOfOrderError(Exception):
    """A key did not follow the one before it: a page stands where another belongs."""


class Source:
    """Reads one damaged database; never writes to it."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises OSError."""
        self.pages = Pages(path)
        self.notes = list(self.pages.notes)
        """What could not be read besides rows of a table, in words."""
        self.version = len(steps())
        """The schema version of the rows; the present one where the file does not say."""
        self._connection = self._open(path)
        self._reached: set[int] = set()
        self._headless = False
        self._roots = self._find_roots()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.pages.__exit__(kind, error, trace)
        if self._connection is not None:
            self._connection.close()

    def knows(self, table: str) -> bool:
        """Whether the place is known at which the rows of a table begin."""
        return table in self._roots

    def rows(self, receiver: Receiver) -> list[Gap]:
        """Give the receiver every readable row of its table; return where rows could not be read."""
        kept = receiver.kept
        if kept.name not in self._roots:
            return []
        if self._connection is not None and not self._headless:
            columns, key = kept.columns, ", ".join(kept.key)
            with suppress(sqlite3.DatabaseError, MemoryError, TypeError, _OutOfOrderError):
                statement = f"SELECT {columns} FROM {kept.name} ORDER BY {key}"  # noqa: S608 - constant names
                for row in _in_order(self._connection.execute(statement), kept):
                    receiver.row(row)
                return []
        walk = Walk(self.pages, self._reached)
        if kept.clustered:
            walk.index(self._roots[kept.name], receiver.found)
        else:
            walk.table(self._roots[kept.name], receiver.found)
        self._headless = self._headless or any(not gap.cells for gap in walk.gaps)
        return walk.gaps

    def strays(self, receivers: Mapping[str, Receiver]) -> None:
        """Give the receivers the rows of pages whose parent is damaged; call it after `rows`."""
        if not self._headless:
            return
        for name, root in self._roots.items():
            # Whatever a sound tree reaches is no stray, even where SQLite read it.
            walk = Walk(self.pages, self._reached)
            kept = receivers[name].kept if name in receivers else None
            as_table = name in self._tables if kept is None else not kept.clustered
            (walk.table if as_table else walk.index)(root, _nothing)

        def found(table: bool, rowid: int | None, values: list[Any]) -> None:
            for receiver in receivers.values():
                if receiver.kept.clustered is table or not receiver.kept.distinct:
                    continue
                row = (rowid, *values[1:]) if table and values and values[0] is None else tuple(values)
                if receiver.fits(row):
                    receiver.row(row)
                    return

        try:
            orphans(self.pages, self._reached, found)
        except BadPageError as error:
            self.notes.append(f"pages that lost their place were left alone, because {error}")

    def named(self, kept: Kept) -> Named:
        """What the index of a table says is in it."""
        if not kept.index or kept.index not in self._roots:
            return Named(whole=not kept.index)
        found: set[Row] = set()

        def take(rowid: int | None, values: list[Any]) -> None:
            if kept.name == "sessions" and len(values) == 2 and type(values[1]) is int:
                found.add((values[1], values[0], values[1]))
            elif len(values) == 3 and type(values[0]) is int and type(values[2]) is int:
                found.add((values[0], values[1], values[2]))

        walk = Walk(self.pages, set())
        walk.index(self._roots[kept.index], take)
        return Named(frozenset(found), whole=not walk.gaps)

    def owners(self) -> dict[int, tuple[str, str]]:
        """Principal and agent of each session that their index names."""
        found: dict[int, tuple[str, str]] = {}

        def take(rowid: int | None, values: list[Any]) -> None:
            if len(values) == 3 and isinstance(values[0], str) and isinstance(values[1], str):
                found[values[2]] = (values[0], values[1])

        if OWNERS in self._roots:
            Walk(self.pages, set()).index(self._roots[OWNERS], take)
        return found

    def _open(self, path: Path) -> sqlite3.Connection | None:
        """A connection through which the schema can be read and is this program's; else None."""
        connection: sqlite3.Connection | None = None
        with suppress(sqlite3.DatabaseError):
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA cell_size_check = ON")
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
            if {"sessions", "entries", "events"} <= names:
                said = version(connection)
                self.version = said if 1 <= said <= self.version else self.version
                return connection
        if connection is not None:
            connection.close()
        if self.pages.count:
            self.notes.append("the schema could not be read; tables were found where a new database has them")
        return None

    def _find_roots(self) -> dict[str, int]:
        if self._connection is not None:
            return self._roots_of(self._connection)
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
            fresh.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            migrate(fresh)
            kept = self._roots_of(fresh)
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
            fresh.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            migrate(fresh, upto=1)
            first = self._roots_of(fresh)
        # Pages of the schema, of later steps and of the search index have no known place then, and the
        # root of what a later step dropped may be a page of anything.
        self._headless = True
        return {name: page for name, page in first.items() if kept.get(name) == page}

    def _roots_of(self, connection: sqlite3.Connection) -> dict[str, int]:
        rows = connection.execute(
            "SELECT name, rootpage, type = 'table' AND sql NOT LIKE '%WITHOUT ROWID%' "
            "FROM sqlite_schema WHERE rootpage > 0"
        ).fetchall()
        self._tables = {name for name, _, table in rows if table}
        return {name: page for name, page, _ in rows}


def _in_order(rows: sqlite3.Cursor, kept: Kept) -> Iterator[Row]:
    columns = [name.strip() for name in kept.columns.split(",")]
    places = [columns.index(name) for name in kept.key]
    previous: Row | None = None
    for row in rows:
        here = tuple(row[place] for place in places)
        if previous is not None and not previous < here:
            raise _OutOfOrderError
        previous = here
        yield row


def _nothing(rowid: int | None, values: list[Any]) -> None:
    """Only the pages matter."""
