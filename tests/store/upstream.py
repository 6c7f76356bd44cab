"""Writes files as the original program did (reference compatibility.md, 3.2 to 3.4 and 2.10)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

KEY = "Qm3vT7xLr9KcZp2WfYb8NdHs5JgAe6Uo"
OTHER_KEY = "A" * 32

SCHEMA = """
CREATE TABLE sessions (session_id TEXT PRIMARY KEY, created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL, next_id INTEGER NOT NULL);
CREATE TABLE ram_snapshots (id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL REFERENCES sessions (session_id), timestamp_ms INTEGER NOT NULL,
    reason TEXT NOT NULL, next_id INTEGER NOT NULL, entry_count INTEGER NOT NULL,
    summary_count INTEGER NOT NULL);
CREATE TABLE summaries (id INTEGER PRIMARY KEY AUTOINCREMENT, snapshot_id INTEGER NOT NULL,
    memory_id INTEGER NOT NULL, source_id INTEGER NOT NULL, text TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL);
CREATE TABLE entries (id INTEGER PRIMARY KEY AUTOINCREMENT, snapshot_id INTEGER NOT NULL,
    memory_id INTEGER NOT NULL, role TEXT NOT NULL, state TEXT NOT NULL, related_to INTEGER,
    content TEXT NOT NULL, created_at_ms INTEGER NOT NULL);
CREATE TABLE ltm_events (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL,
    event_type TEXT NOT NULL, memory_id INTEGER, created_at_ms INTEGER NOT NULL, details TEXT);
"""

Row = dict[str, Any]


def active(number: int, content: str, role: str = "user") -> Row:
    """An entry in RAM."""
    return {"id": number, "role": role, "state": "active", "content": content, "related_to": None}


def tombstone(number: int, about: int) -> Row:
    """What is left of an evicted entry."""
    content = f"[evicted:{about}] [evicted context entry]"
    return {"id": number, "role": "system", "state": "tombstone", "content": content, "related_to": about}


def summary(number: int, source: int, text: str, at_ms: int) -> Row:
    """A summary of one entry."""
    return {"id": number, "source_id": source, "text": f"[summary:{source}] {text}", "created_at_ms": at_ms}


def archive(
    moment: int,
    entries: list[Row],
    summaries: Sequence[Row] = (),
    *,
    session: str = KEY,
    reason: str = "slash-new",
) -> Row:
    """One snapshot as its JSON file has it."""
    ids = [row["id"] for row in [*entries, *summaries] if isinstance(row["id"], int)]
    return {
        "version": 1, "timestamp_ms": moment, "session_id": session, "reason": reason,
        "next_id": max(ids, default=0) + 1, "entries": entries, "summaries": list(summaries),
    }  # fmt: skip


def write_database(folder: Path, archives: list[Row]) -> None:
    """A memory.db with these snapshots."""
    folder.mkdir(exist_ok=True)
    connection = sqlite3.connect(folder / "memory.db")
    connection.executescript(SCHEMA)
    for each in archives:
        connection.execute(
            "INSERT OR IGNORE INTO sessions VALUES (?, ?, ?, ?)",
            (each["session_id"], each["timestamp_ms"], each["timestamp_ms"], each["next_id"]),
        )
        number = connection.execute(
            "INSERT INTO ram_snapshots (session_id, timestamp_ms, reason, next_id, entry_count, "
            "summary_count) VALUES (?, ?, ?, ?, ?, ?)",
            (
                each["session_id"], each["timestamp_ms"], each["reason"], each["next_id"],
                len(each["entries"]), len(each["summaries"]),
            ),
        ).lastrowid  # fmt: skip
        connection.executemany(
            "INSERT INTO summaries (snapshot_id, memory_id, source_id, text, created_at_ms) "
            "VALUES (?, ?, ?, ?, ?)",
            [(number, s["id"], s["source_id"], s["text"], s["created_at_ms"]) for s in each["summaries"]],
        )
        connection.executemany(
            "INSERT INTO entries (snapshot_id, memory_id, role, state, related_to, content, created_at_ms) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (number, e["id"], e["role"], e["state"], e["related_to"], e["content"], each["timestamp_ms"])
                for e in each["entries"]
            ],
        )
    connection.commit()
    connection.close()


def write_archive(folder: Path, each: Row, *, indexed: bool = True, path: str | None = None) -> Path:
    """A snapshot file, and its line in the index."""
    folder.mkdir(exist_ok=True)
    name = f"{each['session_id']}-{each['timestamp_ms']}.json"
    (folder / name).write_text(json.dumps(each))
    if indexed:
        line = {
            "version": 1, "timestamp_ms": each["timestamp_ms"], "session_id": each["session_id"],
            "reason": each["reason"], "archive_path": path or f".spiderweb-ltm/{name}",
            "next_id": each["next_id"], "entry_count": len(each["entries"]),
            "summary_count": len(each["summaries"]),
        }  # fmt: skip
        with (folder / "archive-index.ndjson").open("a") as index:
            index.write(json.dumps(line) + "\n")
    return folder / name


def write_state(home: Path, sessions: list[Row], version: int = 1) -> None:
    """A session-state file."""
    (home / ".spiderweb-session-state.json").write_text(
        json.dumps({"version": version, "sessions": sessions})
    )


def state(entries: list[Row], summaries: Sequence[Row] = (), *, session: str = KEY, **more: Any) -> Row:
    """One session of the state file."""
    ids = [row["id"] for row in [*entries, *summaries] if isinstance(row["id"], int)]
    return {
        "session_id": session, "next_id": max(ids, default=0) + 1, "entries": entries,
        "summaries": list(summaries), **more,
    }  # fmt: skip
