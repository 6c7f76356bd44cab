"""The soft memory limit on a real daemon: new links are shed at the door, who is inside goes on."""

from __future__ import annotations

import signal
from pathlib import Path
from time import monotonic

from spiderwebd.client.errors import RefusedError
from tests.flows.daemon_process import DaemonProcess
from tests.flows.talking import Talker
from tests.load.pressure import PATIENCE, journal, told

SETTINGS = {"log.format": "json", "heartbeat.enabled": False}


def come(daemon: DaemonProcess) -> RefusedError | None:
    """Attach and leave; why not, if not."""
    try:
        with Talker(daemon.place):
            return None
    except RefusedError as refused:
        return refused


def come_until(daemon: DaemonProcess, *, refused: bool) -> RefusedError | None:
    """Come again and again until it is as wanted."""
    deadline = monotonic() + PATIENCE
    while ((found := come(daemon)) is not None) is not refused:
        assert monotonic() < deadline, found
    return found


def reload(daemon: DaemonProcess, memory_bytes: int) -> None:
    """Let the daemon live by another soft limit."""
    (daemon.folder / "empty.toml").write_text(f"[overload]\nmemory_bytes = {memory_bytes}\n")
    daemon.send_signal(signal.SIGHUP)


def test_above_the_soft_memory_limit_the_door_sheds_until_it_is_over(tmp_path: Path) -> None:
    """Issue 5: 503 with Retry-After at the door, inside nothing changes, and it ends without a restart.

    Journal: overload_began with the memory in use; overload_ended with how long, how much, and how many
    links were refused meanwhile.
    """
    with DaemonProcess(tmp_path, SETTINGS) as daemon, Talker(daemon.place) as talker:
        pid = daemon.pid
        reload(daemon, 1 << 20)
        refused = come_until(daemon, refused=True)
        assert refused is not None
        assert refused.code == "queue_full"
        assert refused.retry_after_ms == 1000
        assert "overloaded" in str(refused)
        for number in range(20):
            assert talker.ask("memory.create", content=f"tea {number}")["type"] == "session.accepted"
        talker.say("chat.send", id="g", content="/goal find tea; report status")
        talker.until("session.receive", request="g")
        count = 1 + sum(come(daemon) is not None for _ in range(5))
        assert count == 6
        reload(daemon, 1 << 40)
        come_until(daemon, refused=False)
        assert daemon.pid == pid
        assert daemon.terminate() == 0
    lines = journal(daemon)
    assert told(daemon) == ["started", "ready", "overload_began", "overload_ended", "stopping", "stopped"]
    assert "MiB of memory are in use" in lines[2]["reason"]
    assert lines[3]["links_refused"] >= count
    assert lines[3]["memory_bytes"] > 1 << 20
    assert lines[3]["seconds"] >= 1
