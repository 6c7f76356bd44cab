"""The trio side of writing: a bounded queue into the store, and what comes back in order.

When the disk cannot be written the store is degraded, not dead: records wait in a bounded backlog,
`then(False)` is called for them, and the writer tries again by itself until all are on the disk.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import trio

from spiderwebd.core.codes import SpiderwebError, StorageUnavailable
from spiderwebd.core.records import Record
from spiderwebd.store.committer import Committer, Report, Submission, Then, describe
from spiderwebd.store.delivery import Delivery
from spiderwebd.store.reading import ReadPool
from spiderwebd.store.runner import Command, Runner
from spiderwebd.store.salvage_report import SalvageReport

T = TypeVar("T")

QUEUE_SUBMISSIONS = 4_096
"""Submissions under way at most: sixteen full batches, a second of a slow disk. Policy: wait."""

BACKLOG_BYTES = 64 * 1024 * 1024
"""Memory for records that wait for a failing disk. Policy: beyond it, refuse new input."""

RETRY_FIRST_SECONDS = 0.25
RETRY_LAST_SECONDS = 10.0
"""The wait before trying a failing disk again doubles between these."""

DRAIN_SECONDS = 5.0
"""How long closing waits for what was submitted."""

OnState = Callable[[bool, str], None]
"""Called with (degraded, reason) whenever the store becomes degraded or sound again."""

OnFault = Callable[[BaseException, str], None]
"""Called with a programming error and what the records were that it cost, or whose `then` failed."""

OnCommit = Callable[[float], None]
"""Called with the seconds that each batch took, commit included."""

OnSalvage = Callable[[SalvageReport], None]
"""Called with what became of a damaged database, once the new one is in place."""


class QueueFullError(SpiderwebError):
    """As many submissions are under way as the queue may hold; wait, or use `submit`."""


class StoreDiedError(SpiderwebError):
    """The store's thread ended by an error of its own; nothing can be written any more."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures for metrics and status, as of the last report."""

    depth: int
    """Submissions not yet reported back."""
    oldest_seconds: float
    """How long the first of these has waited."""
    batches: int
    submissions: int
    rows: int
    last_commit_seconds: float
    backlog: int
    backlog_bytes: int
    unindexed: int
    faults: int


class Writer:
    """Takes records, calls back when they are committed. Used from the trio thread only."""

    def __init__(
        self,
        runner: Runner,
        committer: Committer,
        pool: ReadPool,
        *,
        queue_submissions: int = QUEUE_SUBMISSIONS,
        backlog_bytes: int = BACKLOG_BYTES,
        on_state: OnState = lambda degraded, reason: None,
        on_fault: OnFault = lambda error, about: None,
        on_commit: OnCommit = lambda seconds: None,
        on_salvage: OnSalvage = lambda report: None,
    ) -> None:
        self._runner = runner
        self._committer = committer
        self._pool = pool
        self._limit = queue_submissions
        self._backlog_limit = backlog_bytes
        self._on_state = on_state
        self._on_fault = on_fault
        self._on_commit = on_commit
        self._on_salvage = on_salvage
        self._pending: deque[Submission] = deque()
        self._room = trio.lowlevel.ParkingLot()
        self._submitted = 0
        self._delivered = 0
        self._settling: deque[tuple[int, trio.Event]] = deque()
        self._reason = ""
        self._failure: BaseException | None = None
        self._open = False
        self._stirred = trio.Event()
        self._retried = trio.Event()
        self._ended = trio.Event()
        self._delivery: Delivery | None = None
        self._last = Report([])
        self._batches = self._rows = self._faults = 0

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the store and keep it until cancelled; then write what was submitted, and close.

        Raises what opening raises (SchemaTooNewError, sqlite3.Error), StoreDiedError when the store's thread
        ends by itself, and StorageUnavailable when at the end some records never reached the disk.
        """
        self._delivery = Delivery(self._begin, self._call_back, self._finish, self._end)
        await self._runner.start(self._committer, self._pool, self._delivery.take, self._end)
        self._open = True
        self._tell_salvages(self._committer.take_salvages())
        task_status.started()
        try:
            await self._watch()
        finally:
            with trio.move_on_after(DRAIN_SECONDS, shield=True) as drain:
                await self._close()
            if drain.cancelled_caught:
                late = StorageUnavailable(
                    f"{len(self._pending)} submissions were still under way {DRAIN_SECONDS:g} s after the "
                    "store was told to stop; the disk does not answer"
                )
                self._end(late)  # frees whoever waits for one of them
                raise late

    async def submit(self, records: Sequence[Record], then: Then) -> None:
        """Have records written in one transaction, in order with all other submissions.

        Waits only while the queue is full, and is no checkpoint else. `then(durable)` is called once
        on the trio thread after the commit: True, on the disk; False, in the backlog of a failing
        disk, or refused by the schema (`on_fault` is told). Raises StorageUnavailable when the
        backlog is full or the store is closed; then nothing was taken.
        """
        self._refuse_unless_accepting()
        if self._full:
            await self._wait_for_room()
        self._put(Submission(records, then, time.monotonic()))

    def submit_nowait(self, records: Sequence[Record], then: Then) -> None:
        """As `submit`, but raises QueueFullError instead of waiting."""
        self._refuse_unless_accepting()
        if self._full:
            raise QueueFullError(f"{len(self._pending)} submissions wait for the store; try again")
        self._put(Submission(records, then, time.monotonic()))

    @property
    def has_room(self) -> bool:
        """Whether a submission would be taken without waiting for its place in the queue."""
        return not self._full

    async def settled(self) -> None:
        """Return when `then` was called for all that was submitted so far.

        All of it is then committed, or, while degraded, in the backlog. Raises StorageUnavailable when the
        store's thread has ended: then nobody will call back.
        """
        self._refuse_if_dead()
        target = self._submitted
        if self._delivered >= target:
            await trio.lowlevel.checkpoint()
            return
        event = trio.Event()
        self._settling.append((target, event))
        await event.wait()
        self._refuse_if_dead()

    async def perform(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a plain function in one transaction of its own, in order with all submissions.

        Returns its result or raises its exception, rolled back. A cancelled caller waits until it is
        done, so keep it short (a bounded slice). Raises StorageUnavailable while degraded.
        """
        self._refuse_if_closed()
        if self._full:
            await self._wait_for_room()
        done = trio.Event()
        submission = Submission((), lambda durable: done.set(), time.monotonic(), function)
        self._put(submission)
        with trio.CancelScope(shield=True):
            await done.wait()
        self._refuse_if_dead()
        if submission.error is not None:
            raise submission.error
        return cast("T", submission.result)

    async def ping(self) -> float:
        """Return the seconds that an empty submission took through the queue and back.

        Answers while degraded too: it asks whether the thread lives, not whether the disk does.
        """
        self._refuse_if_closed()
        started = time.monotonic()
        done = trio.Event()
        self._put(Submission((), lambda durable: done.set(), started))
        await done.wait()
        self._refuse_if_dead()
        return time.monotonic() - started

    @property
    def accepting(self) -> bool:
        """False: refuse input with storage_unavailable."""
        if not self._open or self._failure is not None:
            return False
        return not self._reason or self._last.backlog_bytes < self._backlog_limit

    @property
    def degraded(self) -> str | None:
        """Why the disk could not be written the last time it was tried; None when it could.

        What was submitted since may be in memory only: a session must stay awake until this is None.
        """
        return self._reason or None

    @property
    def statistics(self) -> Statistics:
        """Figures as of now."""
        oldest = time.monotonic() - self._pending[0].at if self._pending else 0.0
        return Statistics(
            len(self._pending), oldest, self._batches, self._delivered, self._rows, self._last.seconds,
            self._last.backlog, self._last.backlog_bytes, self._committer.unindexed, self._faults,
        )  # fmt: skip

    async def _watch(self) -> None:
        """Wait for trouble: raise when the thread died, retry while degraded."""
        pause = RETRY_FIRST_SECONDS
        while True:
            await self._stirred.wait()
            if self._failure is not None:
                raise StoreDiedError(f"the store's thread ended: {self._failure!r}") from self._failure
            if not self._reason:
                self._stirred = trio.Event()
                pause = RETRY_FIRST_SECONDS
                continue
            with trio.move_on_after(pause):
                await self._ended.wait()
            pause = min(2 * pause, RETRY_LAST_SECONDS)
            await self._retry()

    async def _retry(self) -> None:
        self._retried = trio.Event()
        self._runner.put(Command.RETRY)
        await self._retried.wait()

    async def _close(self) -> None:
        self._open = False
        if self._failure is None:
            await self.settled()
            if self._reason:
                await self._retry()
            # The writer's connection must be the last: only that one can take the log into the file.
            self._pool.close()
            self._runner.put(Command.STOP)
        await self._ended.wait()
        self._pool.close()
        if self._last.backlog:
            raise StorageUnavailable(
                f"{self._last.backlog} submissions never reached the disk: {self._reason}"
            )

    def _refuse_if_dead(self) -> None:
        if self._failure is not None:
            raise StorageUnavailable("the store's thread has ended; the daemon is about to stop")

    def _refuse_if_closed(self) -> None:
        self._refuse_if_dead()
        if not self._open:
            raise StorageUnavailable("the store is closed; the daemon is stopping")

    def _refuse_unless_accepting(self) -> None:
        self._refuse_if_closed()
        if not self.accepting:
            raise StorageUnavailable(
                f"{self._last.backlog_bytes} bytes wait for a disk that cannot be written ({self._reason}); "
                "free space or repair it, and try again"
            )

    @property
    def _full(self) -> bool:
        # Those already waiting go first, so that nobody's submissions change places.
        return len(self._pending) >= self._limit or bool(self._room)

    async def _wait_for_room(self) -> None:
        await self._room.park()
        self._refuse_if_closed()
        while len(self._pending) >= self._limit:
            await self._room.park()
            self._refuse_if_closed()

    def _put(self, submission: Submission) -> None:
        self._submitted += 1
        self._pending.append(submission)
        self._runner.put(submission)

    def _begin(self, report: Report) -> None:
        self._last = report
        self._tell_salvages(report.salvages)
        self._rows += report.rows
        if report.submissions:
            self._batches += 1
            self._on_commit(report.seconds)
        if report.reason != self._reason:
            was, self._reason = self._reason, report.reason
            if bool(was) != bool(self._reason):
                self._stirred.set()
                self._tell_state(self._reason or was)

    def _finish(self, report: Report) -> None:
        for submission in report.late_faults:
            if submission.error is not None:
                self._report_fault(submission.error, submission.records)
        if report.index_error is not None:
            self._report_fault(report.index_error, ())
        if not report.submissions:
            self._retried.set()
        while self._settling and self._settling[0][0] <= self._delivered:
            self._settling.popleft()[1].set()
        if self._room:
            self._room.unpark(count=max(0, self._limit - len(self._pending)))

    def _call_back(self, submission: Submission) -> None:
        self._pending.popleft()
        self._delivered += 1
        if submission.error is not None and submission.function is None:
            self._report_fault(submission.error, submission.records)
        if submission.then is None:
            return
        try:
            submission.then(submission.durable)
        except Exception as error:
            # A bug in one session's reaction must not keep the others from theirs.
            self._report_fault(error, submission.records)

    def _tell_state(self, reason: str) -> None:
        try:
            self._on_state(bool(self._reason), reason)
        except Exception as error:
            self._report_fault(error, ())

    def _tell_salvages(self, reports: Sequence[SalvageReport]) -> None:
        for report in reports:
            try:
                self._on_salvage(report)
            except Exception as error:
                self._report_fault(error, ())

    def _report_fault(self, error: BaseException, records: Sequence[Record]) -> None:
        self._faults += 1
        self._on_fault(error, describe(records))

    def _end(self, error: BaseException | None) -> None:
        """The runner ended: as asked, or by an error that nobody can wait for any longer."""
        if error is not None and self._failure is None:
            self._failure = error
        if self._delivery is not None:
            self._delivery.tell_rest()  # the disk has it
        self._ended.set()
        self._retried.set()
        self._stirred.set()
        for submission in self._pending:
            # Those who wait inside this class wake up; they see the failure themselves.
            if submission.then is not None and not submission.records:
                submission.then(False)
        while self._settling:
            self._settling.popleft()[1].set()
        self._room.unpark_all()
