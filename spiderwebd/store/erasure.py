"""Taking texts away for good: erasure that a person asked for, and pruning of old entries.

The row stays and becomes the tombstone of its own memory, so an id always says what became of it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

from spiderwebd.store.indexing import withdraw

ERASED = "erased"
PRUNED = "pruned"
"""How a tombstone's text starts: `[erased:7] 2026-02-15T11:33:20Z asked for by its owner`."""

FIND = """
SELECT entry, memory_id FROM entries
WHERE sid = ? AND memory_id IN (SELECT value FROM json_each(?)) AND related_to IS NOT memory_id
ORDER BY memory_id
"""
BURY = """
UPDATE entries
SET kind = 'tombstone', role = 'system', content = ?, created_ms = ?, name = NULL,
    related_to = memory_id, sources = '[]'
WHERE entry = ?
"""
LEAVE_RAM = "DELETE FROM ram WHERE sid = ? AND memory_id = ?"
FORGET_VERSIONS = """
DELETE FROM versions WHERE sid = ? AND memory_id IN (SELECT value FROM json_each(?))
"""
NOTE_REMOVAL = """
INSERT INTO removals (sid, kind, first, last, count, reason, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
"""


def forget(
    connection: sqlite3.Connection, sid: int, memory_ids: Sequence[int], how: str, reason: str, at_ms: int
) -> int:
    """Replace these memories by dated tombstones, in the caller's transaction; return how many.

    Text, name, sources, versions and index entries go; after an erasure the search index also rewrites
    its old segments. Unknown ids and those forgotten before are passed over. `how` is ERASED or PRUNED.
    """
    found = connection.execute(FIND, (sid, json.dumps(list(memory_ids)))).fetchall()
    if not found:
        return 0
    withdraw(connection, sid, [entry for entry, _ in found], purge=how == ERASED)
    ids = [memory_id for _, memory_id in found]
    connection.execute(FORGET_VERSIONS, (sid, json.dumps(ids)))
    connection.executemany(LEAVE_RAM, [(sid, memory_id) for memory_id in ids])
    moment = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    connection.executemany(
        BURY,
        [(f"[{how}:{memory_id}] {moment} {reason}".rstrip(), at_ms, entry) for entry, memory_id in found],
    )
    note_removal(connection, sid, "memory", ids[0], ids[-1], len(ids), f"{how}: {reason}", at_ms)
    return len(ids)


def note_removal(
    connection: sqlite3.Connection,
    sid: int,
    kind: str,
    first: int,
    last: int,
    count: int,
    reason: str,
    at_ms: int,
) -> None:
    """Write the audit row of a removal: what kind of rows, from which to which, how many and why."""
    connection.execute(NOTE_REMOVAL, (sid, kind, first, last, count, reason, at_ms))
