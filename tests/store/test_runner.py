"""Where work runs, and what a cancelled caller may rely on."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
import trio

from spiderwebd.store.runner import Command, InlineRunner, ThreadRunner
from spiderwebd.store.store import open_store
from tests.store.samples import database


async def test_runner_must_be_started() -> None:
    """Using a runner that was not started says so."""
    with pytest.raises(RuntimeError, match="not started"):
        InlineRunner().put(Command.RETRY)
    for runner in (InlineRunner(), ThreadRunner()):
        with pytest.raises(RuntimeError, match="not started"):
            await runner.read(lambda connection: None)


async def test_threads_keep_sql_off_the_loop(tmp_path: Path) -> None:
    """Writes run in the one writing thread, reads in others, none in trio's."""
    async with open_store(database(tmp_path)) as store:
        names = [
            await store.writer.perform(lambda connection: threading.current_thread().name) for _ in range(2)
        ]
        reading = await store.reader._runner.read(lambda connection: threading.get_ident())
    assert names == ["spiderwebd-store"] * 2
    assert reading != threading.get_ident()


async def test_inline_runs_in_the_caller(tmp_path: Path) -> None:
    """The inline runner starts no thread, so MockClock may jump whenever all wait."""
    async with open_store(database(tmp_path), InlineRunner()) as store:
        writing = await store.writer.perform(lambda connection: threading.get_ident())
        reading = await store.reader._runner.read(lambda connection: threading.get_ident())
    assert writing == reading == threading.get_ident()


async def test_cancelled_perform_is_done_or_never_started(tmp_path: Path) -> None:
    """Cancelling the caller of perform waits for the transaction; it is never abandoned half-way."""
    busy, go = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        busy.set()
        assert go.wait(10)
        connection.execute("UPDATE health SET recoveries = 41")

    def value(connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT recoveries FROM health").fetchone()[0])

    async with open_store(database(tmp_path)) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.writer.perform, slow)
            await trio.to_thread.run_sync(busy.wait)
            nursery.cancel_scope.cancel("the caller has gone")
            go.set()
        assert await store.writer.perform(value) == 41
