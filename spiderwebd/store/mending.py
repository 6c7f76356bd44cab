"""Making copied rows fit together again, so that every session can wake and go on.

Ids and seqs never go backwards, a lost memory becomes a tombstone that says so, a session whose row is
gone is rebuilt from what names it, and work whose rows are incomplete ends as failed.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from spiderwebd.store.erasure import note_removal
from spiderwebd.store.salvage_tables import ROWS_A_PAGE, Copied, Named

REASON = "lost: its page of the database was damaged"

SIDS = """
SELECT sid FROM entries UNION SELECT sid FROM events UNION SELECT sid FROM requests
UNION SELECT sid FROM goals UNION SELECT sid FROM tasks UNION SELECT sid FROM versions
UNION SELECT sid FROM archives UNION SELECT sid FROM removals UNION SELECT sid FROM imports
UNION SELECT sid FROM ram
"""
REBUILD = """
INSERT INTO sessions (sid, key, principal, agent, created_ms, active_ms, next_memory_id, next_goal_id,
    seq, mode, last_goal, revision, extra)
VALUES (?, ?, ?, ?, ?, ?, 1, 1, 0, 'running', '', 0, '{}') ON CONFLICT DO NOTHING
"""
FRAME = "SELECT frame FROM events WHERE sid = ? ORDER BY seq DESC LIMIT 1"
LAST_SEEN = "SELECT max(created_ms), min(created_ms) FROM entries WHERE sid = ?"
# NULL is below every number in max() as an aggregate, and coalesce keeps it out of the scalar one.
RAISE = """
UPDATE sessions SET
    seq = ?2 + max(seq, ?3,
        coalesce((SELECT max(seq) FROM events WHERE sid = ?1), 0),
        coalesce((SELECT max(seq) FROM requests WHERE sid = ?1), 0)),
    next_memory_id = ?4 + max(next_memory_id, ?5 + 1,
        coalesce((SELECT max(memory_id) FROM entries WHERE sid = ?1), 0) + 1,
        coalesce((SELECT max(memory_id) FROM versions WHERE sid = ?1), 0) + 1,
        coalesce((SELECT max(memory_id) FROM requests WHERE sid = ?1), 0) + 1,
        coalesce((SELECT max(memory_id) FROM goals WHERE sid = ?1), 0) + 1,
        coalesce((SELECT max(next_memory_id) FROM archives WHERE sid = ?1), 0)),
    next_goal_id = ?6 + max(next_goal_id,
        coalesce((SELECT max(goal_id) FROM goals WHERE sid = ?1), 0) + 1,
        coalesce((SELECT max(goal_id) FROM tasks WHERE sid = ?1), 0) + 1,
        coalesce((SELECT max(goal_id) FROM requests WHERE sid = ?1), 0) + 1)
WHERE sid = ?1
"""
BURY = """
INSERT INTO entries (sid, memory_id, kind, role, content, created_ms, in_ram, version, related_to, sources)
VALUES (?1, ?2, 'tombstone', 'system', ?3, ?4, 0, 1, ?2, '[]') ON CONFLICT DO NOTHING
"""
# A plan's tasks are numbered from 1; a running goal with a hole among them could never end.
BROKEN_GOALS = """
SELECT g.sid, g.goal_id FROM goals g
WHERE g.state IN ('queued', 'running', 'interrupted') AND (
    SELECT count(*) = 0 OR count(*) <> max(task_id) FROM tasks t
    WHERE t.sid = g.sid AND t.goal_id = g.goal_id
)
"""
FAIL_TASKS = """
UPDATE tasks SET state = 'failed', code = 'internal', ended_ms = ?3, detail = ?4
WHERE sid = ?1 AND goal_id = ?2 AND state IN ('queued', 'running', 'interrupted')
"""
FAIL_GOAL = "UPDATE goals SET state = 'failed', ended_ms = ?3 WHERE sid = ?1 AND goal_id = ?2"
FAIL_REQUESTS = """
UPDATE requests SET state = 'failed' WHERE state = 'open' AND goal_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM goals g WHERE g.sid = requests.sid AND g.goal_id = requests.goal_id
        AND g.state IN ('queued', 'running', 'interrupted')
)
"""
# An unanswered message whose text is gone cannot be answered.
FAIL_CHATS = """
UPDATE requests SET state = 'failed' WHERE state = 'open' AND goal_id IS NULL AND NOT EXISTS (
    SELECT 1 FROM entries e WHERE e.sid = requests.sid AND e.memory_id = requests.memory_id
        AND e.kind = 'entry'
)
"""


@dataclass(slots=True)
class Mended:
    """What had to be put right, for the report."""

    rebuilt: list[int] = field(default_factory=list)
    """Sessions whose own row was lost and whose key and owner are known."""
    ownerless: list[int] = field(default_factory=list)
    """Sessions whose key or owner is lost: their rows are kept, but no client can attach."""
    buried: int = 0
    """Lost memories that left a tombstone."""
    failed_goals: list[tuple[int, int]] = field(default_factory=list)
    failed_requests: int = 0


def mend(
    target: sqlite3.Connection,
    copies: Mapping[str, Copied],
    named: Mapping[str, Named],
    owners: Mapping[int, tuple[str, str]],
    now_ms: int,
) -> Mended:
    """Put the copied rows right, in the caller's transaction, and note in `copies` what is lost.

    `named` is what the damaged indexes say was there, `owners` principal and agent by sid.
    """
    mended = Mended()
    _note_lost(target, copies, named)
    _rebuild_sessions(target, named, owners, mended, now_ms)
    _raise_counters(target, copies, named)
    moment = datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for sid, memory_id in copies["entries"].lost:
        content = f"[lost:{memory_id}] {moment} its page of the database was damaged"
        mended.buried += target.execute(BURY, (sid, memory_id, content, now_ms)).rowcount
    for kind, name in (("memory", "entries"), ("event", "events")):
        for sid, first, last, count in ranges(copies[name].lost):
            note_removal(target, sid, kind, first, last, count, REASON, now_ms)
    _end_broken_work(target, mended, now_ms)
    return mended


def ranges(lost: Iterable[tuple[int, object]]) -> list[tuple[int, int, int, int]]:
    """(sid, first, last, count) of each run of numbered ids, in order."""
    runs: list[tuple[int, int, int, int]] = []
    for sid, number in sorted((sid, number) for sid, number in lost if isinstance(number, int)):
        if runs and runs[-1][0] == sid and runs[-1][2] + 1 == number:
            runs[-1] = (sid, runs[-1][1], number, runs[-1][3] + 1)
        else:
            runs.append((sid, number, number, 1))
    return runs


def _note_lost(target: sqlite3.Connection, copies: Mapping[str, Copied], named: Mapping[str, Named]) -> None:
    columns = {
        "sessions": "sid, key",
        "entries": "sid, memory_id",
        "events": "sid, seq",
        "requests": "sid, request",
    }
    for name, identity in columns.items():
        present = set(target.execute(f"SELECT {identity} FROM {name}"))  # noqa: S608 - constant names
        copies[name].lost = sorted(
            {(sid, number) for sid, number, _ in named[name].rows if (sid, number) not in present}, key=repr
        )


def _rebuild_sessions(
    target: sqlite3.Connection,
    named: Mapping[str, Named],
    owners: Mapping[int, tuple[str, str]],
    mended: Mended,
    now_ms: int,
) -> None:
    keys = {sid: key for sid, key, _ in named["sessions"].rows if isinstance(key, str) and key}
    there = {sid for (sid,) in target.execute("SELECT sid FROM sessions")}
    wanted = {sid for (sid,) in target.execute(SIDS)} | set(keys)
    for sid in sorted(wanted - there):
        key = keys.get(sid) or _key_in_events(target, sid)
        owner = owners.get(sid)
        if key is None or owner is None:
            # Nobody can know this key, and no principal has an empty name.
            mended.ownerless.append(sid)
            key, owner = key or f"lost-{secrets.token_hex(16)}", owner or ("", "default")
        last, first = target.execute(LAST_SEEN, (sid,)).fetchone()
        row = (sid, key, *owner, first or now_ms, last or now_ms)
        if target.execute(REBUILD, row).rowcount == 0:
            target.execute(REBUILD, (sid, f"lost-{secrets.token_hex(16)}", *row[2:]))
            mended.ownerless.append(sid)
        elif sid not in mended.ownerless:
            mended.rebuilt.append(sid)


def _key_in_events(target: sqlite3.Connection, sid: int) -> str | None:
    row = target.execute(FRAME, (sid,)).fetchone()
    if row is None:
        return None
    key = json.loads(row[0]).get("sessionKey")
    return key if isinstance(key, str) and key else None


def _raise_counters(
    target: sqlite3.Connection, copies: Mapping[str, Copied], named: Mapping[str, Named]
) -> None:
    seqs, memories = _highest(named["events"]), _highest(named["entries"])
    # Rows that nothing names may have gone beyond what can be seen, by as many as there were.
    beyond_seq = 0 if named["events"].whole else _possible(copies["events"])
    beyond_memory = 0 if named["entries"].whole else _possible(copies["entries"])
    rebuilt = {sid for sid, _ in copies["sessions"].lost}
    for (sid,) in target.execute("SELECT sid FROM sessions").fetchall():
        unsure = sid in rebuilt or not copies["sessions"].whole
        target.execute(
            RAISE,
            (
                sid,
                beyond_seq if unsure else 0, seqs.get(sid, 0),
                beyond_memory if unsure else 0, memories.get(sid, 0),
                _possible(copies["goals"]) if unsure else 0,
            ),
        )  # fmt: skip


def _highest(named: Named) -> dict[int, int]:
    found: dict[int, int] = {}
    for sid, number, _ in named.rows:
        if isinstance(number, int):
            found[sid] = max(number, found.get(sid, 0))
    return found


def _possible(copied: Copied) -> int:
    """How many rows may be missing at most."""
    spans = sum(
        gap.cells or (ROWS_A_PAGE if gap.low is None or gap.high is None else gap.high - gap.low + 1)
        for gap in copied.gaps
    )
    return len(copied.refused) + spans


def _end_broken_work(target: sqlite3.Connection, mended: Mended, now_ms: int) -> None:
    for sid, goal_id in target.execute(BROKEN_GOALS).fetchall():
        target.execute(FAIL_TASKS, (sid, goal_id, now_ms, REASON))
        target.execute(FAIL_GOAL, (sid, goal_id, now_ms))
        mended.failed_goals.append((sid, goal_id))
    for statement in (FAIL_REQUESTS, FAIL_CHATS):
        mended.failed_requests += target.execute(statement).rowcount
