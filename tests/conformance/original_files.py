"""Writes what the original left on disk, to compatibility sections 2.10, 3.1, 3.2 and 3.4."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = ".spiderweb-ltm"
STATE_FILE = ".spiderweb-session-state.json"

TABLES = """
PRAGMA journal_mode = DELETE;
CREATE TABLE sessions (
  session_id TEXT PRIMARY KEY, created_at_ms INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL,
  next_id INTEGER NOT NULL);
CREATE TABLE ram_snapshots (
  id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL, timestamp_ms INTEGER NOT NULL,
  reason TEXT NOT NULL, next_id INTEGER NOT NULL, entry_count INTEGER NOT NULL,
  summary_count INTEGER NOT NULL, FOREIGN KEY (session_id) REFERENCES sessions (session_id));
CREATE TABLE summaries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, snapshot_id INTEGER NOT NULL, memory_id INTEGER NOT NULL,
  source_id INTEGER NOT NULL, text TEXT NOT NULL, created_at_ms INTEGER NOT NULL,
  FOREIGN KEY (snapshot_id) REFERENCES ram_snapshots (id));
CREATE TABLE entries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, snapshot_id INTEGER NOT NULL, memory_id INTEGER NOT NULL,
  role TEXT NOT NULL, state TEXT NOT NULL, related_to INTEGER NULL, content TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL, FOREIGN KEY (snapshot_id) REFERENCES ram_snapshots (id));
CREATE TABLE ltm_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL, event_type TEXT NOT NULL,
  memory_id INTEGER NULL, created_at_ms INTEGER NOT NULL, details TEXT NULL);
CREATE INDEX idx_ram_snapshots_session ON ram_snapshots (session_id, timestamp_ms);
CREATE INDEX idx_summaries_snapshot ON summaries (snapshot_id);
CREATE INDEX idx_entries_snapshot ON entries (snapshot_id);
"""

Item = dict[str, Any]


def entry(number: int, role: str, content: str, about: int | None = None) -> Item:
    """An entry; with `about` it is the tombstone of that one."""
    state = "active" if about is None else "tombstone"
    return {"id": number, "role": role, "state": state, "content": content, "related_to": about}


def summary(number: int, source: int, text: str, at_ms: int) -> Item:
    """A summary of one entry."""
    return {"id": number, "source_id": source, "text": f"[summary:{source}] {text}", "created_at_ms": at_ms}


def snapshot(
    session: str, at_ms: int, reason: str, entries: Sequence[Item], summaries: Sequence[Item] = ()
) -> Item:
    """A copy of one session's RAM, as a snapshot file holds it."""
    next_id = 1 + max(item["id"] for item in [*entries, *summaries])
    return {
        "version": 1, "timestamp_ms": at_ms, "session_id": session, "reason": reason, "next_id": next_id,
        "entries": list(entries), "summaries": list(summaries),
    }  # fmt: skip


def write_database(home: Path, snapshots: Sequence[Item]) -> None:
    """Write `.spiderweb-ltm/memory.db` under `home`."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(folder / "memory.db")
    connection.executescript(TABLES)
    for each in snapshots:
        session, at_ms = each["session_id"], each["timestamp_ms"]
        connection.execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?) ON CONFLICT (session_id)"
            " DO UPDATE SET updated_at_ms = excluded.updated_at_ms, next_id = excluded.next_id",
            (session, at_ms, at_ms, each["next_id"]),
        )
        counts = (len(each["entries"]), len(each["summaries"]))
        key = connection.execute(
            "INSERT INTO ram_snapshots VALUES (NULL, ?, ?, ?, ?, ?, ?)",
            (session, at_ms, each["reason"], each["next_id"], *counts),
        ).lastrowid
        connection.executemany(
            f"INSERT INTO summaries VALUES (NULL, {key}, :id, :source_id, :text, :created_at_ms)",
            each["summaries"],
        )
        connection.executemany(
            f"INSERT INTO entries VALUES (NULL, {key}, :id, :role, :state, :related_to, :content, {at_ms})",
            each["entries"],
        )
        connection.execute(
            "INSERT INTO ltm_events VALUES (NULL, ?, 'snapshot', NULL, ?, ?)",
            (session, at_ms, each["reason"]),
        )
    connection.commit()
    connection.close()


def index_line(each: Item, **changed: object) -> str:
    """The line of archive-index.ndjson for a snapshot, with some fields changed."""
    path = f"{FOLDER}/{each['session_id']}-{each['timestamp_ms']}.json"
    line = {name: each[name] for name in ("version", "timestamp_ms", "session_id", "reason")}
    counts = {"entry_count": len(each["entries"]), "summary_count": len(each["summaries"])}
    return json.dumps({**line, "archive_path": path, "next_id": each["next_id"], **counts, **changed}) + "\n"


def write_archive(home: Path, each: Item) -> None:
    """Write a snapshot file and append its index line."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(each, ensure_ascii=False)
    (folder / f"{each['session_id']}-{each['timestamp_ms']}.json").write_text(text, "utf-8")
    append_index(home, index_line(each))


def append_index(home: Path, line: str) -> None:
    """Append a line, good or bad, to archive-index.ndjson."""
    with (home / FOLDER / "archive-index.ndjson").open("a") as index:
        index.write(line)


def write_state_file(home: Path, session: str, entries: Sequence[Item], next_id: int) -> None:
    """Write `.spiderweb-session-state.json`, version 2, with one session."""
    fields = {
        "session_id": session, "next_id": next_id, "entries": list(entries), "summaries": [],
        "workerQueueDepth": 0, "workerActiveTasks": 0, "workerMode": "running", "workerDroppedTasks": 0,
        "workerLastSaturationMs": 0, "workerBackpressureNotified": False, "workerLastGoal": "",
    }  # fmt: skip
    (home / STATE_FILE).write_text(json.dumps({"version": 2, "sessions": [fields]}), "utf-8")
