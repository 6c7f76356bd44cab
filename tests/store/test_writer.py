"""Submitting records: order, bounds, faults of the disk and of the program, and the end."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from spiderwebd.core.codes import StorageUnavailable
from spiderwebd.store.reader import Query
from spiderwebd.store.runner import InlineRunner, ThreadRunner
from spiderwebd.store.store import open_store
from spiderwebd.store.writer import QueueFullError, StoreDiedError, Writer
from tests.store.samples import RUNNERS, Collected, States, database, entry, event, ignore, session, turn

runners = pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS.keys())


def full_after(pages: int) -> Any:
    """A function for `perform` that lets the database grow by so many pages and no more."""

    def limit(connection: sqlite3.Connection) -> None:
        now = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {now + pages}")

    return limit


def unlimited(connection: sqlite3.Connection) -> None:
    """Undo full_after."""
    connection.execute("PRAGMA max_page_count = 1000000")


@runners
async def test_then_is_called_in_order_after_the_commit(tmp_path: Path, runner: Any) -> None:
    """Every callback comes once, in submission order, with the rows already on the disk."""
    seen: list[tuple[int, int]] = []
    async with open_store(database(tmp_path), runner()) as store:
        elsewhere = sqlite3.connect(database(tmp_path))

        def check(number: int) -> None:
            rows = elsewhere.execute("SELECT max(seq) FROM events WHERE sid = 1").fetchone()[0]
            seen.append((number, rows))

        for number in range(1, 400):
            await store.writer.submit(turn(number), lambda durable, number=number: check(number))
        assert not seen or seen[0][0] == 1
        await store.writer.settled()
        assert [number for number, _ in seen] == list(range(1, 400))
        assert all(rows >= number for number, rows in seen)
        elsewhere.close()
        assert store.writer.statistics.rows == 399 * 4
        assert store.writer.statistics.depth == 0


@runners
async def test_then_is_never_called_inside_submit(tmp_path: Path, runner: Any) -> None:
    """A callback waits for the loop's next turn, so a caller may finish what it is doing first."""
    collected = Collected()
    async with open_store(database(tmp_path), runner()) as store:
        store.writer.submit_nowait(turn(1), collected.then(1))
        assert collected == []
        await store.writer.settled()
        assert collected == [(1, True)]


async def test_what_waits_is_one_commit(tmp_path: Path) -> None:
    """Submissions made while the thread is busy go into one transaction, at most a batch of them."""
    busy, go = threading.Event(), threading.Event()

    def hold(connection: sqlite3.Connection) -> None:
        busy.set()
        assert go.wait(10)

    async with (
        open_store(database(tmp_path), ThreadRunner(batch=100)) as store,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(store.writer.perform, hold)
        await trio.to_thread.run_sync(busy.wait)
        before = store.writer.statistics.batches
        for number in range(1, 251):
            store.writer.submit_nowait(turn(number), ignore)
        go.set()
        await store.writer.settled()
        # 1 for `hold` itself, then 100, 100 and 50.
        assert store.writer.statistics.batches - before == 4


async def test_full_queue_waits_or_refuses(tmp_path: Path) -> None:
    """submit waits for room, submit_nowait raises, and those who waited come before later ones."""
    busy, go = threading.Event(), threading.Event()

    def hold(connection: sqlite3.Connection) -> None:
        busy.set()
        assert go.wait(10)

    collected = Collected()
    async with open_store(database(tmp_path), queue_submissions=2) as store, trio.open_nursery() as nursery:
        nursery.start_soon(store.writer.perform, hold)
        await trio.to_thread.run_sync(busy.wait)
        store.writer.submit_nowait(turn(1), collected.then(1))
        with pytest.raises(QueueFullError):
            store.writer.submit_nowait(turn(2), collected.then(2))
        nursery.start_soon(store.writer.submit, turn(3), collected.then(3))
        await wait_all_tasks_blocked()
        assert store.writer.statistics.depth == 2
        assert store.writer.statistics.oldest_seconds > 0
        go.set()
        await store.writer.settled()
        while len(collected) < 2:
            await store.writer.settled()
        assert collected == [(1, True), (3, True)]


@runners
async def test_programming_error_costs_its_own_submission_only(tmp_path: Path, runner: Any) -> None:
    """One bad submission of a batch is reported with its exception; its neighbours are durable."""
    faults: list[tuple[str, str]] = []
    collected = Collected()
    async with open_store(
        database(tmp_path), runner(), on_fault=lambda error, about: faults.append((repr(error), about))
    ) as store:
        await store.writer.submit(turn(1), collected.then(1))
        await store.writer.submit([event(1)], collected.then(2))
        await store.writer.submit(turn(2), collected.then(3))
        await store.writer.submit([entry(9, "lone \ud800 surrogate")], collected.then(4))
        await store.writer.submit(turn(3), collected.then(5))
        await store.writer.settled()
        assert collected == [(1, True), (2, False), (3, True), (4, False), (5, True)]
        assert [seq for seq, _ in await store.reader.events(1, 0, 10)] == [1, 2, 3]
        assert store.writer.degraded is None
    assert ["IntegrityError" in faults[0][0], "UnicodeEncodeError" in faults[1][0]] == [True, True]
    assert [about for _, about in faults] == ["session 1: EventRecord", "session 1: EntryRecord"]


@runners
async def test_failing_callback_spares_the_others(tmp_path: Path, runner: Any) -> None:
    """A bug in one `then` is reported, and the callbacks after it still come."""
    faults: list[BaseException] = []
    collected = Collected()

    def broken(durable: bool) -> None:
        raise RuntimeError("a bug of a session")

    async with open_store(
        database(tmp_path), runner(), on_fault=lambda error, about: faults.append(error)
    ) as store:
        store.writer.submit_nowait(turn(1), broken)
        store.writer.submit_nowait(turn(2), collected.then(2))
        await store.writer.settled()
    assert collected == [(2, True)]
    assert [str(fault) for fault in faults] == ["a bug of a session"]


@runners
async def test_perform_is_one_transaction_in_order(tmp_path: Path, runner: Any) -> None:
    """A function sees all that was submitted before it; when it raises, nothing of it stays."""

    def count(connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM events")
        raise KeyError("no")

    async with open_store(database(tmp_path), runner()) as store:
        for number in range(1, 6):
            store.writer.submit_nowait(turn(number), ignore)
        assert await store.writer.perform(count) == 5
        with pytest.raises(KeyError):
            await store.writer.perform(fail)
        assert await store.writer.perform(count) == 5
        assert await store.writer.ping() >= 0


async def test_full_disk_degrades_and_recovers_by_itself(tmp_path: Path, autojump_clock: MockClock) -> None:
    """While the disk is full records wait in order with durable false; later all are there, no hole."""
    states, collected = States(), Collected()
    async with open_store(database(tmp_path), InlineRunner(), on_state=states.note) as store:
        await store.writer.submit(turn(1), collected.then(1))
        await store.writer.perform(full_after(0))
        for number in range(2, 60):
            await store.writer.submit(turn(number, content="x" * 500), collected.then(number))
        await store.writer.settled()
        assert states == [True]
        assert "full" in str(store.writer.degraded)
        assert store.writer.accepting
        lost = [number for number, durable in collected if not durable]
        assert [number for number, _ in collected] == list(range(1, 60))
        # Nothing submitted after the fault may reach the disk before what it held up.
        assert lost == list(range(lost[0], 60))
        assert store.writer.statistics.backlog == len(lost)
        with pytest.raises(StorageUnavailable, match="full"):
            await store.writer.perform(unlimited)
        assert await store.writer.ping() >= 0
        # An operator frees space. Only SQLite's own limit can be lifted from here.
        runner_connection = store.writer._committer._connection
        assert runner_connection is not None
        unlimited(runner_connection)
        await states.sound.wait()
        assert states == [True, False]
        assert [seq for seq, _ in await store.reader.events(1, 0, 100)] == list(range(1, 60))
        image = await store.reader.session("key-1")
        assert image is not None
        assert image.session.seq == 59
        assert store.writer.statistics.backlog == 0
        assert len(collected) == 59
        assert trio.current_time() < 60


async def test_full_backlog_refuses(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Past the bound of the backlog nothing more is taken, and nothing taken is dropped."""
    states, collected = States(), Collected()
    async with open_store(
        database(tmp_path), InlineRunner(), backlog_bytes=5_000, on_state=states.note
    ) as store:
        await store.writer.submit(turn(1), collected.then(1))
        await store.writer.perform(full_after(0))
        number = 1
        while store.writer.accepting:
            number += 1
            await store.writer.submit(turn(number, content="x" * 900), collected.then(number))
            await store.writer.settled()
        number += 1
        with pytest.raises(StorageUnavailable, match="free space"):
            await store.writer.submit(turn(number), ignore)
        with pytest.raises(StorageUnavailable):
            store.writer.submit_nowait(turn(number), ignore)
        connection = store.writer._committer._connection
        assert connection is not None
        unlimited(connection)
        await states.sound.wait()
        await store.writer.submit(turn(number), collected.then(number))
        await store.writer.settled()
        assert collected[-1] == (number, True)
        assert len(await store.reader.memories(Query(1, exclude_in_ram=False, limit=100))) == number


async def test_bad_record_in_the_backlog_is_reported_late(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A submission that the schema refuses when the backlog is written is reported, its neighbours kept."""
    faults: list[str] = []
    states = States()
    async with open_store(
        database(tmp_path),
        InlineRunner(),
        on_state=states.note,
        on_fault=lambda error, about: faults.append(about),
    ) as store:
        await store.writer.submit(turn(1), ignore)
        await store.writer.perform(full_after(0))
        for number in range(2, 30):
            await store.writer.submit(turn(number, content="x" * 900), ignore)
        await store.writer.submit([event(29)], ignore)
        await store.writer.submit(turn(30), ignore)
        await store.writer.settled()
        assert store.writer.degraded is not None
        assert faults == []
        connection = store.writer._committer._connection
        assert connection is not None
        unlimited(connection)
        await states.sound.wait()
        assert faults == ["session 1: EventRecord"]
        assert [seq for seq, _ in await store.reader.events(1, 0, 100)] == list(range(1, 31))


async def test_locked_database_is_a_fault_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program that holds the write lock too long degrades the store, with real threads."""
    monkeypatch.setattr("spiderwebd.store.schema.BUSY_SECONDS", 0.05)
    degraded, sound = trio.Event(), trio.Event()
    async with open_store(
        database(tmp_path), on_state=lambda bad, reason: (degraded if bad else sound).set()
    ) as store:
        other = sqlite3.connect(database(tmp_path), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        collected = Collected()
        store.writer.submit_nowait(turn(1), collected.then(1))
        await degraded.wait()
        assert collected == [(1, False)]
        other.execute("ROLLBACK")
        other.close()
        await sound.wait()
        assert await store.reader.events(1, 0, 5) == [(1, event(1).frame)]


@runners
async def test_closing_writes_what_was_submitted(tmp_path: Path, runner: Any) -> None:
    """Leaving the block commits everything first; afterwards nothing is taken."""
    collected = Collected()
    async with open_store(database(tmp_path), runner()) as store:
        for number in range(1, 300):
            store.writer.submit_nowait(turn(number), collected.then(number))
    assert collected.durable() == list(range(1, 300))
    assert not store.writer.accepting
    with pytest.raises(StorageUnavailable, match="closed"):
        store.writer.submit_nowait(turn(300), ignore)
    with pytest.raises(StorageUnavailable, match="closed"):
        await store.writer.perform(unlimited)
    connection = sqlite3.connect(database(tmp_path))
    assert connection.execute("SELECT max(seq) FROM events").fetchone() == (299,)
    connection.close()


async def test_closing_with_a_backlog_says_what_is_lost(tmp_path: Path, autojump_clock: MockClock) -> None:
    """When the disk stays full to the end, closing fails and says how much never reached it."""
    with pytest.RaisesGroup(pytest.RaisesExc(StorageUnavailable, match="never reached the disk")):
        async with open_store(database(tmp_path), InlineRunner()) as store:
            await store.writer.submit(turn(1), ignore)
            await store.writer.perform(full_after(0))
            for number in range(2, 60):
                await store.writer.submit(turn(number, content="x" * 500), ignore)
            await store.writer.settled()


async def test_dead_thread_ends_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that dies by a bug raises in serve and wakes up everybody who waits for it."""

    def die(self: Any, batch: Any) -> None:
        raise AssertionError("a bug in the thread")

    outcome: list[str] = []

    async def wait(writer: Writer) -> None:
        with pytest.raises(StorageUnavailable, match="thread has ended"):
            await writer.settled()
        outcome.append("settled")

    async def perform(writer: Writer) -> None:
        with pytest.raises(StorageUnavailable, match="thread has ended"):
            await writer.perform(unlimited)
        outcome.append("performed")

    with pytest.RaisesGroup(pytest.RaisesExc(StoreDiedError, match="a bug in the thread")):
        async with open_store(database(tmp_path)) as store:
            monkeypatch.setattr("spiderwebd.store.committer.Committer.run", die)
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    store.writer.submit_nowait([session()], ignore)
                    nursery.start_soon(wait, store.writer)
                    nursery.start_soon(perform, store.writer)
                # Who asks only afterwards must not wait for ever either.
                await wait(store.writer)
            await trio.sleep_forever()
    assert sorted(outcome) == ["performed", "settled", "settled"]
    assert not store.writer.accepting
