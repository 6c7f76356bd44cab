"""How long a start takes after SIGKILL when much is stored: a figure for people, and a look at the log."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic

import pytest
import trio

from spiderwebd.core.records import EntryKind, EntryRecord, EventRecord, Record, SessionRecord
from spiderwebd.store.indexing import step
from spiderwebd.store.store import DATABASE, open_store
from tests.flows.daemon_process import DaemonProcess

ENTRIES = 100_000
SESSIONS = 200
STARTS = 5
NOW_MS = 1_771_150_000_000


async def fill(path: Path, entries: int, sessions: int) -> None:
    """Store so many memories through the store's own door."""
    each = entries // sessions
    async with open_store(path, synchronous="OFF") as store:
        for sid in range(1, sessions + 1):
            records: list[Record] = [
                SessionRecord(
                    sid, f"key-{sid}", "default", "default", NOW_MS, NOW_MS, each + 1, 1, each,
                    "running", "", 0, "{}",
                )
            ]  # fmt: skip
            for number in range(1, each + 1):
                text = f"memory {number} of session {sid}: " + "words that say something " * 8
                records.append(
                    EntryRecord(sid, number, EntryKind.ENTRY, "user", text, NOW_MS, in_ram=number > each - 32)
                )
                frame = f'{{"type":"session.accepted","seq":{number}}}'
                records.append(EventRecord(sid, number, "session.accepted", f"r{number}", frame, NOW_MS))
            await store.writer.submit(records, lambda durable: None)
        await store.writer.settled()
        # Let the index be made, as it is in a daemon that has run for a while.
        while store.writer.statistics.unindexed:
            await store.writer.perform(lambda connection: step(connection, 1_000))


@pytest.mark.long
def test_start_after_kill_at_a_hundred_thousand_entries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed and started again over 100,000 entries: prints the seconds until ready."""
    daemon = DaemonProcess(tmp_path)
    daemon.state_directory.mkdir(mode=0o700)
    trio.run(fill, daemon.state_directory / DATABASE, ENTRIES, SESSIONS)
    seconds = []
    with daemon:
        for _ in range(STARTS):
            daemon.kill()
            began = monotonic()
            daemon.start()
            seconds.append(monotonic() - began)
    size = os.path.getsize(daemon.state_directory / DATABASE) / 1e6
    figures = f"ready {min(seconds):.2f} to {max(seconds):.2f} s after SIGKILL"
    with capsys.disabled():
        print(f"\n{ENTRIES} entries, {size:.0f} MB: {figures}")
    assert "damaged" not in daemon.stderr
