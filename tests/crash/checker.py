"""Holding the database of a dead daemon against everything that its clients were told."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from spiderwebd.store.store import DATABASE
from tests.crash.traffic import APPENDED, Broken, Client


def check(state_directory: Path, copies: Path, clients: Sequence[Client]) -> int:
    """Check a copy of the files as the crash left them; return how many events the log holds.

    Raises Broken. A copy, because opening the database would already repair what the next start of the
    daemon must be able to repair itself.
    """
    copies.mkdir(exist_ok=True)
    for suffix in ("", "-wal"):
        shutil.rmtree(copies / f"{DATABASE}{suffix}", ignore_errors=True)
        (copies / f"{DATABASE}{suffix}").unlink(missing_ok=True)
        source = state_directory / f"{DATABASE}{suffix}"
        if source.exists():
            shutil.copyfile(source, copies / f"{DATABASE}{suffix}")
    (copies / f"{DATABASE}-shm").unlink(missing_ok=True)
    if not any(client.key for client in clients) and not (state_directory / DATABASE).exists():
        return 0  # killed before there was a database
    with closing(sqlite3.connect(copies / DATABASE)) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchall()
        if found != [("ok",)]:
            raise Broken(f"integrity_check: {found}")
        if connection.execute("PRAGMA foreign_key_check").fetchall():
            raise Broken("foreign keys are broken")
        for client in clients:
            if client.key is not None:
                _check_client(connection, client)
                _check_files(state_directory, connection, client)
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            return 0  # killed before its first table
        return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])


def _check_client(connection: sqlite3.Connection, client: Client) -> None:
    row = connection.execute("SELECT sid, seq FROM sessions WHERE key = ?", (client.key,)).fetchone()
    if row is None:
        raise Broken(f"client {client.number}: its session is not on the disk")
    sid, last = row
    who = f"client {client.number} (session {sid})"
    _check_events(connection, client, sid, last, who)
    _check_memories(connection, client, sid, who)
    _check_goals(connection, client, sid, who)


def _check_events(connection: sqlite3.Connection, client: Client, sid: int, last: int, who: str) -> None:
    events = dict(connection.execute("SELECT seq, frame FROM events WHERE sid = ? ORDER BY seq", (sid,)))
    if events and list(events) != list(range(min(events), last + 1)):
        raise Broken(f"{who}: seqs {min(events)} to {max(events)} have a gap, or end before {last}")
    durable = [seq for seq in client.frames if seq not in client.undurable]
    if durable and max(durable) > last:
        raise Broken(f"{who}: was sent seq {max(durable)}, the disk ends at {last}")
    for seq, frame in client.frames.items():
        if seq in events and seq not in client.undurable and json.loads(events[seq]) != frame:
            raise Broken(f"{who}: seq {seq} was {frame}, on the disk it is {events[seq]}")
    twice = connection.execute(
        "SELECT request, count(*) FROM events WHERE sid = ? AND type = 'session.accepted' "
        "GROUP BY request HAVING count(*) > 1",
        (sid,),
    ).fetchall()
    if twice:
        raise Broken(f"{who}: done more than once: {twice}")


def _check_memories(connection: sqlite3.Connection, client: Client, sid: int, who: str) -> None:
    stored = {
        memory: (kind, content)
        for memory, kind, content in connection.execute(
            "SELECT memory_id, kind, content FROM entries WHERE sid = ?", (sid,)
        )
    }
    for memory, texts in client.memories.items():
        if memory not in stored:
            raise Broken(f"{who}: memory {memory} was acknowledged and is gone")
        if stored[memory][1] not in texts:
            raise Broken(f"{who}: memory {memory} is {stored[memory]}, not one of {texts}")
    places: dict[str, set[int]] = {}
    for memory, content in connection.execute(
        "SELECT memory_id, content FROM entries WHERE sid = ?1 AND kind = 'entry' "
        "UNION SELECT memory_id, content FROM versions WHERE sid = ?1",
        (sid,),
    ):
        places.setdefault(content, set()).add(memory)
    for request, text in client.created.items():
        times = len(places.get(text, ()))
        if times > 1 or (times == 0 and request in client.accepted):
            raise Broken(f"{who}: {request} was done {times} times")
    ends = client.task_ends()
    for request, text in client.remembered.items():
        times = len(places.get(text, ()))
        if times != (ends.get((request, 1)) == "complete") and (times, ends.get((request, 1))) != (1, None):
            raise Broken(f"{who}: the task of {request} ({ends.get((request, 1))}) was done {times} times")
    known = {row[0] for row in connection.execute("SELECT request FROM requests WHERE sid = ?", (sid,))}
    for request in client.accepted:
        if request.startswith("c") and request not in known:
            raise Broken(f"{who}: the daemon has forgotten that it did {request}")


def _check_goals(connection: sqlite3.Connection, client: Client, sid: int, who: str) -> None:
    states = {
        (request, task): state
        for request, task, state in connection.execute(
            "SELECT g.request, t.task_id, t.state FROM tasks t "
            "JOIN goals g ON g.sid = t.sid AND g.goal_id = t.goal_id WHERE t.sid = ?",
            (sid,),
        )
    }
    for place, state in client.task_ends().items():
        if states.get(place) != state:
            raise Broken(f"{who}: task {place} was told {state}, on the disk it is {states.get(place)}")


def _check_files(state_directory: Path, connection: sqlite3.Connection, client: Client) -> None:
    """A task that appends is done once if it was told complete, and never twice, whatever was told."""
    sid = connection.execute("SELECT sid FROM sessions WHERE key = ?", (client.key,)).fetchone()[0]
    path = state_directory / "files" / str(sid) / APPENDED
    lines = Counter(path.read_text().splitlines() if path.exists() else [])
    ends = client.task_ends()
    for request, line in client.appended.items():
        end, times = ends.get((request, 1)), lines[line]
        if times > 1 or (times == 0 and end == "complete"):
            raise Broken(f"client {client.number}: {request} ({end}) appended {times} times")


def check_rest(state_directory: Path, clients: Sequence[Client]) -> None:
    """Check a database that was left in peace: nothing is open, and every request had its one outcome.

    Raises Broken. The clients have heard their stories to the end.
    """
    with closing(sqlite3.connect(state_directory / DATABASE)) as connection:
        for table, open_states in (
            ("requests", "('open')"),
            ("goals", "('queued', 'running', 'interrupted')"),
            ("tasks", "('queued', 'running', 'interrupted')"),
        ):
            rows = connection.execute(f"SELECT * FROM {table} WHERE state IN {open_states}").fetchall()
            if rows:
                raise Broken(f"still open in {table}: {rows}")
    for client in clients:
        outcomes = client.outcomes()
        for request in client.asked:
            if request in client.accepted and outcomes[request] != 1:
                raise Broken(f"client {client.number}: {request} had {outcomes[request]} outcomes")
