"""Records to rows and rows to records: the SQL of every table that a session writes.

All statements are constants, so each is compiled once a connection, and rows of one table go to
SQLite with one `executemany` a transaction: that is the hot path of the daemon.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, assert_never

from spiderwebd.core.records import (
    ArchiveRecord,
    EntryKind,
    EntryRecord,
    EraseRecord,
    EventRecord,
    GoalRecord,
    LeaveRamRecord,
    Record,
    RequestRecord,
    RequestState,
    SessionRecord,
    TaskRecord,
    TaskState,
    VersionRecord,
)
from spiderwebd.store.changes import EntryChange, write_changes

Row = tuple[Any, ...]
"""One row as sqlite3 gives or takes it; its shape is the column list of the statement beside it."""

SESSION_COLUMNS = (
    "sid, key, principal, agent, created_ms, active_ms, next_memory_id, next_goal_id, seq, mode, "
    "last_goal, revision, extra"
)
IN_RAM = "EXISTS (SELECT 1 FROM ram WHERE ram.sid = entries.sid AND ram.memory_id = entries.memory_id)"
ENTRY_COLUMNS = (
    f"sid, memory_id, kind, role, content, created_ms, {IN_RAM}, version, name, related_to, sources"
)
STORED_ENTRY_COLUMNS = (
    "sid, memory_id, kind, role, content, created_ms, in_ram, version, name, related_to, sources"
)
"""What a row of `entries` itself holds; `in_ram` tells nothing since schema step 4."""
GOAL_COLUMNS = (
    "sid, goal_id, request, text, state, memory_id, created_ms, deadline_ms, ended_ms, pause_before"
)
TASK_COLUMNS = (
    "sid, goal_id, task_id, title, kind, state, attempts, created_ms, started_ms, ended_ms, detail, code"
)
REQUEST_COLUMNS = "sid, request, type, digest, state, seq, memory_id, goal_id, created_ms"
VERSION_COLUMNS = "sid, memory_id, version, content, operation, actor, at_ms"

# Key, principal and agent are a session's identity: an upsert never moves it to somebody else, and a
# sid given out twice by mistake is refused (a NULL seq) before it mixes two sessions.
PUT_SESSION = f"""
INSERT INTO sessions ({SESSION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (sid) DO UPDATE SET
    active_ms = excluded.active_ms, next_memory_id = excluded.next_memory_id,
    next_goal_id = excluded.next_goal_id, mode = excluded.mode,
    seq = CASE WHEN key = excluded.key THEN excluded.seq END,
    last_goal = excluded.last_goal, revision = excluded.revision, extra = excluded.extra
"""  # noqa: S608 - constant column list
PUT_EVENT = "INSERT INTO events (sid, seq, type, request, frame, created_ms) VALUES (?, ?, ?, ?, ?, ?)"
PUT_REQUEST = f"""
INSERT INTO requests ({REQUEST_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (sid, request) DO UPDATE SET
    state = excluded.state, seq = excluded.seq, memory_id = excluded.memory_id, goal_id = excluded.goal_id
"""  # noqa: S608 - constant column list
PUT_GOAL = f"""
INSERT INTO goals ({GOAL_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (sid, goal_id) DO UPDATE SET
    text = excluded.text, state = excluded.state, memory_id = excluded.memory_id,
    deadline_ms = excluded.deadline_ms, ended_ms = excluded.ended_ms, pause_before = excluded.pause_before
"""  # noqa: S608 - constant column list
PUT_TASK = f"""
INSERT INTO tasks ({TASK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (sid, goal_id, task_id) DO UPDATE SET
    title = excluded.title, kind = excluded.kind, state = excluded.state, attempts = excluded.attempts,
    started_ms = excluded.started_ms, ended_ms = excluded.ended_ms, detail = excluded.detail,
    code = excluded.code
"""  # noqa: S608 - constant column list


def write(connection: sqlite3.Connection, submissions: Iterable[Sequence[Record]]) -> int:
    """Write all records inside the caller's transaction; return how many entries were among them.

    Rows that are written whole (sessions, requests, goals, tasks) are written once, as they stood
    last. Raises sqlite3.Error for what the schema refuses, for example a seq used twice.
    """
    sessions: dict[int, Row] = {}
    requests: dict[tuple[int, str], Row] = {}
    goals: dict[tuple[int, int], Row] = {}
    tasks: dict[tuple[int, int, int], Row] = {}
    events: list[Row] = []
    changes: list[EntryChange] = []
    for records in submissions:
        for record in records:
            match record:
                case EventRecord():
                    events.append(
                        (record.sid, record.seq, record.type, record.request, record.frame, record.created_ms)
                    )
                case SessionRecord():
                    sessions[record.sid] = session_row(record)
                case RequestRecord():
                    requests[record.sid, record.request] = request_row(record)
                case EntryRecord() | LeaveRamRecord() | VersionRecord() | EraseRecord() | ArchiveRecord():
                    changes.append(record)
                case TaskRecord():
                    tasks[record.sid, record.goal_id, record.task_id] = task_row(record)
                case GoalRecord():
                    goals[record.sid, record.goal_id] = goal_row(record)
                case _:
                    assert_never(record)
    # Sessions first: every other row refers to one.
    for statement, rows in (
        (PUT_SESSION, sessions.values()),
        (PUT_EVENT, events),
        (PUT_REQUEST, requests.values()),
        (PUT_GOAL, goals.values()),
        (PUT_TASK, tasks.values()),
    ):
        if rows:
            connection.executemany(statement, rows)
    return write_changes(connection, changes) if changes else 0


# StrEnum members and bools are passed as plain str and int: sqlite3 binds exact types several times
# faster than subclasses.


def session_row(record: SessionRecord) -> Row:
    """The row of SESSION_COLUMNS."""
    return (
        record.sid, record.key, record.principal, record.agent, record.created_ms, record.active_ms,
        record.next_memory_id, record.next_goal_id, record.seq, record.mode, record.last_goal,
        record.revision, record.extra,
    )  # fmt: skip


def request_row(record: RequestRecord) -> Row:
    """The row of REQUEST_COLUMNS."""
    return (
        record.sid, record.request, record.type, record.digest, record.state.value, record.seq,
        record.memory_id, record.goal_id, record.created_ms,
    )  # fmt: skip


def goal_row(record: GoalRecord) -> Row:
    """The row of GOAL_COLUMNS."""
    return (
        record.sid, record.goal_id, record.request, record.text, record.state.value, record.memory_id,
        record.created_ms, record.deadline_ms, record.ended_ms, record.pause_before,
    )  # fmt: skip


def task_row(record: TaskRecord) -> Row:
    """The row of TASK_COLUMNS."""
    return (
        record.sid, record.goal_id, record.task_id, record.title, record.kind, record.state.value,
        record.attempts, record.created_ms, record.started_ms, record.ended_ms, record.detail, record.code,
    )  # fmt: skip


def entry_of(row: Row) -> EntryRecord:
    """The record of a row of ENTRY_COLUMNS."""
    sid, memory_id, kind, role, content, created_ms, in_ram, version, name, related_to, sources = row
    return EntryRecord(
        sid, memory_id, EntryKind(kind), role, content, created_ms, bool(in_ram), version, name, related_to,
        tuple(map(int, sources[1:-1].split(","))) if sources != "[]" else (),
    )  # fmt: skip


def request_of(row: Row) -> RequestRecord:
    """The record of a row of REQUEST_COLUMNS."""
    sid, request, kind, digest, state, seq, memory_id, goal_id, created_ms = row
    return RequestRecord(sid, request, kind, digest, RequestState(state), seq, memory_id, goal_id, created_ms)


def goal_of(row: Row) -> GoalRecord:
    """The record of a row of GOAL_COLUMNS."""
    sid, goal_id, request, text, state, *rest = row
    return GoalRecord(sid, goal_id, request, text, TaskState(state), *rest)


def task_of(row: Row) -> TaskRecord:
    """The record of a row of TASK_COLUMNS."""
    sid, goal_id, task_id, title, kind, state, *rest = row
    return TaskRecord(sid, goal_id, task_id, title, kind, TaskState(state), *rest)
