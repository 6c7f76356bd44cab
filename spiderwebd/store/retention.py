"""Keeping the store bounded: old events, requests and archive markers go, entries only on request.

Every removal leaves an audit row in `removals`. All runs through Writer.perform in slices, so that a
session's commit waits for one slice at most.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from spiderwebd.store.erasure import PRUNED, forget, note_removal

T = TypeVar("T")

DAY_MS = 86_400_000

SLICE_ROWS = 1_000
"""Rows removed in one transaction: a few milliseconds."""

SLICE_SESSIONS = 64
"""Sessions looked at in one transaction when nothing has to go."""

SESSIONS = "SELECT sid FROM sessions WHERE sid > ? ORDER BY sid LIMIT ?"
# The last seq that has to go: by count, and by age. Times rise with seq, so the walk over old events
# ends at the first young one; a clock that was set back only keeps some a little longer.
EVENTS_BY_COUNT = "SELECT seq FROM events WHERE sid = ? ORDER BY seq DESC LIMIT 1 OFFSET ?"
FIRST_YOUNG_EVENT = """
SELECT seq FROM events WHERE sid = ? AND created_ms >= ? ORDER BY seq LIMIT 1
"""
LAST_EVENT = "SELECT max(seq) FROM events WHERE sid = ?"
OLD_EVENTS = "SELECT event, seq FROM events WHERE sid = ? AND seq <= ? ORDER BY seq LIMIT ?"
OLD_REQUESTS = """
SELECT place FROM requests WHERE sid = ?1 AND state <> 'open' AND place <= (
    SELECT place FROM requests WHERE sid = ?1 AND state <> 'open' ORDER BY place DESC LIMIT 1 OFFSET ?2
) ORDER BY place LIMIT ?3
"""
OLD_ARCHIVES = """
SELECT archive FROM archives
WHERE sid = ?1 AND (
    (?2 > 0 AND archive IN (
        SELECT archive FROM archives WHERE sid = ?1 ORDER BY at_ms DESC, archive DESC LIMIT -1 OFFSET ?2
    ))
    OR at_ms < ?3
) ORDER BY archive LIMIT ?4
"""
# What stands in RAM, and the text of a goal that has not ended, is in use.
OLD_ENTRIES = """
SELECT memory_id FROM entries
WHERE sid = ?1 AND created_ms < ?2 AND kind <> 'tombstone'
    AND memory_id NOT IN (SELECT memory_id FROM ram WHERE sid = ?1)
    AND memory_id NOT IN (
        SELECT memory_id FROM goals WHERE sid = ?1 AND state IN ('queued', 'running', 'interrupted')
        UNION SELECT memory_id FROM requests WHERE sid = ?1 AND state = 'open' AND memory_id IS NOT NULL
    )
ORDER BY memory_id LIMIT ?3
"""


class Performer(Protocol):
    """What of the writer is used."""

    async def perform(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function in one transaction of its own."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How much is kept a session. Counts are of rows, 0 is no limit."""

    events_count: int = 4_096
    events_days: int = 7
    requests_count: int = 1_024
    archives_count: int = 24
    archives_days: int = 30
    entries_days: int = 0


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed of one session in one slice."""

    sid: int
    kind: str
    """memory, event, request or archive."""
    count: int


async def prune(
    writer: Performer,
    policy: Policy,
    now_ms: int,
    on_removed: Callable[[list[Removal]], None] = lambda removals: None,
) -> list[Removal]:
    """Remove what `policy` does not keep, session by session; return what went, in order.

    `on_removed` is told of each slice that took something away, as soon as it is committed. Raises
    StorageUnavailable when the disk fails; what was removed before stays removed.
    """
    removed: list[Removal] = []
    after = 0
    while True:
        done, after = await writer.perform(partial(prune_slice, policy=policy, now_ms=now_ms, after=after))
        removed.extend(done)
        if done:
            on_removed(done)
        if after < 0:
            return removed


def prune_slice(
    connection: sqlite3.Connection, policy: Policy, now_ms: int, after: int
) -> tuple[list[Removal], int]:
    """Go on with the session that follows `after`, in the caller's transaction.

    Returns what went, and where to go on: a session may take several slices; -1 means all are done.
    """
    removed: list[Removal] = []
    sids = [sid for (sid,) in connection.execute(SESSIONS, (after, SLICE_SESSIONS))]
    for sid in sids:
        for kind, rows, reason in _outdated(connection, sid, policy, now_ms):
            if kind == "memory":
                forget(connection, sid, rows, PRUNED, reason, now_ms)
                first = rows[0]
            else:
                first = rows[0]
                table, column = TABLES[kind]
                connection.executemany(
                    f"DELETE FROM {table} WHERE {column} = ?",  # noqa: S608 - names from TABLES
                    [(row,) for row in rows],
                )
                note_removal(connection, sid, kind, first, rows[-1], len(rows), reason, now_ms)
            removed.append(Removal(sid, kind, len(rows)))
        if sum(removal.count for removal in removed) >= SLICE_ROWS:
            # This session may have more: it is looked at again.
            return removed, sid - 1
    return removed, sids[-1] if len(sids) == SLICE_SESSIONS else -1


TABLES = {"event": ("events", "event"), "request": ("requests", "place"), "archive": ("archives", "archive")}
"""Table and key column of each kind that is deleted rather than buried."""


def _outdated(
    connection: sqlite3.Connection, sid: int, policy: Policy, now_ms: int
) -> Iterator[tuple[str, list[int], str]]:
    """Kind, keys (never none) and reason of what has to go, at most SLICE_ROWS of each kind."""
    last = _last_old_event(connection, sid, policy, now_ms)
    if last is not None:
        events = [event for event, _ in connection.execute(OLD_EVENTS, (sid, last, SLICE_ROWS))]
        if events:
            yield "event", events, f"kept: {policy.events_count} events, {policy.events_days} days"
    if policy.requests_count > 0:
        rows = connection.execute(OLD_REQUESTS, (sid, policy.requests_count, SLICE_ROWS))
        requests = [place for (place,) in rows]
        if requests:
            yield "request", requests, f"kept: {policy.requests_count} requests"
    if policy.archives_count > 0 or policy.archives_days > 0:
        oldest = now_ms - policy.archives_days * DAY_MS if policy.archives_days > 0 else -1
        rows = connection.execute(OLD_ARCHIVES, (sid, policy.archives_count, oldest, SLICE_ROWS))
        archives = [archive for (archive,) in rows]
        if archives:
            yield (
                "archive", archives,
                f"kept: {policy.archives_count} archives, {policy.archives_days} days",
            )  # fmt: skip
    if policy.entries_days > 0:
        oldest = now_ms - policy.entries_days * DAY_MS
        entries = [memory_id for (memory_id,) in connection.execute(OLD_ENTRIES, (sid, oldest, SLICE_ROWS))]
        if entries:
            yield "memory", entries, f"kept: {policy.entries_days} days"


def _last_old_event(connection: sqlite3.Connection, sid: int, policy: Policy, now_ms: int) -> int | None:
    candidates = []
    if policy.events_count > 0:
        row = connection.execute(EVENTS_BY_COUNT, (sid, policy.events_count)).fetchone()
        if row is not None:
            candidates.append(row[0])
    if policy.events_days > 0:
        oldest = now_ms - policy.events_days * DAY_MS
        young = connection.execute(FIRST_YOUNG_EVENT, (sid, oldest)).fetchone()
        if young is not None:
            candidates.append(young[0] - 1)
        else:
            last = connection.execute(LAST_EVENT, (sid,)).fetchone()[0]
            if last is not None:
                candidates.append(last)
    return max(candidates, default=None)
