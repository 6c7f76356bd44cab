"""All that is read from the store; every method is one snapshot, off the trio thread.

Nothing here checks who asks: the caller compares principal and agent of what it gets.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from spiderwebd.core.records import (
    EntryKind,
    EntryRecord,
    SessionImage,
    SessionRecord,
    TaskRecord,
    VersionRecord,
)
from spiderwebd.store.runner import Runner
from spiderwebd.store.search import Hit, Scope, Searcher
from spiderwebd.store.tables import (
    ENTRY_COLUMNS,
    GOAL_COLUMNS,
    IN_RAM,
    REQUEST_COLUMNS,
    SESSION_COLUMNS,
    TASK_COLUMNS,
    VERSION_COLUMNS,
    entry_of,
    goal_of,
    request_of,
    task_of,
)

REMEMBERED_REQUESTS = 256
"""Finished requests that a session keeps in its image, besides all open ones."""

Memory = EntryRecord
"""One item of a recall or a query: summary, entry or tombstone, as the LTM has it."""

# ruff's S608 (SQL built from strings) is answered once for all: only constant column lists go in.
SESSION = f"SELECT {SESSION_COLUMNS} FROM sessions WHERE key = ?"  # noqa: S608 - constant columns
RAM = f"""
SELECT {ENTRY_COLUMNS} FROM entries
WHERE sid = ?1 AND memory_id IN (SELECT memory_id FROM ram WHERE sid = ?1) ORDER BY memory_id
"""  # noqa: S608 - constant columns
OPEN_GOALS = f"""
SELECT {GOAL_COLUMNS} FROM goals
WHERE sid = ? AND state IN ('queued', 'running', 'interrupted') ORDER BY goal_id
"""  # noqa: S608 - constant columns
TASKS = f"""
SELECT {TASK_COLUMNS} FROM tasks WHERE sid = ? AND goal_id = ? ORDER BY task_id
"""  # noqa: S608 - constant columns
REQUESTS = f"""
SELECT {REQUEST_COLUMNS}, place FROM requests WHERE sid = ?1 AND state = 'open'
UNION
SELECT * FROM (
    SELECT {REQUEST_COLUMNS}, place FROM requests WHERE sid = ?1 AND state <> 'open'
    ORDER BY place DESC LIMIT ?2
)
ORDER BY place
"""  # noqa: S608 - constant columns
FIRST_SEQ = "SELECT min(seq) FROM events WHERE sid = ?"
REQUEST_EVENTS = """
SELECT seq, frame FROM events WHERE sid = ? AND seq >= ? AND request = ? ORDER BY seq LIMIT ?
"""
EVENTS = "SELECT seq, frame FROM events WHERE sid = ? AND seq > ? ORDER BY seq LIMIT ?"
UNFINISHED = """
SELECT key FROM sessions
WHERE sid IN (
    SELECT sid FROM requests WHERE state = 'open'
    UNION SELECT sid FROM goals WHERE state IN ('queued', 'running', 'interrupted')
)
ORDER BY sid
"""
# Two walks over narrow indexes; counting rows by kind would read every text.
SUMMARIES_OF_SESSIONS = """
SELECT sid, key, principal, agent, created_ms, active_ms, last_goal, mode,
    (SELECT count(*) FROM entries e WHERE e.sid = s.sid)
    - (SELECT count(*) FROM entries e WHERE e.sid = s.sid AND e.kind <> 'entry')
FROM sessions s
WHERE principal = ? AND (?2 IS NULL OR agent = ?2)
ORDER BY active_ms DESC, sid DESC LIMIT ?
"""
MEMORIES = f"""
SELECT {ENTRY_COLUMNS} FROM entries
WHERE sid = ?1 AND kind IN (SELECT value FROM json_each(?2))
    AND (?3 = 0 OR NOT {IN_RAM})
    AND (?4 IS NULL OR memory_id IN (SELECT value FROM json_each(?4)))
    AND (?5 IS NULL OR instr(CAST(content AS BLOB), ?5) > 0)
ORDER BY memory_id DESC LIMIT ?6
"""  # noqa: S608 - constant columns
# The same for summaries alone, whose partial index saves reading all the entries between them.
MEMORIES_SUMMARIES = MEMORIES.replace("kind IN", "kind <> 'entry' AND kind IN")
MEMORY = f"SELECT {ENTRY_COLUMNS} FROM entries WHERE sid = ? AND memory_id = ?"  # noqa: S608 - the same
VERSIONS = f"""
SELECT {VERSION_COLUMNS} FROM versions WHERE sid = ? AND memory_id = ? ORDER BY version
"""  # noqa: S608 - constant columns
QUOTING = """
SELECT memory_id FROM entries
WHERE sid = ?1 AND kind <> 'entry' AND memory_id <> ?2
    AND (related_to = ?2 OR ?2 IN (SELECT value FROM json_each(sources)))
ORDER BY memory_id
"""


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One line of a list of sessions."""

    sid: int
    key: str
    principal: str
    agent: str
    created_ms: int
    active_ms: int
    last_goal: str
    mode: str
    message_count: int
    """Entries ever stored; summaries, tombstones and what was erased not counted."""


@dataclass(frozen=True, slots=True)
class Query:
    """What memory.recall and memory.query ask of the LTM."""

    sid: int
    kinds: tuple[EntryKind, ...] = (EntryKind.SUMMARY, EntryKind.ENTRY, EntryKind.TOMBSTONE)
    memory_ids: tuple[int, ...] = ()
    """Only these; empty: all."""
    topic: str | None = None
    """Byte substring of the content, case-sensitive; None or empty: any."""
    exclude_in_ram: bool = True
    """Leave out what the caller has in RAM already and lists first."""
    limit: int = 25


class Reader:
    """Reads for sessions, the registry and the operator."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._searcher = Searcher()

    async def session(self, key: str, requests: int = REMEMBERED_REQUESTS) -> SessionImage | None:
        """All that the session with this key needs to come back; None when there is none.

        `requests` bounds the finished requests in it; open ones all come along.
        """
        return await self._runner.read(lambda connection: read_image(connection, key, requests))

    async def sessions(self, principal: str, agent: str | None, limit: int) -> list[SessionSummary]:
        """Sessions of a principal, all agents or one, last active first."""
        return await self._runner.read(
            lambda connection: [
                SessionSummary(*row)
                for row in connection.execute(SUMMARIES_OF_SESSIONS, (principal, agent, limit))
            ]
        )

    async def unfinished(self) -> list[str]:
        """Keys of the sessions with open requests or goals that have not ended."""
        return await self._runner.read(lambda connection: [key for (key,) in connection.execute(UNFINISHED)])

    async def highest_sid(self) -> int:
        """The largest sid given out so far; 0 in an empty store."""
        return await self._runner.read(
            lambda connection: int(connection.execute("SELECT max(sid) FROM sessions").fetchone()[0] or 0)
        )

    async def events(self, sid: int, after: int, limit: int) -> list[tuple[int, str]]:
        """(seq, frame) of a session's events after `after`, in order.

        When the first is not `after` + 1, the log no longer reaches back that far.
        """
        return await self._runner.read(
            lambda connection: connection.execute(EVENTS, (sid, after, limit)).fetchall()
        )

    async def first_seq(self, sid: int) -> int | None:
        """The oldest seq that the log of a session still holds; None when it holds none."""
        return await self._runner.read(lambda connection: connection.execute(FIRST_SEQ, (sid,)).fetchone()[0])

    async def request_events(
        self, sid: int, request: str, first: int, limit: int = 1_024
    ) -> list[tuple[int, str]]:
        """(seq, frame) of the events that one request caused, from seq `first` on, in order."""
        return await self._runner.read(
            lambda connection: connection.execute(REQUEST_EVENTS, (sid, first, request, limit)).fetchall()
        )

    async def memories(self, query: Query) -> list[Memory]:
        """What matches, summaries first, then entries and tombstones, each newest first."""
        return await self._runner.read(lambda connection: read_memories(connection, query))

    async def memory(self, sid: int, memory_id: int) -> EntryRecord | None:
        """One memory; None: this session never stored it.

        What was erased or pruned is a tombstone with `related_to` equal to its own id.
        """

        def read(connection: sqlite3.Connection) -> EntryRecord | None:
            row = connection.execute(MEMORY, (sid, memory_id)).fetchone()
            return None if row is None else entry_of(row)

        return await self._runner.read(read)

    async def versions(self, sid: int, memory_id: int) -> list[VersionRecord]:
        """The replaced texts of a memory, oldest first; its present text is the memory itself."""
        return await self._runner.read(
            lambda connection: [VersionRecord(*row) for row in connection.execute(VERSIONS, (sid, memory_id))]
        )

    async def quoting(self, sid: int, memory_id: int) -> tuple[int, ...]:
        """Ids of the summaries and tombstones made from a memory: erased together with it."""
        return await self._runner.read(
            lambda connection: tuple(found for (found,) in connection.execute(QUOTING, (sid, memory_id)))
        )

    async def search(self, text: str, scope: Scope, limit: int) -> list[Hit]:
        """Entries that answer `text`, best first; what was committed a moment ago is included."""
        return await self._runner.read(
            lambda connection: self._searcher.search(connection, text, scope, limit)
        )


def read_image(connection: sqlite3.Connection, key: str, requests: int) -> SessionImage | None:
    """The image of the session with this key, in the caller's read transaction."""
    row = connection.execute(SESSION, (key,)).fetchone()
    if row is None:
        return None
    session = SessionRecord(*row)
    sid = session.sid
    goals = tuple(goal_of(row) for row in connection.execute(OPEN_GOALS, (sid,)))
    tasks: list[TaskRecord] = []
    for goal in goals:
        tasks.extend(task_of(row) for row in connection.execute(TASKS, (sid, goal.goal_id)))
    first_seq = connection.execute(FIRST_SEQ, (sid,)).fetchone()[0]
    return SessionImage(
        session,
        tuple(entry_of(row) for row in connection.execute(RAM, (sid,))),
        goals,
        tuple(tasks),
        tuple(request_of(row[:-1]) for row in connection.execute(REQUESTS, (sid, requests))),
        session.seq + 1 if first_seq is None else first_seq,
    )


def read_memories(connection: sqlite3.Connection, query: Query) -> list[Memory]:
    """What a query finds, in the caller's read transaction."""
    found: list[Memory] = []
    wanted = set(query.kinds)
    for statement, kinds in (
        (MEMORIES_SUMMARIES, wanted & {EntryKind.SUMMARY}),
        (MEMORIES, wanted & {EntryKind.ENTRY, EntryKind.TOMBSTONE}),
    ):
        room = query.limit - len(found)
        if kinds and room > 0:
            rows = connection.execute(
                statement,
                (
                    query.sid,
                    _listed(kind.value for kind in kinds),
                    int(query.exclude_in_ram),
                    _listed(query.memory_ids) if query.memory_ids else None,
                    # A lone surrogate is in no stored text; encoded so, it is found in none.
                    query.topic.encode("utf-8", "surrogatepass") if query.topic else None,
                    room,
                ),
            )
            found.extend(entry_of(row) for row in rows)
    return found


def _listed(values: Iterable[str] | Iterable[int]) -> str:
    return json.dumps(list(values))
