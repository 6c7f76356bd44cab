"""Reading what the program before this one left: its database, its archives and its state file.

Formats: reference compatibility.md, 2.10 and 3.1 to 3.4. Everything is opened for reading only. What
cannot be read is reported and passed over; it never keeps the rest from being read.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

DATABASE = "memory.db"
INDEX = "archive-index.ndjson"
FOLDER = ".spiderweb-ltm"
STATE_FILE = ".spiderweb-session-state.json"

FILE_BYTES = 64 * 1024 * 1024
"""Larger files are not read; the original itself refused archives over 10 MiB."""

ROLES = frozenset({"user", "assistant", "system", "tool", "tool_result"})
STATES = frozenset({"active", "tombstone"})
MODES = frozenset({"running", "paused", "cancelled"})

LARGEST_ID = 2**62
"""Ids above it are damage: they are unsigned 64-bit there, counted up from 1."""

STATE_MOMENT = -1
"""Stands for "now" in the place of a snapshot's timestamp."""

Problem = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a snapshot: an entry, a tombstone or a summary."""

    id: int
    kind: str
    """entry, tombstone or summary."""
    role: str
    content: str
    related_to: int | None
    created_ms: int | None
    """Only summaries know when they were made."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A full copy of one session's RAM at one moment."""

    session: str
    moment: int
    """Wall-clock milliseconds, or STATE_MOMENT."""
    reason: str
    next_id: int
    items: tuple[Item, ...]
    """In MemoryID order."""
    origin: str
    mode: str = "running"
    last_goal: str = ""

    @property
    def digest(self) -> str:
        """Of the content: the same snapshot in the database and in a file has the same one."""
        rows = [[item.id, item.kind, item.role, item.content] for item in self.items]
        return blake2b(json.dumps([self.next_id, rows]).encode(), digest_size=16).hexdigest()


@dataclass(slots=True)
class Found:
    """All snapshots of a folder, oldest first for each session, and what could not be read."""

    snapshots: list[Snapshot] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_all(directory: Path) -> Found:
    """Read a state directory of the original, or its `.spiderweb-ltm` folder itself.

    The database comes first; an archive file for a moment that it has too is the same snapshot.
    """
    folder = directory / FOLDER if (directory / FOLDER).is_dir() else directory
    home = folder.parent if folder.name == FOLDER else folder
    found = Found()
    problem = found.problems.append
    moments: set[tuple[str, int]] = set()
    current: list[Snapshot] = []
    for snapshot in chain(
        read_database(folder / DATABASE, problem),
        read_archives(folder, problem),
        read_state(home / STATE_FILE, problem),
    ):
        place = (snapshot.session, snapshot.moment)
        if place in moments or not snapshot.items:
            continue
        moments.add(place)
        (current if snapshot.moment == STATE_MOMENT else found.snapshots).append(snapshot)
    found.snapshots.sort(key=lambda snapshot: snapshot.moment)
    found.snapshots.extend(current)
    return found


def read_database(path: Path, problem: Problem) -> Iterator[Snapshot]:
    """Snapshots of a memory.db, as far as it can be read."""
    if not path.is_file():
        return
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        problem(f"{path}: cannot be opened: {error}")
        return
    # A damaged text must not cost its snapshot; U+FFFD marks the place.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        snapshots = connection.execute(
            "SELECT id, session_id, timestamp_ms, reason, next_id FROM ram_snapshots "
            "ORDER BY timestamp_ms, id"
        ).fetchall()
        for number, session, moment, reason, next_id in snapshots:
            where = f"{path}: snapshot {number}"
            entries = connection.execute(
                "SELECT memory_id, role, state, content, related_to FROM entries WHERE snapshot_id = ?",
                (number,),
            )
            rows = [dict(zip(ENTRY_FIELDS, row, strict=True)) for row in entries]
            summaries = connection.execute(
                "SELECT memory_id, source_id, text, created_at_ms FROM summaries WHERE snapshot_id = ?",
                (number,),
            )
            texts = [dict(zip(SUMMARY_FIELDS, row, strict=True)) for row in summaries]
            yield Snapshot(
                str(session),
                int(moment),
                str(reason),
                int(next_id),
                _items(rows, texts, where, problem),
                where,
            )
    except (sqlite3.Error, TypeError, ValueError) as error:
        problem(f"{path}: cannot be read to the end: {error}")
    finally:
        connection.close()


ENTRY_FIELDS = ("id", "role", "state", "content", "related_to")
SUMMARY_FIELDS = ("id", "source_id", "text", "created_at_ms")


def read_archives(folder: Path, problem: Problem) -> Iterator[Snapshot]:
    """Snapshots in archive files, the indexed ones first, then those that no index line names.

    The name alone is taken from an index line: a path in it may point anywhere.
    """
    if not folder.is_dir():
        return
    seen: set[Path] = set()
    for number, line in enumerate(_lines(folder / INDEX, problem), 1):
        where = f"{folder / INDEX}:{number}"
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            path = folder / Path(entry["archive_path"]).name
            session, moment, reason = (
                _text(entry["session_id"]),
                entry["timestamp_ms"],
                _text(entry["reason"]),
            )
            if session is None or type(moment) is not int or reason is None:
                raise TypeError("session_id, timestamp_ms or reason has the wrong type")
        except (ValueError, TypeError, KeyError) as error:
            problem(f"{where}: line skipped: {error!r}")
            continue
        seen.add(path)
        snapshot = _archive(path, problem)
        if snapshot is not None:
            yield Snapshot(session, moment, reason, snapshot.next_id, snapshot.items, str(path))
    for path in sorted(folder.glob("*.json")):
        if path not in seen and path.name != STATE_FILE:
            snapshot = _archive(path, problem)
            if snapshot is not None:
                yield snapshot


def read_state(path: Path, problem: Problem) -> Iterator[Snapshot]:
    """What the state file holds of each session: RAM as it stood when the original last ended."""
    document = _document(path, problem) if path.is_file() else None
    if document is None:
        return
    if document.get("version") not in (1, 2) or not isinstance(document.get("sessions"), list):
        problem(f"{path}: version {document.get('version')!r} is not known; versions 1 and 2 are read")
        return
    for number, row in enumerate(document["sessions"]):
        where = f"{path}: session {number}"
        if not isinstance(row, dict) or not isinstance(row.get("session_id"), str):
            problem(f"{where}: skipped, it has no session_id")
            continue
        mode, goal = row.get("workerMode"), row.get("workerLastGoal")
        yield Snapshot(
            _text(row["session_id"]) or "",
            STATE_MOMENT,
            "session state",
            _id(row.get("next_id")) or 0,
            _items(_rows(row, "entries"), _rows(row, "summaries"), where, problem),
            where,
            mode if mode in MODES else "running",
            _text(goal) or "",
        )


def _archive(path: Path, problem: Problem) -> Snapshot | None:
    document = _document(path, problem)
    if document is None:
        return None
    session, moment = _text(document.get("session_id")), document.get("timestamp_ms")
    if session is None or type(moment) is not int:
        problem(f"{path}: skipped, it is no archive (session_id or timestamp_ms is missing)")
        return None
    return Snapshot(
        session,
        moment,
        _text(document.get("reason")) or "",
        _id(document.get("next_id")) or 0,
        _items(_rows(document, "entries"), _rows(document, "summaries"), str(path), problem),
        str(path),
    )


def _items(entries: list[Any], summaries: list[Any], where: str, problem: Problem) -> tuple[Item, ...]:
    found: dict[int, Item] = {}
    for row in entries:
        item = _entry(row)
        if item is None or item.id in found:
            problem(f"{where}: an entry is skipped, it is malformed or its id is used twice")
        else:
            found[item.id] = item
    for row in summaries:
        item = _summary(row)
        if item is None or item.id in found:
            problem(f"{where}: a summary is skipped, it is malformed or its id is used twice")
        else:
            found[item.id] = item
    return tuple(found[key] for key in sorted(found))


def _entry(row: Any) -> Item | None:
    if not isinstance(row, dict) or row.get("role") not in ROLES or row.get("state") not in STATES:
        return None
    number, content = _id(row.get("id")), _text(row.get("content"))
    if number is None or content is None:
        return None
    kind = "tombstone" if row["state"] == "tombstone" else "entry"
    return Item(number, kind, row["role"], content, _id(row.get("related_to")), None)


def _summary(row: Any) -> Item | None:
    if not isinstance(row, dict):
        return None
    number, text, created = _id(row.get("id")), _text(row.get("text")), row.get("created_at_ms")
    if number is None or text is None:
        return None
    at = created if type(created) is int and 0 <= created < LARGEST_ID else None
    return Item(number, "summary", "system", text, _id(row.get("source_id")), at)


def _id(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < LARGEST_ID else None


def _text(value: Any) -> str | None:
    """Text that can be stored: a lone surrogate (a character cut in half) becomes U+FFFD."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _rows(document: dict[str, Any], name: str) -> list[Any]:
    rows = document.get(name, [])
    return rows if isinstance(rows, list) else []


def _document(path: Path, problem: Problem) -> dict[str, Any] | None:
    raw = _bytes(path, problem)
    if raw is None:
        return None
    try:
        # The original cut texts at a byte, so a file may hold half a character.
        document = json.loads(raw.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError) as error:
        problem(f"{path}: skipped, it is not JSON: {error}")
        return None
    if not isinstance(document, dict):
        problem(f"{path}: skipped, it is not a JSON object")
        return None
    return document


def _lines(path: Path, problem: Problem) -> list[str]:
    raw = _bytes(path, problem) if path.is_file() else None
    return [] if raw is None else raw.decode("utf-8", "replace").split("\n")


def _bytes(path: Path, problem: Problem) -> bytes | None:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES + 1)
    except OSError as error:
        problem(f"{path}: skipped: {error.strerror}")
        return None
    if len(raw) > FILE_BYTES:
        problem(f"{path}: skipped, it is larger than {FILE_BYTES} bytes")
        return None
    return raw
