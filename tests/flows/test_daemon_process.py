"""The helper that runs a real daemon: it starts, dies, comes back, and says why when it cannot."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from spiderwebd.client.health import probe
from tests.flows.daemon_process import DaemonFailed, DaemonProcess

PATIENCE = 10.0


def test_killed_and_started_again_on_the_same_port(tmp_path: Path) -> None:
    """Port and token stay; the child of before is gone."""
    with DaemonProcess(tmp_path) as daemon:
        listen, token, pid = daemon.listen, daemon.token, daemon.pid
        assert daemon.kill() == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        daemon.start()
        assert (daemon.listen, daemon.token, daemon.starts) == (listen, token, 2)
        assert probe(daemon.place, "/readyz", PATIENCE) == (200, "ready")
        daemon.restart()
        assert daemon.starts == 3
        assert daemon.terminate() == 0
    assert not daemon.running


def test_no_child_is_left_behind(tmp_path: Path) -> None:
    """Leaving the block ends the daemon, whatever happened in it."""
    daemon = DaemonProcess(tmp_path)
    pid = 0

    def goes_wrong() -> None:
        nonlocal pid
        with daemon:
            pid = daemon.pid
            raise KeyError("something")

    with pytest.raises(KeyError):
        goes_wrong()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_daemon_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The log is in the failure, so that a failing test can be understood."""
    with pytest.raises(DaemonFailed, match=r"(?s)status 78 before it was ready.*limits\.links"):
        DaemonProcess(tmp_path, {"limits.links": "many"}).start()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("print('hello')", "no JSON"),
        ("print('{}')", "not the ready line"),
        ("raise SystemExit(3)", "status 3"),
        ("import signal; signal.pause()", "not ready in time"),
    ],
)
def test_something_else_is_no_daemon(tmp_path: Path, program: str, said: str) -> None:
    """A program that does not say it is ready fails the start, within its deadline."""
    daemon = DaemonProcess(tmp_path, command=[sys.executable, "-c", program])
    with pytest.raises(DaemonFailed, match=said):
        daemon.start(timeout=1.5 if "pause" in program else PATIENCE)
    assert not daemon.running


def test_no_such_program(tmp_path: Path) -> None:
    """A command that is not there is told as such."""
    with pytest.raises(DaemonFailed, match="cannot be started"):
        DaemonProcess(tmp_path, command=["/nonexistent/spiderwebd"]).start()
