"""The rows of working memory, and `Change`: what one operation on it did and must be persisted.

`Ram` makes Changes; the session turns them into records with `Change.records`.
"""

from __future__ import annotations

from enum import StrEnum

from spiderwebd.core.records import (
    EntryKind,
    EntryRecord,
    EraseRecord,
    LeaveRamRecord,
    Record,
    VersionRecord,
)
from spiderwebd.core.values import value


class Operation(StrEnum):
    """What made a Change; the words stand in versions and memory events."""

    APPEND = "append"
    LOAD = "load"
    UPDATE = "update"
    EVICT = "evict"
    SUMMARIZE = "summarize"
    ERASE = "erase"
    CLEAR = "clear"
    FIT = "fit"


@value(frozen=True, slots=True)
class Entry:
    """An active memory, whole."""

    id: int
    role: str
    content: str
    created_ms: int
    version: int = 1
    name: str | None = None

    def record(self, sid: int, in_ram: bool) -> EntryRecord:
        """The row that persists it for session `sid`."""
        return EntryRecord(
            sid,
            self.id,
            EntryKind.ENTRY,
            self.role,
            self.content,
            self.created_ms,
            in_ram,
            self.version,
            self.name,
        )


@value(frozen=True, slots=True)
class Tombstone:
    """Says in RAM that memory `related_to` left it, and how."""

    id: int
    related_to: int
    content: str
    created_ms: int

    def record(self, sid: int, in_ram: bool) -> EntryRecord:
        """The row that persists it for session `sid`."""
        return EntryRecord(
            sid,
            self.id,
            EntryKind.TOMBSTONE,
            "system",
            self.content,
            self.created_ms,
            in_ram,
            related_to=self.related_to,
        )


@value(frozen=True, slots=True)
class Summary:
    """A short text that stands for the memories it names."""

    id: int
    sources: tuple[int, ...]
    text: str
    created_ms: int

    def record(self, sid: int, in_ram: bool) -> EntryRecord:
        """The row that persists it for session `sid`."""
        return EntryRecord(
            sid,
            self.id,
            EntryKind.SUMMARY,
            "system",
            self.text,
            self.created_ms,
            in_ram,
            related_to=self.sources[0],
            sources=self.sources,
        )


Row = Entry | Tombstone | Summary


def row_of(record: EntryRecord) -> Row:
    """What a persisted row is in RAM; raises ValueError for a row that names no source."""
    if record.kind is EntryKind.ENTRY:
        return Entry(
            record.memory_id, record.role, record.content, record.created_ms, record.version, record.name
        )
    if record.related_to is None:
        raise ValueError(f"{record.kind} {record.memory_id} names no memory")
    if record.kind is EntryKind.TOMBSTONE:
        return Tombstone(record.memory_id, record.related_to, record.content, record.created_ms)
    sources = record.sources or (record.related_to,)
    return Summary(record.memory_id, sources, record.content, record.created_ms)


@value(frozen=True, slots=True)
class Change:
    """What one operation did, and all that must be persisted of it."""

    operation: Operation
    at_ms: int
    memory_id: int | None
    """The entry it was about; for summarize the new summary; None when nothing was there to change."""
    rows: tuple[Row, ...]
    """Made or changed, in the order of their making; one of them may also stand in `left`."""
    left: tuple[int, ...]
    """Ids that were in RAM, or would have come in, and are not there now."""
    replaced: tuple[Entry, ...]
    """Entries as they were before an update gave them another text."""
    erased: tuple[int, ...]
    """Ids whose text must go from the LTM too."""
    reason: str
    entries_before: int
    entries_after: int
    bytes_before: int
    bytes_after: int

    def __bool__(self) -> bool:
        """Whether there is anything to persist."""
        return bool(self.rows or self.left or self.replaced or self.erased)

    def records(self, sid: int, actor: str = "session") -> list[Record]:
        """What to submit, in one transaction, for session `sid`; `actor` stands in version rows."""
        left = frozenset(self.left)
        records: list[Record] = [row.record(sid, row.id not in left) for row in self.rows]
        records.extend(
            VersionRecord(sid, old.id, old.version, old.content, self.operation.value, actor, self.at_ms)
            for old in self.replaced
        )
        if left:
            put = {row.id for row in self.rows}
            gone = tuple(memory_id for memory_id in self.left if memory_id not in put)
            if gone:
                records.append(LeaveRamRecord(sid, gone))
        if self.erased:
            records.append(EraseRecord(sid, self.erased, self.reason, self.at_ms))
        return records


class Draft:
    """Collects what one operation does until it becomes a Change."""

    __slots__ = ("bytes", "entries", "erased", "left", "now_ms", "replaced", "rows")

    def __init__(self, now_ms: int, entries: int, size: int) -> None:
        self.now_ms = now_ms
        self.entries = entries
        self.bytes = size
        self.rows: list[Row] = []
        self.left: list[int] = []
        self.replaced: tuple[Entry, ...] = ()
        self.erased: tuple[int, ...] = ()
