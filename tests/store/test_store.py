"""The store as a whole, in processes that are killed or run out of disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from spiderwebd.config_settings import Settings
from spiderwebd.store.retention import Removal
from spiderwebd.store.runner import InlineRunner
from spiderwebd.store.schema import StoreInUseError
from spiderwebd.store.store import RETENTION_FIRST_SECONDS, RETENTION_SECONDS, open_store, policy_of
from tests.store.samples import database, event, ignore, session

ROOT = Path(__file__).parents[2]

TRAFFIC = """
import os, sys, trio
from pathlib import Path
from spiderwebd.store.store import open_store
from tests.store.samples import turn

async def life(store, sid):
    number = 0
    while True:
        number += 1
        done = trio.Event()
        def acknowledge(durable, number=number):
            if durable:
                os.write(1, b"%d %d\\n" % (sid, number))
            done.set()
        await store.writer.submit(turn(number, sid), acknowledge)
        if number % 3:
            await done.wait()

async def main():
    async with open_store(Path(sys.argv[1])) as store, trio.open_nursery() as nursery:
        for sid in range(1, 9):
            nursery.start_soon(life, store, sid)

trio.run(main)
"""

FULL = """
import resource, sys, trio
from pathlib import Path
from spiderwebd.store.store import open_store
from tests.store.samples import Collected, States, turn

async def main():
    states, collected = States(), Collected()
    degraded = trio.Event()
    def note(bad, reason):
        states.note(bad, reason)
        if bad:
            print(reason, flush=True)
            degraded.set()
    async with open_store(Path(sys.argv[1]), on_state=note) as store:
        await store.writer.submit(turn(1), collected.then(1))
        await store.writer.settled()
        size = Path(sys.argv[1] + "-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, resource.RLIM_INFINITY))
        number = 1
        while not degraded.is_set() or number % 50:
            number += 1
            await store.writer.submit(turn(number, content="x" * 300), collected.then(number))
            await store.writer.settled()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with trio.fail_after(30):
            await states.sound.wait()
        seqs = [seq for seq, _ in await store.reader.events(1, 0, 10_000)]
        assert seqs == list(range(1, number + 1)), seqs
        assert states == [True, False], states
        lost = [n for n, durable in collected if not durable]
        assert lost and lost == list(range(lost[0], number + 1)), lost
    print("recovered", flush=True)

trio.run(main)
"""


def child(program: str, path: Path) -> subprocess.Popen[bytes]:
    """Run a program that may import the package and the tests."""
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("acknowledged", [1, 40, 700])
def test_killed_store_has_all_it_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    """After SIGKILL in the middle of traffic every acknowledged turn is whole on the disk, without a gap."""
    process = child(TRAFFIC, database(tmp_path))
    assert process.stdout is not None
    seen: dict[int, int] = {}
    for count, line in enumerate(process.stdout, 1):
        sid, number = map(int, line.split())
        # Acknowledged once each, in order.
        assert number == seen.get(sid, 0) + 1
        seen[sid] = number
        if count == acknowledged:
            process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    assert sum(seen.values()) >= acknowledged
    connection = sqlite3.connect(database(tmp_path))
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for sid, last in seen.items():
        for table, column in (("events", "seq"), ("entries", "memory_id"), ("requests", "seq")):
            count, highest = connection.execute(
                f"SELECT count(*), max({column}) FROM {table} WHERE sid = ?", (sid,)
            ).fetchone()
            assert count == highest >= last
        seq = connection.execute("SELECT seq FROM sessions WHERE sid = ?", (sid,)).fetchone()[0]
        assert seq == highest
    connection.close()


def test_file_that_cannot_grow_degrades_and_recovers(tmp_path: Path) -> None:
    """A real write error (a file size limit) degrades the running store; it recovers without a restart."""
    process = child(FULL, database(tmp_path))
    output, _ = process.communicate(timeout=60)
    reason, last = output.decode().splitlines()
    assert "disk" in reason
    assert last == "recovered"
    assert process.returncode == 0


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A second store over the same file is refused while the first is open."""
    async with open_store(database(tmp_path)):
        with pytest.raises(StoreInUseError):
            async with open_store(database(tmp_path)):
                pass
    async with open_store(database(tmp_path)) as store:
        assert store.writer.accepting


async def test_retention_runs_round_after_round(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Retention follows the settings in force at each round and says what went."""
    settings = Settings()
    settings = settings.model_copy(
        update={"events": settings.events.model_copy(update={"keep_count": 16, "keep_days": 36_500})}
    )
    told: list[list[Removal]] = []
    async with open_store(database(tmp_path), InlineRunner()) as store, trio.open_nursery() as nursery:
        await store.writer.submit([session(), *[event(seq) for seq in range(1, 21)]], ignore)

        async def retain() -> None:
            await store.retain(lambda: settings, on_removed=told.append)

        nursery.start_soon(retain)
        await trio.sleep(RETENTION_FIRST_SECONDS + 1)
        assert told == [[Removal(1, "event", 4)]]
        await store.writer.submit([event(21)], ignore)
        await trio.sleep(RETENTION_SECONDS)
        assert told[1:] == [[Removal(1, "event", 1)]]
        nursery.cancel_scope.cancel("seen enough")


def test_policy_follows_the_settings() -> None:
    """By default 24 archives and 30 days of them are kept, and entries for ever."""
    policy = policy_of(Settings())
    assert (policy.archives_count, policy.archives_days, policy.entries_days) == (24, 30, 0)
