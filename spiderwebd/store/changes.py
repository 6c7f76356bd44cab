"""What one transaction does to memories, gathered and then written table by table.

A batch holds the turns of many sessions. Row by row in the order of the records, each turn would cost a
handful of statements; gathered, a memory is written once, as it stood last, and enters or leaves `ram`
at most once. What must happen in order (an erasure, an emptied RAM, another version of a text that this
batch has made) is a barrier: everything before it is written first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from spiderwebd.core.records import (
    ArchiveRecord,
    EntryRecord,
    EraseRecord,
    LeaveRamRecord,
    VersionRecord,
)
from spiderwebd.store.erasure import ERASED, forget

Row = tuple[Any, ...]

EntryChange = EntryRecord | LeaveRamRecord | VersionRecord | EraseRecord | ArchiveRecord
"""What changes memories."""

PUT_ENTRY = """
INSERT INTO entries
    (sid, memory_id, kind, role, content, created_ms, in_ram, version, name, related_to, sources)
VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)
ON CONFLICT (sid, memory_id) DO UPDATE SET
    kind = excluded.kind, role = excluded.role, content = excluded.content,
    version = excluded.version, name = excluded.name, sources = excluded.sources
"""
ENTER_RAM = "INSERT INTO ram (sid, memory_id) VALUES (?, ?) ON CONFLICT DO NOTHING"
LEAVE_RAM = "DELETE FROM ram WHERE sid = ? AND memory_id = ?"
CLEAR_RAM = "DELETE FROM ram WHERE sid = ?"
# The text of a kept version is never overwritten; who replaced it and how may be learnt later.
PUT_VERSION = """
INSERT INTO versions (sid, memory_id, version, content, operation, actor, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (sid, memory_id, version) DO UPDATE SET
    operation = excluded.operation, actor = excluded.actor, at_ms = excluded.at_ms
"""
PUT_ARCHIVE = """
INSERT INTO archives (sid, at_ms, reason, next_memory_id, entry_count, summary_count, cleared)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""


def write_changes(connection: sqlite3.Connection, changes: Iterable[EntryChange]) -> int:
    """Carry out all changes inside the caller's transaction; return how many entries were among them."""
    puts: dict[tuple[int, int], Row] = {}
    ram: dict[tuple[int, int], bool] = {}
    versions: list[Row] = []
    archives: list[Row] = []
    entries = 0

    def flush() -> None:
        _write(connection, puts, versions, ram)
        puts.clear()
        versions.clear()
        ram.clear()

    for record in changes:
        if isinstance(record, EntryRecord):
            key = (record.sid, record.memory_id)
            if (before := puts.get(key)) is not None and before[VERSION] != record.version:
                # The schema itself keeps the text of a version that is replaced, once it is a row.
                flush()
            puts[key] = put_row(record)
            ram[key] = record.in_ram
            entries += 1
        elif isinstance(record, LeaveRamRecord):
            for memory_id in record.memory_ids:
                ram[record.sid, memory_id] = False
        elif isinstance(record, VersionRecord):
            versions.append(version_row(record))
        elif isinstance(record, ArchiveRecord):
            archives.append(archive_row(record))
            if record.cleared:
                flush()
                connection.execute(CLEAR_RAM, (record.sid,))
        else:
            flush()
            forget(connection, record.sid, record.memory_ids, ERASED, record.reason, record.at_ms)
    flush()
    if archives:
        connection.executemany(PUT_ARCHIVE, archives)
    return entries


def _write(
    connection: sqlite3.Connection,
    puts: dict[tuple[int, int], Row],
    versions: list[Row],
    ram: dict[tuple[int, int], bool],
) -> None:
    if puts:
        connection.executemany(PUT_ENTRY, puts.values())
    if versions:
        # After the entries: a trigger has kept the replaced text itself, and these say who and how.
        connection.executemany(PUT_VERSION, versions)
    if ram:
        connection.executemany(ENTER_RAM, [key for key, stands in ram.items() if stands])
        connection.executemany(LEAVE_RAM, [key for key, stands in ram.items() if not stands])


VERSION = 6
"""Where the version stands in a row of PUT_ENTRY."""


def put_row(record: EntryRecord) -> Row:
    """The row that PUT_ENTRY takes; plain strings and integers, which sqlite3 binds fastest."""
    return (
        record.sid, record.memory_id, record.kind.value, record.role, record.content, record.created_ms,
        record.version, record.name, record.related_to,
        f"[{','.join(map(str, record.sources))}]" if record.sources else "[]",
    )  # fmt: skip


def version_row(record: VersionRecord) -> Row:
    """The row that PUT_VERSION takes."""
    return (
        record.sid, record.memory_id, record.version, record.content, record.operation, record.actor,
        record.at_ms,
    )  # fmt: skip


def archive_row(record: ArchiveRecord) -> Row:
    """The row that PUT_ARCHIVE takes."""
    return (
        record.sid, record.at_ms, record.reason, record.next_memory_id, record.entry_count,
        record.summary_count, 1 if record.cleared else 0,
    )  # fmt: skip
