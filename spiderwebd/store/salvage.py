"""Saving what can be read of a damaged database into a new one.

The damaged file is kept beside it under a dated name, with its log, as it was found; a report says what
was not recovered. The new file takes its place in one rename, so a crash at any moment leaves either
the damaged database to be salvaged again, or the new one.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from spiderwebd.store.damage import DamagedError
from spiderwebd.store.mending import mend
from spiderwebd.store.salvage_report import SalvageReport
from spiderwebd.store.salvage_source import Source
from spiderwebd.store.salvage_tables import KEPT, Copied, Receiver
from spiderwebd.store.schema import migrate, transaction

PAUSE_SECONDS = 3_600.0
"""Between two salvages of a running store: a disk that damages files again and again is not helped by
copies that fill it."""


def salvage(path: Path, reason: str, now_ms: int) -> SalvageReport:
    """Write what is readable of the damaged database `path` to a new file beside it, and report.

    `reason` is what was noticed, `now_ms` the wall clock. The
    database itself is not touched: `finish` puts the new file in its place. Raises OSError and
    sqlite3.Error when the new file cannot be written; then nothing has changed.
    """
    unfinished = path.with_name(f"{path.name}.salvaging")
    report = SalvageReport(path, reason, now_ms)
    unfinished.unlink(missing_ok=True)
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(unfinished, isolation_level=None)) as target:
            # A crash leaves a file that is thrown away, and the whole of it is synced at the end.
            target.execute("PRAGMA journal_mode = MEMORY")
            target.execute("PRAGMA synchronous = OFF")
            target.execute("PRAGMA cache_size = -65536")
            with Source(path) as source:
                _fill(source, target, report)
        _sync(unfinished)
        _keep_damaged(path, report)
        unfinished.rename(_salvaged(path))
        _sync(path.parent)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return report


def finish(path: Path) -> bool:
    """Put a salvaged database in the place of the damaged one; False when none waits.

    Also called before each opening, for a salvage that a crash cut off at its last step. No connection
    may be opened meanwhile.
    """
    salvaged = _salvaged(path)
    if not salvaged.exists():
        return False
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    salvaged.rename(path)
    _sync(path.parent)
    return True


def _salvaged(path: Path) -> Path:
    return path.with_name(f"{path.name}.salvaged")


def _fill(source: Source, target: sqlite3.Connection, report: SalvageReport) -> None:
    # Rows are copied into the schema they were written for, and migrated with it.
    migrate(target, upto=source.version)
    target.execute("PRAGMA foreign_keys = OFF")
    present = {name for (name,) in target.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    copies = {kept.name: Copied(kept.name, kept.key) for kept in KEPT}
    with transaction(target):
        receivers = {kept.name: Receiver(target, kept) for kept in KEPT if kept.name in present}
        for name, receiver in receivers.items():
            copies[name].placed = source.knows(name)
            copies[name].gaps = source.rows(receiver)
            receiver.flush()
        source.strays(receivers)
        for name, receiver in receivers.items():
            receiver.flush()
            copies[name].refused = list(receiver.refused)
            count = target.execute(f"SELECT count(*) FROM {name}")  # noqa: S608 - a constant name
            copies[name].rows = int(count.fetchone()[0])
    named = {kept.name: source.named(kept) for kept in KEPT}
    migrate(target)
    with transaction(target):
        report.mended = mend(target, copies, named, source.owners(), report.now_ms)
    report.notes.extend(source.notes)
    report.tables = list(copies.values())
    report.indexes_whole = all(each.whole for each in named.values())
    _describe_sessions(target, report)


def _describe_sessions(target: sqlite3.Connection, report: SalvageReport) -> None:
    for sid in report.touched:
        row = target.execute("SELECT principal, agent FROM sessions WHERE sid = ?", (sid,)).fetchone()
        if row is not None:
            report.owners[sid] = row


def _keep_damaged(path: Path, report: SalvageReport) -> None:
    """Give the damaged files a second, dated name, and write the report beside them."""
    for suffix in ("", "-wal", "-shm"):
        found = Path(f"{path}{suffix}")
        if found.exists():
            os.link(found, f"{report.kept}{suffix}")
    descriptor = os.open(report.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(report.text())
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class Mender:
    """Salvages one store's database when it is found damaged, at most once in PAUSE_SECONDS."""

    path: Path
    wall_ms: Callable[[], int]
    replace: Callable[[Callable[[], object]], None]
    """Runs a function while no connection for reading is opened, and gives up those that are open."""
    _again: float = field(default=float("-inf"), init=False)

    def mend(self, reason: str) -> SalvageReport:
        """Salvage for `reason` and put the new database in place; no writing connection may be open.

        Raises DamagedError when it was done a short time ago, and what `salvage` raises.
        """
        started = time.monotonic()
        if started < self._again:
            raise DamagedError(
                f"{reason}; it was salvaged less than {PAUSE_SECONDS:g} s ago: look at the disk, then restart"
            )
        report = salvage(self.path, reason, self.wall_ms())
        self.replace(lambda: finish(self.path))
        report.seconds = time.monotonic() - started
        self._again = time.monotonic() + PAUSE_SECONDS
        return report
