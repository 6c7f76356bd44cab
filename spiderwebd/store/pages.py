"""The pages of a database file as they are, without SQLite: for a file that SQLite no longer reads.

Offsets and sizes are those of sqlite.org/fileformat2.html: 1.3 the header, 1.6 b-tree pages, 2.1 records,
4.1 and 4.2 the write-ahead log.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PAGE_BYTES = 4_096
"""SQLite's default page size since 3.12, which this daemon never changes."""
MAGIC = b"SQLite format 3\0"
INDEX_INTERIOR, TABLE_INTERIOR, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13
FREE_LIST, FREE_PAGES = 32, 36
WAL_HEADER, FRAME_HEADER = 32, 24
WAL_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
"""Byte order of the log's checksums."""


class BadPageError(Exception):
    """A page, or a cell on it, is not what it should be."""


class Pages:
    """Read access to every page as of the last commit that the file and its log hold."""

    def __init__(self, path: Path) -> None:
        """Open the file and read through its log. Raises OSError."""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._log = -1
        self._frames: dict[int, int] = {}
        self.count = os.fstat(self._file).st_size // PAGE_BYTES
        self.notes: list[str] = []
        """What of the log could not be used, in words."""
        try:
            self._log = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        self._read_log()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        os.close(self._file)
        if self._log >= 0:
            os.close(self._log)

    def read(self, number: int) -> bytes:
        """Return page `number`, from 1. Raises BadPageError when there is none."""
        if not 1 <= number <= self.count:
            raise BadPageError(f"there is no page {number}")
        place = self._frames.get(number)
        if place is not None:
            data = os.pread(self._log, PAGE_BYTES, place)
        else:
            data = os.pread(self._file, PAGE_BYTES, (number - 1) * PAGE_BYTES)
        if len(data) != PAGE_BYTES:
            raise BadPageError(f"page {number} is cut off")
        return data

    def free(self) -> set[int]:
        """Return the pages of the free list. Raises BadPageError when it cannot be followed."""
        header = self.read(1)
        if not header.startswith(MAGIC):
            raise BadPageError("the header is damaged")
        trunk, announced = struct.unpack_from(">II", header, FREE_LIST)
        found: set[int] = set()
        while trunk:
            if trunk in found:
                raise BadPageError("the free list goes in a circle")
            page = self.read(trunk)
            trunk_next, leaves = struct.unpack_from(">II", page)
            if leaves > PAGE_BYTES // 4 - 2:
                raise BadPageError("the free list is damaged")
            found.add(trunk)
            found.update(struct.unpack_from(f">{leaves}I", page, 8))
            trunk = trunk_next
        if len(found) != announced:
            raise BadPageError("the free list is not as long as the header says")
        return found

    def _read_log(self) -> None:
        header = os.pread(self._log, WAL_HEADER, 0)
        if len(header) < WAL_HEADER:
            return
        magic, _, size, _, *salts = struct.unpack_from(">6I", header)
        order = WAL_MAGIC.get(magic)
        sums = _checksum(header[:24], order or "<", (0, 0))
        if order is None or size != PAGE_BYTES or sums != struct.unpack_from(">2I", header, 24):
            self.notes.append("the header of the write-ahead log is damaged: the latest commits are missing")
            return
        pending: dict[int, int] = {}
        place, sound, later_commits = WAL_HEADER, True, 0
        while True:
            frame = os.pread(self._log, FRAME_HEADER + PAGE_BYTES, place)
            if len(frame) < FRAME_HEADER + PAGE_BYTES:
                break
            number, commit, first_salt, second_salt, *said = struct.unpack_from(">6I", frame)
            if [first_salt, second_salt] != salts:
                break
            if sound:
                sums = _checksum(frame[:8] + frame[FRAME_HEADER:], order, sums)
                sound = list(sums) == said
            if sound:
                pending[number] = place + FRAME_HEADER
                if commit:
                    self._frames.update(pending)
                    self.count = commit
                    pending.clear()
            elif commit:
                later_commits += 1
            place += FRAME_HEADER + PAGE_BYTES
        if later_commits > 1:
            # One may be the commit that a crash cut off and nobody was told of.
            self.notes.append(
                f"{later_commits} commits of the write-ahead log come after a damaged place in it"
            )


def _checksum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def varint(data: bytes, place: int) -> tuple[int, int]:
    """Return the signed number at `place` and the place after it."""
    value = 0
    for step in range(8):
        byte = data[place + step]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + step + 1
    value = value << 8 | data[place + 8]
    return value - (1 << 64) if value >> 63 else value, place + 9


def header_at(number: int) -> int:
    """Where the b-tree header of a page begins: page 1 starts with the file's own."""
    return 100 if number == 1 else 0


def cells(page: bytes, number: int, kinds: tuple[int, int]) -> tuple[list[int], int]:
    """Return the places of a b-tree page's cells and its right-most child (0 for a leaf).

    `kinds` are the page types allowed. On a leaf a place that cannot be one is PAGE_BYTES, where no cell
    is, so that the others are read all the same. Raises BadPageError when this is no such page.
    """
    start = header_at(number)
    kind = page[start]
    if kind not in kinds:
        raise BadPageError(f"page {number} is no page of this tree")
    interior = kind in (INDEX_INTERIOR, TABLE_INTERIOR)
    count, content = struct.unpack_from(">HH", page, start + 3)
    first = start + (12 if interior else 8)
    if first + 2 * count > (content or 65_536) or (content or 65_536) > max(
        PAGE_BYTES, 65_536 * (content == 0)
    ):
        raise BadPageError(f"page {number} is damaged")
    if first + 2 * count > PAGE_BYTES:
        raise BadPageError(f"page {number} is damaged")
    places = list(struct.unpack_from(f">{count}H", page, first))
    possible = [first + 2 * count <= place < PAGE_BYTES - 3 for place in places]
    if not all(possible):
        if interior or not any(possible):
            raise BadPageError(f"page {number} is damaged")
        places = [place if there else PAGE_BYTES for place, there in zip(places, possible, strict=True)]
    child = int(struct.unpack_from(">I", page, start + 8)[0]) if interior else 0
    return places, child


def payload(pages: Pages, page: bytes, place: int, size: int, *, table: bool) -> bytes:
    """Return the `size` bytes of a cell's payload, with what overflows onto pages of its own."""
    if not 0 < size <= pages.count * PAGE_BYTES:
        raise BadPageError("a cell is larger than the file")
    most = PAGE_BYTES - 35 if table else (PAGE_BYTES - 12) * 64 // 255 - 23
    local = size
    if size > most:
        least = (PAGE_BYTES - 12) * 32 // 255 - 23
        local = least + (size - least) % (PAGE_BYTES - 4)
        local = local if local <= most else least
    if place + local + (4 if local < size else 0) > PAGE_BYTES:
        raise BadPageError("a cell goes beyond its page")
    data = page[place : place + local]
    if local == size:
        return data
    parts, left = [data], size - local
    following = int(struct.unpack_from(">I", page, place + local)[0])
    while left > 0:
        more = pages.read(following)
        following = int(struct.unpack_from(">I", more)[0])
        parts.append(more[4 : 4 + min(left, PAGE_BYTES - 4)])
        left -= PAGE_BYTES - 4
        if (left > 0) != (following != 0):
            raise BadPageError("an overflow chain has the wrong length")
    return b"".join(parts)


WIDTHS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def record(data: bytes) -> list[Any]:
    """Return the values of a record. Raises BadPageError when it is none."""
    try:
        return _values(data)
    except (IndexError, struct.error) as error:
        raise BadPageError("a record is cut off") from error


def _values(data: bytes) -> list[Any]:
    end, place = varint(data, 0)
    if not 1 <= end <= len(data):
        raise BadPageError("a record's header is damaged")
    values: list[Any] = []
    at = end
    while place < end:
        kind, place = varint(data, place)
        value: Any
        if kind in (0, 8, 9):
            value, width = (None if kind == 0 else kind - 8), 0
        elif kind in WIDTHS:
            width = WIDTHS[kind]
            value = int.from_bytes(data[at : at + width], "big", signed=True)
        elif kind == 7:
            width = 8
            value = struct.unpack_from(">d", data, at)[0]
        elif kind >= 12:
            width = (kind - 12) // 2
            raw = data[at : at + width]
            try:
                value = raw.decode() if kind % 2 else raw
            except UnicodeDecodeError as error:
                raise BadPageError("a text is no UTF-8") from error
        else:
            raise BadPageError("a record has an unknown type")
        at += width
        values.append(value)
    if at != len(data) or place != end:
        raise BadPageError("a record has the wrong length")
    return values


def leaf_rows(
    pages: Pages, page: bytes, places: list[int], *, table: bool, child: bool
) -> Iterator[tuple[int | None, list[Any] | None]]:
    """Yield (rowid, values) of a page's cells: no rowid in an index, no values when a cell is damaged.

    `child`: each cell begins with a page number, as on an interior page of an index.
    """
    for place in places:
        rowid: int | None = None
        try:
            size, at = varint(page, place + (4 if child else 0))
            if table:
                rowid, at = varint(page, at)
            yield rowid, record(payload(pages, page, at, size, table=table))
        except (BadPageError, IndexError, struct.error):
            yield rowid, None
