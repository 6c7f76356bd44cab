"""Import of another program's memory: every snapshot becomes entries, summaries and an archive marker.

Idempotent: each snapshot is remembered by session, moment and content, so importing again adds only
what is new. The files are only read. A session keeps its key and becomes the given principal's, with
agent `default`; what stood in RAM last stands in RAM again, as the original would have restored it.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
import time
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from spiderwebd.core.records import ArchiveRecord, EntryKind, EntryRecord, Record, SessionRecord
from spiderwebd.store.changes import PUT_ARCHIVE, archive_row
from spiderwebd.store.legacy_formats import STATE_MOMENT, Item, Snapshot, read_all
from spiderwebd.store.schema import claim, open_writer, transaction
from spiderwebd.store.tables import ENTRY_COLUMNS, SESSION_COLUMNS, entry_of, write

AGENT = "default"
"""The original kept no agent with a session, except in a table that nothing read."""

AUTO_SNAPSHOT = "memory-manager auto snapshot"
"""The one reason after which ids went on; after any other (a reset) they began at 1 again."""

RAM_ENTRIES = 64
RAM_BYTES = 16_384
"""What the original's RAM held, and so what it restored."""

KEY = re.compile(r"[A-Za-z0-9]{32}")
"""A session key as the original made them; a session with any other id gets a new key."""

MOMENTS = "SELECT moment, digest FROM imports WHERE session = ?"
REMEMBER = "INSERT INTO imports (session, moment, digest, sid, at_ms) VALUES (?, ?, ?, ?, ?)"
SID_OF = "SELECT sid FROM imports WHERE session = ? LIMIT 1"
SESSION = f"SELECT {SESSION_COLUMNS} FROM sessions WHERE sid = ?"  # noqa: S608 - constant columns
KEY_USED = "SELECT 1 FROM sessions WHERE key = ?"
STORED = f"SELECT {ENTRY_COLUMNS} FROM entries WHERE sid = ?"  # noqa: S608 - constant columns


@dataclass(slots=True)
class ImportReport:
    """What an import did."""

    sessions: int = 0
    snapshots: int = 0
    known: int = 0
    """Snapshots imported before."""
    entries: int = 0
    summaries: int = 0
    tombstones: int = 0
    renumbered: list[str] = field(default_factory=list)
    """Sessions in which ids collided after a reset, and what became of them."""
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For people, a line each."""
        lines = [
            f"imported {self.snapshots} snapshots of {self.sessions} sessions: {self.entries} entries, "
            f"{self.summaries} summaries, {self.tombstones} tombstones; "
            f"{self.known} snapshots were imported before"
        ]
        lines += [f"renumbered: {line}" for line in self.renumbered]
        lines += [f"problem: {line}" for line in self.problems]
        return "\n".join(lines)


def import_directory(
    database: Path, directory: Path, principal: str, now_ms: int | None = None
) -> ImportReport:
    """Import all that `directory` holds into the store at `database`, for `principal`.

    `directory` is the original's working directory or its `.spiderweb-ltm` folder. Each session is
    one transaction; one that fails is reported and does not keep the others back. Raises
    StoreInUseError while a daemon runs on that store, and what schema.open_writer raises.
    """
    report = ImportReport()
    found = read_all(directory)
    report.problems.extend(found.problems)
    if not found.snapshots:
        return report
    now = int(time.time() * 1000) if now_ms is None else now_ms
    with claim(database):
        connection = open_writer(database)
        try:
            by_session = sorted(found.snapshots, key=lambda snapshot: snapshot.session)
            for session, snapshots in groupby(by_session, key=lambda snapshot: snapshot.session):
                _import_session(connection, session, list(snapshots), principal, now, report)
        finally:
            connection.close()
    return report


def _import_session(
    connection: sqlite3.Connection,
    session: str,
    snapshots: list[Snapshot],
    principal: str,
    now_ms: int,
    report: ImportReport,
) -> None:
    try:
        with transaction(connection):
            known = connection.execute(MOMENTS, (session,)).fetchall()
            new = [each for each in snapshots if (each.moment, each.digest) not in known]
            report.known += len(snapshots) - len(new)
            if not new:
                return
            merger = _Merger(_session_row(connection, session, principal, new, now_ms), now_ms)
            for row in connection.execute(STORED, (merger.session.sid,)):
                merger.keep(entry_of(row))
            for snapshot in new:
                merger.add(snapshot)
            write(connection, [merger.records(new[-1])])
            # Not through write: the marker of an old reset must not empty the RAM of today.
            connection.executemany(PUT_ARCHIVE, [archive_row(record) for record in merger.archives])
            connection.executemany(
                REMEMBER,
                [(session, each.moment, each.digest, merger.session.sid, now_ms) for each in new],
            )
    except (sqlite3.Error, ValueError, OverflowError) as error:
        report.problems.append(f"session {session[:4]}...: not imported: {error}")
        return
    report.sessions += 1
    report.snapshots += len(new)
    report.entries += merger.count(EntryKind.ENTRY)
    report.summaries += merger.count(EntryKind.SUMMARY)
    report.tombstones += merger.count(EntryKind.TOMBSTONE)
    if merger.moved:
        # A key is a secret: its first letters tell sessions apart well enough.
        pairs = ", ".join(f"{old}->{given}" for old, given in merger.moved[:8])
        more = f" and {len(merger.moved) - 8} more" if len(merger.moved) > 8 else ""
        report.renumbered.append(f"session {session[:4]}...: ids taken already: {pairs}{more}")


def _session_row(
    connection: sqlite3.Connection, session: str, principal: str, snapshots: list[Snapshot], now_ms: int
) -> SessionRecord:
    """The session's row as it stands, or the one it begins with."""
    known = connection.execute(SID_OF, (session,)).fetchone()
    if known is not None:
        return SessionRecord(*connection.execute(SESSION, known).fetchone())
    sid = 1 + int(connection.execute("SELECT max(sid) FROM sessions").fetchone()[0] or 0)
    key = session
    if not KEY.fullmatch(session) or connection.execute(KEY_USED, (session,)).fetchone() is not None:
        key = secrets.token_hex(16)
    moments = [snapshot.moment for snapshot in snapshots if snapshot.moment != STATE_MOMENT]
    return SessionRecord(
        sid, key, principal, AGENT, min(moments, default=now_ms), max(moments, default=now_ms), 1, 1, 0,
        "running", "", 0, "{}",
    )  # fmt: skip


class _Merger:
    """Makes one sequence of memories out of snapshots that are each a full copy of RAM.

    Within one life (until a reset) an id is one memory, and appears in many snapshots. Ids are kept
    where that keeps the order of time; else the memory gets the next free one.
    """

    def __init__(self, session: SessionRecord, now_ms: int) -> None:
        self.session = session
        self.moved: list[tuple[int, int]] = []
        self._now_ms = now_ms
        self._stored: dict[tuple[EntryKind, str, str], int] = {}
        self._new: dict[int, EntryRecord] = {}
        self.archives: list[ArchiveRecord] = []
        self._life: dict[int, tuple[Item, int]] = {}
        self._highest = session.next_memory_id - 1
        self._floor = self._highest
        self._last: dict[int, Item] = {}

    def keep(self, record: EntryRecord) -> None:
        """Take note of what the store has of this session from an earlier import."""
        self._stored[record.kind, record.role, record.content] = record.memory_id

    def add(self, snapshot: Snapshot) -> None:
        """Merge one snapshot; they must come oldest first."""
        at_ms = self._now_ms if snapshot.moment == STATE_MOMENT else snapshot.moment
        self._last = {}
        for item in snapshot.items:
            self._last[self._place(item, at_ms)] = item
        active = sum(1 for item in snapshot.items if item.kind == "entry")
        summaries = sum(1 for item in snapshot.items if item.kind == "summary")
        cleared = snapshot.moment != STATE_MOMENT and snapshot.reason != AUTO_SNAPSHOT
        self.archives.append(
            ArchiveRecord(
                self.session.sid, at_ms, snapshot.reason, self._highest + 1, active, summaries, cleared
            )
        )
        if cleared:
            self._life = {}
            self._floor = self._highest

    def count(self, kind: EntryKind) -> int:
        """How many memories of a kind are new."""
        return sum(1 for record in self._new.values() if record.kind is kind)

    def records(self, newest: Snapshot) -> list[Record]:
        """All that is to be written. `newest` says what stands in RAM now."""
        session = self.session
        session = SessionRecord(
            session.sid, session.key, session.principal, session.agent, session.created_ms,
            max(session.active_ms, self.archives[-1].at_ms), max(self._highest + 1, newest.next_id),
            session.next_goal_id, session.seq, newest.mode, newest.last_goal, session.revision,
            session.extra,
        )  # fmt: skip
        return [session, *(self._new[each] for each in sorted(self._new)), *self._in_ram()]

    def _place(self, item: Item, at_ms: int) -> int:
        known = self._life.get(item.id)
        if known is not None and known[0] == item:
            return known[1]
        kind = EntryKind(item.kind)
        stored = self._stored.get((kind, item.role, item.content))
        if stored is not None:
            self._life[item.id] = (item, stored)
            return stored
        free = item.id > self._floor and item.id not in self._new
        given = item.id if free else self._highest + 1
        if given != item.id:
            self.moved.append((item.id, given))
        self._highest = max(self._highest, given)
        self._life[item.id] = (item, given)
        about = self._life.get(item.related_to) if item.related_to not in (None, item.id) else None
        related = about[1] if about is not None else None
        self._new[given] = EntryRecord(
            self.session.sid, given, kind, item.role, item.content,
            at_ms if item.created_ms is None else item.created_ms,
            in_ram=False, related_to=related,
            sources=(related,) if kind is EntryKind.SUMMARY and related is not None else (),
        )  # fmt: skip
        return given

    def _in_ram(self) -> list[Record]:
        """Rows of the newest snapshot that fit, newest first, as the original chose (its 3.6)."""
        chosen: list[Record] = []
        count = size = 0
        for given, item in sorted(self._last.items(), reverse=True):
            record = self._new.get(given)
            if record is None or item.kind == "tombstone":
                continue
            if item.kind == "summary" and record.related_to is None:
                continue  # its source was lost there; it is found in the LTM
            if item.kind == "entry":
                length = len(item.content.encode())
                if count >= RAM_ENTRIES or size + length > RAM_BYTES:
                    continue
                count += 1
                size += length
            chosen.append(
                EntryRecord(
                    record.sid,
                    given,
                    record.kind,
                    record.role,
                    record.content,
                    record.created_ms,
                    True,
                    record.version,
                    record.name,
                    record.related_to,
                    record.sources,
                )
            )
        return chosen
