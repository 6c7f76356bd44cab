"""What a real daemon tells the service manager from its start to its end, on a real notify socket."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.daemon_process import DaemonProcess

PATIENCE = 30.0


class Manager:
    """The service manager's end of the notify socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(PATIENCE)
        self._socket.bind(str(path))

    def until(self, name: str, **more: str) -> dict[str, str]:
        """Return the next message with this field, and the others as given; TimeoutError if none comes."""
        while True:
            rows = self._socket.recv(8192).decode().splitlines()
            message = dict(row.split("=", 1) for row in rows)
            if name in message and more.items() <= message.items():
                return message

    def close(self) -> None:
        """Close it."""
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """One manager."""
    listening = Manager(tmp_path / "notify")
    yield listening
    listening.close()


@pytest.fixture
def daemon(tmp_path: Path, manager: Manager) -> Iterator[DaemonProcess]:
    """A daemon that is ready, with a watchdog of three seconds."""
    environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "3000000"}
    with DaemonProcess(tmp_path, {"heartbeat.interval_seconds": 1}, environment=environment) as process:
        yield process


def test_start_asks_for_time_and_ends_in_readiness(daemon: DaemonProcess, manager: Manager) -> None:
    """Before READY=1 more time is asked for; READY=1 comes with the addresses."""
    assert int(manager.until("EXTEND_TIMEOUT_USEC")["EXTEND_TIMEOUT_USEC"]) >= 10_000_000
    assert daemon.listen in manager.until("READY")["STATUS"]


def test_status_counts_and_the_watchdog_is_fed(daemon: DaemonProcess, manager: Manager) -> None:
    """Each beat carries WATCHDOG=1 and says sessions, links, queue and the last heartbeat."""
    status = manager.until("WATCHDOG")["STATUS"]
    assert re.fullmatch(r"0 sessions awake, 0 links, \d+ writes queued, no heartbeat yet", status)


def test_reload_is_stamped_and_a_refused_one_stays_in_the_status(
    daemon: DaemonProcess, manager: Manager
) -> None:
    """RELOADING=1 has its time stamp, READY=1 follows; the reason of a refusal stays until a good reload."""
    configuration = daemon.folder / "empty.toml"
    configuration.write_text("[limits]\nlinsk = 5\n")
    daemon.send_signal(signal.SIGHUP)
    assert int(manager.until("RELOADING", RELOADING="1")["MONOTONIC_USEC"]) > 0
    assert "limits.linsk" in manager.until("READY")["STATUS"]
    assert "last reload refused: " in manager.until("WATCHDOG")["STATUS"]
    configuration.write_text("[limits]\nlinks = 5\n")
    daemon.send_signal(signal.SIGHUP)
    assert "refused" not in manager.until("READY")["STATUS"]
    assert "refused" not in manager.until("WATCHDOG")["STATUS"]


def test_stop_is_said_with_the_time_it_may_take(daemon: DaemonProcess, manager: Manager) -> None:
    """STOPPING=1 comes with the grace and time beyond it."""
    manager.until("READY")
    assert daemon.terminate() == 0
    message = manager.until("STOPPING")
    assert message["STATUS"].startswith("draining for at most ")
    assert int(message["EXTEND_TIMEOUT_USEC"]) >= 30_000_000
