"""Where the store's work runs: in threads of its own (service), or in the caller (timed tests).

Both take the same items in the same order and report on the trio thread, never inside `put`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Protocol, TypeVar

import trio
from typing_extensions import override

from spiderwebd.store.committer import Committer, Damage, Report, Submission
from spiderwebd.store.reading import Read, ReadPool

T = TypeVar("T")

BATCH = 256
"""Most submissions in one transaction: beyond it a commit holds up the next for longer than an fsync."""

READERS = 2
"""Reading threads: one slow search must not hold up an attach, and more would only share two cores."""


class Command(Enum):
    """What the queue holds besides submissions."""

    RETRY = auto()
    """Try to write the backlog."""
    STOP = auto()
    """Close the database and end."""


Item = Submission | Damage | Command
Deliver = Callable[[Report], None]
Ended = Callable[[BaseException | None], None]


class Runner(Protocol):
    """What the writer and the reader ask of it."""

    async def start(self, committer: Committer, pool: ReadPool, deliver: Deliver, ended: Ended) -> None:
        """Open the database and be ready for items; raises what Committer.open raises.

        `deliver` is called on the trio thread with one report a batch, `ended` once, after STOP or
        with the exception that ended the runner.
        """

    def put(self, item: Item) -> None:
        """Take an item; never waits. The caller bounds how many are under way."""

    async def read(self, function: Read[T]) -> T:
        """Run a read; a cancelled caller either never started it or waits until it is done."""


class _EndOfTick(trio.abc.Instrument):
    """Calls back whenever trio has run all tasks that could run, and goes to look for what came in."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    @override
    def before_io_wait(self, timeout: float) -> None:
        self._call()


class ThreadRunner:
    """One thread writes, a few read. Whatever waits when the writer looks goes into one commit.

    What one turn of trio's loop puts is handed over at its end, together: handed over one by one, the
    thread would begin (and sync) a commit with the first and let all others wait for the next.
    """

    def __init__(self, readers: int = READERS, batch: int = BATCH) -> None:
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._gathered: list[Item] = []
        self._end_of_tick = _EndOfTick(self._hand_over)
        self._limiter = trio.CapacityLimiter(readers)
        self._batch = batch
        self._pool: ReadPool | None = None

    async def start(self, committer: Committer, pool: ReadPool, deliver: Deliver, ended: Ended) -> None:
        """See Runner. Opening may migrate, so it happens off the trio thread."""
        self._pool = pool
        await trio.to_thread.run_sync(committer.open)
        token = trio.lowlevel.current_trio_token()
        trio.lowlevel.add_instrument(self._end_of_tick)

        def tell(report: Report) -> None:
            token.run_sync_soon(deliver, report)

        def end(error: Exception | None) -> None:
            trio.lowlevel.remove_instrument(self._end_of_tick)
            ended(error)

        def work() -> None:
            error: Exception | None = RuntimeError("the thread was torn down")
            try:
                self._loop(committer, tell)
                committer.close()
                error = None
            except Exception as caught:
                error = caught
            finally:
                # Trio is gone only when the program is ending without having stopped the store.
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(end, error)

        # A daemon thread: one stuck in fsync must not keep a stopped process alive.
        threading.Thread(target=work, name="spiderwebd-store", daemon=True).start()

    def put(self, item: Item) -> None:
        """See Runner. A Damage may come from any thread, everything else from trio's alone."""
        if isinstance(item, Damage):
            self._queue.put(item)
        else:
            self._gathered.append(item)

    def _hand_over(self) -> None:
        if self._gathered:
            for item in self._gathered:
                self._queue.put(item)
            self._gathered.clear()

    async def read(self, function: Read[T]) -> T:
        """See Runner."""
        if self._pool is None:
            raise RuntimeError("the runner was not started")
        return await trio.to_thread.run_sync(self._pool.run, function, limiter=self._limiter)

    def _loop(self, committer: Committer, tell: Deliver) -> None:
        waiting = self._queue
        resting = True
        held: Item | None = None
        while True:
            if held is None:
                pause = None
                if committer.index_due:
                    pause = committer.quiet_seconds if resting else 0.0
                try:
                    held = waiting.get(timeout=pause)
                except queue.Empty:
                    trouble = committer.index()
                    if trouble is not None:
                        tell(trouble)
                    resting = False  # go on at once, until something comes
                    continue
            item, held = held, None
            resting = True
            if item is Command.STOP:
                return
            if item is Command.RETRY:
                tell(committer.retry())
                continue
            if isinstance(item, Damage):
                if self._pool is not None and item.generation == self._pool.generation:
                    tell(committer.suspect(item.reason))
                continue
            batch: list[Submission] = []
            while isinstance(item, Submission):
                batch.append(item)
                if len(batch) == self._batch:
                    break
                try:
                    item = waiting.get_nowait()
                except queue.Empty:
                    break
            else:
                held = item
            tell(committer.run(batch))
            if committer.index_urgent:
                trouble = committer.index(committer.index_slice)
                if trouble is not None:
                    tell(trouble)


class InlineRunner:
    """Does everything in the caller, a commit a submission; for tests under MockClock.

    `then` is still called later, from trio's own loop, as with threads. The index is worked on in
    `put` whenever `index_every` entries wait.
    """

    def __init__(self, index_every: int = 64) -> None:
        self._index_every = index_every
        self._committer: Committer | None = None
        self._pool: ReadPool | None = None
        self._deliver: Deliver | None = None
        self._ended: Ended | None = None
        self._token: trio.lowlevel.TrioToken | None = None

    async def start(self, committer: Committer, pool: ReadPool, deliver: Deliver, ended: Ended) -> None:
        """See Runner."""
        await trio.lowlevel.checkpoint()
        self._committer, self._pool, self._deliver, self._ended = committer, pool, deliver, ended
        self._token = trio.lowlevel.current_trio_token()
        committer.open()

    def put(self, item: Item) -> None:
        """See Runner."""
        if self._committer is None or self._token is None or self._deliver is None or self._ended is None:
            raise RuntimeError("the runner was not started")
        soon = self._token.run_sync_soon
        if item is Command.STOP:
            self._committer.close()
            soon(self._ended, None)
            return
        if isinstance(item, Damage):
            if self._pool is not None and item.generation == self._pool.generation:
                soon(self._deliver, self._committer.suspect(item.reason))
            return
        report = self._committer.run([item]) if isinstance(item, Submission) else self._committer.retry()
        soon(self._deliver, report)
        if report.unindexed >= self._index_every and not report.reason:
            trouble = self._committer.index()
            if trouble is not None:
                soon(self._deliver, trouble)

    async def read(self, function: Read[T]) -> T:
        """See Runner."""
        if self._pool is None:
            raise RuntimeError("the runner was not started")
        await trio.lowlevel.checkpoint()
        return self._pool.run(function)
