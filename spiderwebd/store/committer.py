"""What the store's thread does: one batch of submissions, one transaction, one report.

Plain and synchronous, so that ThreadRunner can call it in its thread and InlineRunner in the caller.
It also keeps what could not be written yet (the backlog) and the search index.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from spiderwebd.core.codes import StorageUnavailable
from spiderwebd.core.records import EntryRecord, EventRecord, Record, VersionRecord
from spiderwebd.store import indexing
from spiderwebd.store.damage import DamagedError, is_damage
from spiderwebd.store.salvage_report import SalvageReport
from spiderwebd.store.schema import transaction
from spiderwebd.store.tables import write

INDEX_STEP = 64
"""Entries indexed in one transaction: about 4 ms, the longest that indexing alone holds up a commit."""

INDEX_AT_LEAST = 64
"""Unindexed entries at which indexing no longer waits for a quiet moment: every search looks at each."""

QUIET_SECONDS = 0.05
HURRY_ENTRIES = 512
"""Beyond these a search begins to feel the unindexed tail, and a shorter quiet moment must do."""

BACKLOG_SLICE = 256
"""Submissions of the backlog written in one transaction, so that recovery keeps what it achieved."""

RECORD_BYTES = 200
"""What a record weighs in the backlog besides its texts."""

# Primary result codes that blame the disk or the file, not the statement (sqlite.org/rescode.html).
# A lock held by another process past busy_timeout is one of them: it is no fault of the records.
STORAGE_CODES = frozenset(
    {
        sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOTADB,
    }
)  # fmt: skip

Then = Callable[[bool], None]
Perform = Callable[[sqlite3.Connection], Any]
Mend = Callable[[str], SalvageReport]
"""Saves what can be read of a damaged database, for a reason, and puts a new one in its place."""


@dataclass(slots=True)
class Submission:
    """Records of one transaction, or a function to be run in one of its own."""

    records: Sequence[Record]
    then: Then | None
    at: float
    """time.monotonic() when it was submitted."""
    function: Perform | None = None
    durable: bool = False
    result: Any = None
    error: BaseException | None = None
    """Why it was not and will not be written; a submission in the backlog has none."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What a reader noticed: the file is damaged."""

    reason: str
    generation: int
    """Of the database in whose connection it was noticed, see ReadPool.generation."""


@dataclass(slots=True)
class Report:
    """What became of a batch, for the trio thread."""

    submissions: list[Submission]
    rows: int = 0
    seconds: float = 0.0
    """Time the transactions took, commit included."""
    reason: str = ""
    """Why the store is degraded; empty: it is not."""
    backlog: int = 0
    backlog_bytes: int = 0
    unindexed: int = 0
    late_faults: list[Submission] = field(default_factory=list)
    """Of the backlog, and refused by the schema; their `then(False)` was called long before."""
    index_error: Exception | None = None
    salvages: list[SalvageReport] = field(default_factory=list)
    """Of a database that was found damaged; mostly none."""


def is_storage_fault(error: BaseException) -> bool:
    """Whether the disk or the file is to blame, so that trying again later may help."""
    if isinstance(error, DamagedError):
        return True
    if not isinstance(error, sqlite3.Error):
        return False
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in STORAGE_CODES


def describe(records: Sequence[Record]) -> str:
    """Say what records are without a word of their contents: "session 3: EntryRecord, EventRecord"."""
    sids = sorted({record.sid for record in records})
    kinds = ", ".join(type(record).__name__ for record in records)
    return f"session {', '.join(map(str, sids))}: {kinds}" if records else ""


def weight(records: Sequence[Record]) -> int:
    """About how many bytes of memory records hold, for the bound of the backlog."""
    size = 0
    for record in records:
        size += RECORD_BYTES
        if isinstance(record, (EntryRecord, VersionRecord)):
            size += len(record.content)
        elif isinstance(record, EventRecord):
            size += len(record.frame)
    return size


@dataclass(slots=True)
class Committer:
    """Owns the writing connection. `connect` opens it, and opens it anew after an I/O error.

    A damaged database is not written again: the next `retry` has it salvaged by `mend`, if there is one.
    """

    connect: Callable[[], sqlite3.Connection]
    mend: Mend | None = None
    _connection: sqlite3.Connection | None = field(default=None, init=False)
    _backlog: deque[Submission] = field(default_factory=deque, init=False)
    _backlog_bytes: int = field(default=0, init=False)
    _reason: str = field(default="", init=False)
    _reopen: bool = field(default=False, init=False)
    _damaged: bool = field(default=False, init=False)
    _salvages: list[SalvageReport] = field(default_factory=list, init=False)
    _unindexed: int = field(default=0, init=False)
    _purging: bool = field(default=False, init=False)

    def open(self) -> None:
        """Open the database, salvaged if it is damaged; raises what schema.open_writer raises.

        DamagedError: it is damaged, and there is no `mend`.
        """
        try:
            self._connection = self.connect()
        except DamagedError as error:
            if self.mend is None:
                raise
            self._salvages.append(self.mend(str(error)))
            self._connection = self.connect()
        self._unindexed = indexing.waiting(self._connection)
        self._purging = True  # one look is cheap, and a purge may have been cut off by a crash

    def close(self) -> None:
        """Close the connection; SQLite checkpoints the WAL when it is the last one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, batch: Sequence[Submission]) -> Report:
        """Write a batch: what can be, in order, in one transaction; the rest joins the backlog.

        While degraded, records only join the backlog: `retry` is what tries the disk again.
        """
        started = time.monotonic()
        report = Report(list(batch))
        pending: list[Submission] = []
        for submission in batch:
            if submission.function is None:
                if submission.records:
                    pending.append(submission)
                else:
                    submission.durable = not self._reason  # a ping, or a marker in the order
                continue
            self._write(pending, report)
            pending = []
            self._perform(submission)
        self._write(pending, report)
        return self._complete(report, started)

    def retry(self) -> Report:
        """Try to write the backlog, oldest first; the report says whether the store still is degraded."""
        started = time.monotonic()
        report = Report([])
        try:
            if self._damaged and self.mend is not None:
                self.close()
                self._salvages.append(self.mend(self._reason))
                self._damaged = False
            if self._reopen:
                self.close()
                self.open()
                self._reopen = False
            while self._backlog:
                portion = [self._backlog[i] for i in range(min(BACKLOG_SLICE, len(self._backlog)))]
                report.rows += self._commit(portion)
                for submission in portion:
                    self._backlog.popleft()
                    self._backlog_bytes -= weight(submission.records)
                report.late_faults.extend(item for item in portion if item.error is not None)
            # An empty backlog proves nothing: only a write that reached the disk ends the trouble.
            self._probe()
            self._reason = ""
        except Exception as error:
            self._fail(error)
        return self._complete(report, started)

    def suspect(self, reason: str) -> Report:
        """Take in that a reader found the file damaged: nothing more is written to it."""
        self._fail(DamagedError(reason))
        return self._complete(Report([]), time.monotonic())

    def take_salvages(self) -> list[SalvageReport]:
        """Return what was salvaged and not reported yet."""
        salvages, self._salvages = self._salvages, []
        return salvages

    @property
    def unindexed(self) -> int:
        """Entries not in the index yet; may be read from any thread."""
        return self._unindexed

    @property
    def quiet_seconds(self) -> float:
        """How long nothing must have come before the index is worked on; less when much waits."""
        return QUIET_SECONDS if self._unindexed < HURRY_ENTRIES else QUIET_SECONDS / 10

    @property
    def index_due(self) -> bool:
        """Whether a quiet moment should be used for the index."""
        return not self._reason and (self._unindexed > 0 or self._purging)

    @property
    def index_urgent(self) -> bool:
        """Whether so much is unindexed that it must be done between two batches."""
        return not self._reason and self._unindexed >= INDEX_AT_LEAST

    @property
    def index_slice(self) -> int:
        """How many entries to index between two batches: more when so many wait that they would pile up."""
        return INDEX_STEP if self._unindexed < HURRY_ENTRIES else 4 * INDEX_STEP

    def index(self, limit: int = INDEX_STEP) -> Report | None:
        """Index up to `limit` entries; a report only when something went wrong.

        Commits without waiting for the disk: the index is derived, and a later durable commit syncs
        what was written to the log before it.
        """
        connection = self._require()
        try:
            mode = connection.execute("PRAGMA synchronous").fetchone()[0]
            connection.execute("PRAGMA synchronous = NORMAL")
            try:
                with transaction(connection):
                    done = indexing.step(connection, limit)
            finally:
                connection.execute(f"PRAGMA synchronous = {mode}")
            self._purging = done > 0
            self._unindexed = max(0, self._unindexed - done) if done else 0
            return None
        except Exception as error:
            if is_storage_fault(error):
                self._fail(error)
                return self._complete(Report([]), time.monotonic())
            if limit > 1:
                return self.index(1)
            with transaction(connection):
                entry = indexing.skip(connection)
            self._unindexed = max(0, self._unindexed - 1)
            error.add_note(f"entry {entry} is left out of the search index")
            report = self._complete(Report([]), time.monotonic())
            report.index_error = error
            return report

    def _require(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StorageUnavailable("the store is not open")
        return self._connection

    def _complete(self, report: Report, started: float) -> Report:
        report.seconds = time.monotonic() - started
        report.reason = self._reason
        report.backlog = len(self._backlog)
        report.backlog_bytes = self._backlog_bytes
        report.unindexed = self._unindexed
        report.salvages = self.take_salvages()
        return report

    def _write(self, submissions: list[Submission], report: Report) -> None:
        if not submissions:
            return
        if not self._reason:
            try:
                report.rows += self._commit(submissions)
                return
            except Exception as error:
                if not is_storage_fault(error):
                    raise
                self._fail(error)
        for submission in submissions:
            submission.durable = False
            submission.error = None
            self._backlog.append(submission)
            self._backlog_bytes += weight(submission.records)

    def _commit(self, submissions: Sequence[Submission]) -> int:
        """Write all in one transaction; raises only for a storage fault, with nothing written."""
        connection = self._require()
        try:
            with transaction(connection):
                entries = write(connection, [submission.records for submission in submissions])
            for submission in submissions:
                submission.durable = True
        except Exception as error:
            if is_storage_fault(error):
                raise
            # One of them is at fault; a savepoint each finds it and keeps its neighbours.
            entries = self._commit_apart(connection, submissions)
        self._unindexed += entries
        return sum(len(submission.records) for submission in submissions if submission.durable)

    def _commit_apart(self, connection: sqlite3.Connection, submissions: Sequence[Submission]) -> int:
        entries = 0
        with transaction(connection):
            for submission in submissions:
                connection.execute("SAVEPOINT one")
                try:
                    entries += write(connection, [submission.records])
                    submission.durable = True
                except Exception as error:
                    if is_storage_fault(error):
                        raise
                    connection.execute("ROLLBACK TO one")
                    submission.durable = False
                    submission.error = error
                connection.execute("RELEASE one")
        return entries

    def _perform(self, submission: Submission) -> None:
        if self._reason:
            submission.error = StorageUnavailable(f"the store cannot be written now: {self._reason}")
            return
        function = submission.function
        if function is None:
            return
        connection = self._require()
        try:
            with transaction(connection):
                submission.result = function(connection)
            submission.durable = True
            self._unindexed = indexing.waiting(connection)
            self._purging = True
        except Exception as error:
            if is_storage_fault(error):
                self._fail(error)
                submission.error = StorageUnavailable(f"the store cannot be written: {error}")
                submission.error.__cause__ = error
            else:
                submission.error = error

    def _probe(self) -> None:
        """Write one page durably; a value that does not change would not reach the disk."""
        connection = self._require()
        with transaction(connection):
            connection.execute("UPDATE health SET recoveries = recoveries + 1")

    def _fail(self, error: Exception) -> None:
        if is_damage(error):
            self._damaged = True
        self._reason = str(error) if isinstance(error, DamagedError) else f"{type(error).__name__}: {error}"
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        # A full disk leaves the connection sound; after an I/O error it may hold a stale view.
        self._reopen = code != sqlite3.SQLITE_FULL
        connection = self._connection
        if connection is not None and connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
