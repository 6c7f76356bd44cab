"""A daemon that finds its database damaged, at its start or while it serves."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from time import monotonic

from spiderwebd.client.connection import Connection, Frame
from tests.crash.traffic import Client, drive, rest
from tests.flows.daemon_process import DaemonProcess

PAGE = 4_096
PATIENCE = 30.0


def until(link: Connection, kind: str, request: str | None = None) -> Frame:
    """The next frame of a type."""
    deadline = monotonic() + PATIENCE
    while True:
        frame = link.receive(max(deadline - monotonic(), 0.0))
        assert frame is not None
        if frame["type"] in (kind, "error") and (request is None or frame.get("request") == request):
            return frame


def spoil(database: Path, name: str) -> None:
    """Overwrite the root page of a table."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]
    with database.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(os.urandom(PAGE))


def kept_aside(daemon: DaemonProcess) -> list[str]:
    """The damaged files and reports in the state directory."""
    return sorted(name for name in os.listdir(daemon.state_directory) if ".damaged-" in name)


def store_until_durable(link: Connection, deadline: float) -> int:
    """Store memories until one is acknowledged as durable; return its number."""
    number = 0
    while True:
        number += 1
        link.send({"type": "memory.create", "content": f"after {number}", "id": f"a{number}"})
        if "durable" not in until(link, "session.accepted", f"a{number}"):
            return number
        assert monotonic() < deadline, "the store never became sound again"


def test_damaged_at_the_start(tmp_path: Path) -> None:
    """It starts, serves what was saved and says what was not; the damaged file is beside it."""
    with DaemonProcess(tmp_path) as daemon:
        with Connection.open(daemon.place) as link:
            key = until(link, "session.ack")["sessionKey"]
            for number in range(40):
                link.send({"type": "memory.create", "content": f"memory {number}", "id": f"m{number}"})
                until(link, "session.accepted", f"m{number}")
        assert daemon.terminate() == 0
        spoil(daemon.state_directory / "spiderwebd.db", "entries")
        daemon.start()
        report = [name for name in kept_aside(daemon) if name.endswith(".txt")]
        assert len(report) == 1
        with Connection.open(daemon.place, session=key, after=0) as link:
            assert until(link, "session.ack")["restored"] is True
            link.send({"type": "memory.create", "content": "after the damage", "id": "after"})
            assert until(link, "session.accepted", "after")["memoryId"] >= 41
        assert daemon.terminate() == 0


def test_damaged_while_it_serves(tmp_path: Path) -> None:
    """A read that meets damage has it salvaged under way: same process, and the session goes on."""
    with DaemonProcess(tmp_path) as daemon:
        database = daemon.state_directory / "spiderwebd.db"
        client = Client(0, random.Random(1))
        stop = threading.Event()
        threads = drive([client], daemon.place, stop)
        threading.Event().wait(0.5)
        rest([client], threads, stop)
        assert daemon.terminate() == 0
        daemon.start()
        pid = daemon.pid
        spoil(database, "sqlite_autoindex_entries_1")
        spoil(database, "entries")
        deadline = monotonic() + PATIENCE
        number = 0
        while number == 0:
            assert monotonic() < deadline, "the session never came back"
            with Connection.open(daemon.place, session=client.key, after=client.last) as link:
                answer = until(link, "session.ack")
                if answer["type"] == "error":
                    # The read behind the attach met the damage.
                    assert answer["code"] == "storage_unavailable"
                    continue
                number = store_until_durable(link, deadline)
        assert len([name for name in kept_aside(daemon) if name.endswith(".txt")]) == 1
        assert daemon.pid == pid
        assert daemon.terminate() == 0
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored = {text for (text,) in connection.execute("SELECT content FROM entries")}
    assert f"after {number}" in stored
