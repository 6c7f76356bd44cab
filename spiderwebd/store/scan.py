"""Walking the trees of a damaged database: every row on a page that can be read, and what is missing.

A damaged leaf costs its own rows. When a page above it is damaged, its children are found again among
the pages that no tree reaches and that are not free.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from spiderwebd.store.pages import (
    INDEX_INTERIOR,
    INDEX_LEAF,
    TABLE_INTERIOR,
    TABLE_LEAF,
    BadPageError,
    Pages,
    cells,
    header_at,
    leaf_rows,
    varint,
)

LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1

Found = Callable[[int | None, list[Any]], None]
"""Called with the rowid (None in an index) and the values of a row."""


@dataclass(frozen=True, slots=True)
class Gap:
    """One place of a tree where rows could not be read."""

    page: int
    low: int | None = None
    """The lowest and highest rowid that may have stood there; None where nothing says."""
    high: int | None = None
    cells: int = 0
    """Damaged rows on a page that could otherwise be read; 0: the whole page is damaged."""

    @property
    def text(self) -> str:
        """Say it in words."""
        if self.cells:
            return f"page {self.page}: {self.cells} rows are damaged"
        if self.low is None or self.high is None:
            return f"page {self.page} is damaged"
        if self.low == self.high:
            return f"page {self.page} is damaged: row {self.low}"
        return f"page {self.page} is damaged: rows {self.low} to {self.high}"


@dataclass(slots=True)
class Walk:
    """One walk over one tree; `reached` collects its pages over all walks of a file."""

    pages: Pages
    reached: set[int]
    gaps: list[Gap] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)

    def table(self, root: int, found: Found) -> None:
        """Visit the rows of a table with rowids."""
        self._visit(root, found, table=True)

    def index(self, root: int, found: Found) -> None:
        """Visit the rows of an index, or of a table without rowids."""
        self._visit(root, found, table=False)

    def _visit(self, root: int, found: Found, *, table: bool) -> None:
        kinds = (TABLE_INTERIOR, TABLE_LEAF) if table else (INDEX_INTERIOR, INDEX_LEAF)
        # A page, and the rowids that may stand on it: above the first, up to the second.
        waiting = [(root, LOWEST, HIGHEST)]
        while waiting:
            number, low, high = waiting.pop()
            try:
                if number in self._seen:
                    raise BadPageError(f"page {number} is named twice")
                page = self.pages.read(number)
                places, right = cells(page, number, kinds)
            except BadPageError:
                self._lose(number, low, high)
                continue
            self._seen.add(number)
            self.reached.add(number)
            interior = page[header_at(number)] == kinds[0]
            if interior:
                waiting.extend(self._children(page, places, right, low, high, table=table))
            if not interior or not table:
                self._rows(number, page, places, low, high, found, table=table, child=interior)

    def _children(
        self, page: bytes, places: list[int], right: int, low: int, high: int, *, table: bool
    ) -> Iterator[tuple[int, int, int]]:
        before = low
        for place in places:
            child = int(struct.unpack_from(">I", page, place)[0])
            key = high
            if table:
                try:
                    key, _ = varint(page, place + 4)
                except IndexError:
                    key = high
            yield child, before, key
            before = key if table else low
        yield right, before, high

    def _rows(
        self,
        number: int,
        page: bytes,
        places: list[int],
        low: int,
        high: int,
        found: Found,
        *,
        table: bool,
        child: bool,
    ) -> None:
        damaged = 0
        for rowid, values in leaf_rows(self.pages, page, places, table=table, child=child):
            if values is None or (rowid is not None and not low < rowid <= high):
                damaged += 1
            else:
                found(rowid, values)
        if damaged:
            self.gaps.append(Gap(number, cells=damaged))

    def _lose(self, number: int, low: int, high: int) -> None:
        known = low != LOWEST and high != HIGHEST
        self.gaps.append(Gap(number, low + 1, high) if known else Gap(number))


def orphans(pages: Pages, reached: set[int], found: Callable[[bool, int | None, list[Any]], None]) -> None:
    """Visit the rows on all pages that no walk has reached and that are not free.

    `found` is called with whether the page is a table's, the rowid and the values. Raises BadPageError
    when the free list is damaged: then deleted rows could not be told from lost ones.
    """
    free = pages.free()
    for number in range(2, pages.count + 1):
        if number in reached or number in free:
            continue
        page = pages.read(number)
        for table, kinds in (
            (True, (TABLE_LEAF, TABLE_LEAF)),
            (False, (INDEX_INTERIOR, INDEX_LEAF)),
        ):
            try:
                places, _ = cells(page, number, kinds)
            except BadPageError:
                continue
            child = page[header_at(number)] == INDEX_INTERIOR
            for rowid, values in leaf_rows(pages, page, places, table=table, child=child):
                if values is not None:
                    found(table, rowid, values)
