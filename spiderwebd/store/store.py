"""The store as the daemon holds it: one writer and one reader over one database file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from spiderwebd.clock import Clock, SystemClock
from spiderwebd.config_settings import Settings
from spiderwebd.core.codes import StorageUnavailable
from spiderwebd.store.committer import Committer, Damage
from spiderwebd.store.damage import open_checked
from spiderwebd.store.reader import Reader
from spiderwebd.store.reading import READ_SECONDS, ReadPool
from spiderwebd.store.retention import Policy, Removal, prune
from spiderwebd.store.runner import BATCH, Runner, ThreadRunner
from spiderwebd.store.salvage import Mender, finish
from spiderwebd.store.schema import OnMigrated, Synchronous, claim, open_reader, open_writer
from spiderwebd.store.writer import Writer

DATABASE = "spiderwebd.db"
"""Name of the database in the state directory."""

RETENTION_SECONDS = 600.0
"""Between two rounds of retention: limits are in days and thousands of rows."""

RETENTION_FIRST_SECONDS = 5.0
"""The first round waits until the daemon has come up."""


@dataclass(frozen=True, slots=True)
class Store:
    """Both halves of a store that is being served."""

    writer: Writer
    reader: Reader

    async def retain(
        self,
        settings: Callable[[], Settings],
        *,
        clock: Clock | None = None,
        on_removed: Callable[[list[Removal]], None] = lambda removals: None,
    ) -> None:
        """Keep what the settings say, round after round, until cancelled.

        `on_removed` is told of every slice in which something went, so that sessions can say so. A
        round is put off, or ends early, while the disk cannot be written.
        """
        clock = clock or SystemClock()
        await trio.sleep(RETENTION_FIRST_SECONDS)
        while True:
            if self.writer.degraded is None:
                with suppress(StorageUnavailable):  # the disk failed under it
                    await prune(self.writer, policy_of(settings()), clock.wall_ms(), on_removed)
            await trio.sleep(RETENTION_SECONDS)


def policy_of(settings: Settings) -> Policy:
    """What the settings keep."""
    return Policy(
        events_count=settings.events.keep_count,
        events_days=settings.events.keep_days,
        requests_count=settings.events.requests_kept,
        archives_count=settings.memory.keep_archives,
        archives_days=settings.memory.keep_archive_days,
        entries_days=settings.memory.keep_entries_days,
    )


@asynccontextmanager
async def open_store(
    path: Path,
    runner: Runner | None = None,
    *,
    batch: int = BATCH,
    synchronous: Synchronous = "FULL",
    read_seconds: float = READ_SECONDS,
    clock: Clock | None = None,
    on_migrated: OnMigrated = lambda before, after: None,
    **options: Any,
) -> AsyncIterator[Store]:
    """Open the store for the length of the block; then write what was submitted, and close.

    `runner` is a ThreadRunner with commits of at most `batch` submissions unless given. `on_migrated` is
    told, in the runner's thread, when an older database was brought to this version's tables. `options` are
    the keyword arguments of Writer: bounds of the queue and the backlog, and its hooks. Raises what
    Writer.serve raises, and StoreInUseError; as with any nursery, what ends the block comes out in an
    exception group.

    A damaged database, found now or while it is served, is salvaged: see store/salvage.py. Meanwhile the
    store is degraded; the option `on_salvage` is told when it is done.
    """
    runner = runner or ThreadRunner(batch=batch)
    pool = ReadPool(
        lambda: open_reader(path),
        read_seconds,
        lambda reason, generation: runner.put(Damage(reason, generation)),
    )
    mender = Mender(path, (clock or SystemClock()).wall_ms, pool.replace)
    committer = Committer(
        lambda: open_checked(lambda: open_writer(path, synchronous, on_migrated), path), mender.mend
    )
    writer = Writer(runner, committer, pool, **options)
    with claim(path):
        finish(path)
        async with trio.open_nursery() as nursery:
            await nursery.start(writer.serve, name="store")
            yield Store(writer, Reader(runner))
            nursery.cancel_scope.cancel("the store's block ended")
