"""The real daemon on a disk that fails: degraded, never dead, nothing acknowledged lost, back by itself."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from time import monotonic

import pytest

from spiderwebd.client.connection import Connection, Frame
from spiderwebd.client.errors import ClientError
from spiderwebd.client.health import probe
from tests.flows.daemon_process import DaemonFailed, DaemonProcess
from tests.store.faults.disk import FaultyDisk, Mode

PATIENCE = 30.0
TEXT = "a memory of some length " * 20


class Session:
    """One client of one session, and what it was promised."""

    def __init__(self, daemon: DaemonProcess, key: str | None = None, after: int | None = None) -> None:
        self.link = Connection.open(daemon.place, session=key, after=after)
        self.frames: list[Frame] = []
        self.durable: dict[int, str] = {}
        """Seq to memory text of what was acknowledged without durable:false."""
        self.shaky: dict[int, str] = {}
        """The same, with durable:false."""
        self.count = 0
        self.key = str(self.until("session.ack")["sessionKey"])

    def until(self, *kinds: str, request: str | None = None) -> Frame:
        """The next frame of one of these types (and request)."""
        deadline = monotonic() + PATIENCE
        while True:
            frame = self.link.receive(max(deadline - monotonic(), 0.0))
            assert frame is not None
            self.frames.append(frame)
            if frame["type"] in kinds and (request is None or frame.get("request") == request):
                return frame

    def create(self) -> Frame:
        """Store a memory; its acknowledgement, or the error."""
        self.count += 1
        request, text = f"m{self.count}-{self.key[:4]}", f"{self.count} {TEXT}"
        self.link.send({"type": "memory.create", "content": text, "id": request})
        answer = self.until("session.accepted", "error", request=request)
        if answer["type"] == "session.accepted":
            (self.shaky if answer.get("durable") is False else self.durable)[answer["seq"]] = text
        return answer

    def close(self) -> None:
        """Hang up."""
        self.link.close()


Attach = Callable[..., Session]


@pytest.fixture
def attach(daemon: DaemonProcess) -> Iterator[Attach]:
    """Opens sessions, and closes what a test leaves open."""
    opened: list[Session] = []

    def attach(key: str | None = None, after: int | None = None) -> Session:
        opened.append(Session(daemon, key, after))
        return opened[-1]

    yield attach
    for session in opened:
        session.close()


def until_ready(daemon: DaemonProcess, status: int) -> None:
    """Ask /readyz until it says so."""
    deadline = monotonic() + PATIENCE
    while probe(daemon.place, "/readyz", PATIENCE)[0] != status:
        assert monotonic() < deadline, f"/readyz never said {status}"


def metrics(daemon: DaemonProcess) -> str:
    """What /metrics says."""
    asked = urllib.request.Request(
        f"http://{daemon.listen}/metrics", headers={"Authorization": f"Bearer {daemon.token}"}
    )
    with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def stored(daemon: DaemonProcess, key: str) -> tuple[dict[int, str], dict[int, str]]:
    """Events by seq and memories by id, of a database that nobody has open."""
    with closing(sqlite3.connect(daemon.state_directory / "spiderwebd.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        sid = connection.execute("SELECT sid FROM sessions WHERE key = ?", (key,)).fetchone()[0]
        events = connection.execute("SELECT seq, frame FROM events WHERE sid = ? ORDER BY seq", (sid,))
        memories = connection.execute("SELECT memory_id, content FROM entries WHERE sid = ?", (sid,))
        return dict(events.fetchall()), dict(memories.fetchall())


def hold_to(
    session: Session, events: dict[int, str], memories: dict[int, str], promised: dict[int, str]
) -> None:
    """Everything promised is there, and the log has no hole."""
    assert list(events) == list(range(1, len(events) + 1))
    for seq, text in promised.items():
        frame = json.loads(events[seq])
        assert memories[frame["memoryId"]] == text
    for frame in session.frames:
        if isinstance(frame.get("seq"), int) and frame["type"] != "session.ack" and frame["seq"] in events:
            assert {**json.loads(events[frame["seq"]]), **frame} == frame


@pytest.mark.parametrize("mode", [Mode.FULL, Mode.BROKEN, Mode.TORN, Mode.UNSYNCED])
def test_failing_disk_degrades_refuses_and_recovers(
    daemon: DaemonProcess, disk: FaultyDisk, attach: Attach, mode: Mode
) -> None:
    """Full, broken, torn or unsynced: said everywhere, refused when memory is full, whole afterwards."""
    session = attach()
    for _ in range(5):
        session.create()
    pid = daemon.pid
    disk.set(mode)
    answer = session.create()
    assert answer["durable"] is False
    until_ready(daemon, 503)
    refused = None
    for _ in range(400):
        answer = session.create()
        if answer["type"] == "error":
            refused = answer
            break
    assert refused is not None
    assert refused["code"] == "storage_unavailable"
    assert refused["retry_after_ms"] > 0
    session.link.send({"type": "ping", "id": "alive"})
    session.until("pong")
    session.link.send({"type": "agent.control", "action": "state", "id": "how"})
    assert session.until("agent.state", request="how")["lifecycle"] == "degraded"
    said = metrics(daemon)
    assert 'spiderwebd_requests_refused_total{code="storage_unavailable"}' in said
    assert "spiderwebd_storage_degraded 1.0" in said
    disk.set(Mode.SOUND)
    until_ready(daemon, 200)
    assert "durable" not in session.create()
    session.link.send({"type": "agent.control", "action": "state", "id": "now"})
    assert session.until("agent.state", request="now")["lifecycle"] == "idle"
    said = metrics(daemon)
    assert "spiderwebd_storage_degraded 0.0" in said
    assert "spiderwebd_storage_backlog_bytes 0.0" in said
    assert daemon.pid == pid
    session.close()
    assert daemon.terminate() == 0
    said_in_log = [json.loads(line)["event"] for line in daemon.stderr.splitlines()]
    assert said_in_log.count("storage_degraded") == 1
    assert said_in_log.count("storage_recovered") == 1
    events, memories = stored(daemon, session.key)
    assert session.shaky
    hold_to(session, events, memories, {**session.durable, **session.shaky})


def test_a_disk_that_cannot_be_read(daemon: DaemonProcess, disk: FaultyDisk, attach: Attach) -> None:
    """Whoever needs what is on it is told so and may come again; who is attached goes on, nothing is lost.

    SQLite calls a page that cannot be read a malformed image, so the file may be salvaged once the disk can
    be read again; a salvage that cannot read does not take place.
    """
    sleeper, session = attach(), attach()
    for _ in range(5):
        sleeper.create()
    sleeper.close()
    assert daemon.terminate() == 0  # so that nothing of it is in memory
    daemon.start()
    pid, session = daemon.pid, attach(session.key)
    disk.set(Mode.UNREADABLE)
    answer = None
    with Connection.open(daemon.place, session=sleeper.key, after=0) as link:
        answer = link.receive(PATIENCE)
    assert answer is not None
    assert (answer["type"], answer["code"]) == ("error", "storage_unavailable")
    for _ in range(3):  # tried again, in vain
        failed, deadline = disk.failed_reads, monotonic() + PATIENCE
        with contextlib.suppress(ClientError), Connection.open(daemon.place, session=sleeper.key) as link:
            link.receive(PATIENCE)
        while disk.failed_reads == failed:
            assert monotonic() < deadline, "nothing was read"
    session.link.send({"type": "ping", "id": "alive"})
    session.until("pong")
    disk.set(Mode.SOUND)
    until_ready(daemon, 200)
    again = attach(sleeper.key, 0)
    assert again.frames[0]["restored"] is True
    assert "durable" not in again.create()
    assert daemon.pid == pid
    again.close()
    assert daemon.terminate() == 0
    assert "damaged" not in daemon.stderr or "nothing was lost" in daemon.stderr
    events, memories = stored(daemon, sleeper.key)
    hold_to(again, events, memories, {**sleeper.durable, **again.durable})


@pytest.mark.parametrize("seed", range(6))
def test_power_cut_keeps_what_was_acknowledged(
    daemon: DaemonProcess, disk: FaultyDisk, attach: Attach, seed: int
) -> None:
    """After a power cut, with some unsynced sectors written and others not, every promise is kept."""
    chance = random.Random(seed)
    session = attach()
    for _ in range(chance.randint(5, 60)):
        session.create()
    session.link.send({"type": "memory.create", "content": "on its way", "id": "last"})
    daemon.kill()
    disk.cut_power(chance if seed % 2 else None)
    daemon.start()
    again = attach(session.key, 0)
    again.create()
    again.close()
    assert daemon.terminate() == 0
    events, memories = stored(daemon, session.key)
    hold_to(session, events, memories, session.durable)
    assert "damaged" not in daemon.stderr


def test_lying_disk_is_what_the_power_cut_takes(
    daemon: DaemonProcess, disk: FaultyDisk, attach: Attach
) -> None:
    """A disk that lies about syncs loses what it lied about: so the cut above is a real one. What is left
    is an earlier moment, whole, and the daemon starts from it."""
    session = attach()
    for _ in range(5):
        session.create()
    kept = dict(session.durable)
    disk.set(Mode.LYING)
    for _ in range(5):
        session.create()
    daemon.kill()
    disk.cut_power()
    disk.set(Mode.SOUND)
    daemon.start()
    again = attach(session.key)
    assert again.frames[0]["restored"] is True
    again.close()
    assert daemon.terminate() == 0
    events, memories = stored(daemon, session.key)
    hold_to(session, events, memories, kept)
    assert set(session.durable) - set(events)


def test_power_cut_on_a_degraded_daemon_keeps_the_durable_part(
    daemon: DaemonProcess, disk: FaultyDisk, attach: Attach
) -> None:
    """What was said to be durable before the disk failed survives; what was not may be gone, never half."""
    session = attach()
    for _ in range(10):
        session.create()
    disk.set(Mode.TORN)
    for _ in range(10):
        assert session.create()["durable"] is False
    assert disk.failed_writes
    daemon.kill()
    disk.cut_power()
    disk.set(Mode.SOUND)
    daemon.start()
    until_ready(daemon, 200)
    assert daemon.terminate() == 0
    events, memories = stored(daemon, session.key)
    hold_to(session, events, memories, session.durable)


def test_start_on_a_full_disk_leaves_all_as_it_was(
    daemon: DaemonProcess, disk: FaultyDisk, attach: Attach
) -> None:
    """A start on a full disk serves what is there or says why it cannot; the data is whole either way."""
    session = attach()
    for _ in range(20):
        session.create()
    daemon.kill()
    disk.set(Mode.FULL)
    with contextlib.suppress(DaemonFailed):
        daemon.start()
        until_ready(daemon, 200)
    daemon.close()
    assert "damaged" not in daemon.stderr
    disk.set(Mode.SOUND)
    daemon.start()
    assert daemon.terminate() == 0
    events, memories = stored(daemon, session.key)
    hold_to(session, events, memories, session.durable)
