"""SIGHUP: a good configuration takes force without a restart, a bad one changes nothing and says why."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.flows.daemon_process import DaemonProcess
from tests.flows.talking import Talker


def _reload(daemon: DaemonProcess, text: str, line: str) -> None:
    """Write the configuration, send SIGHUP, and wait until the log has one more such line."""
    before = daemon.stderr.count(line)
    (daemon.folder / "empty.toml").write_text(text)
    daemon.send_signal(signal.SIGHUP)
    with Talker(daemon.place) as clock:
        # The log is written by a thread of its own; each round trip gives it time and costs no sleep.
        for _ in range(20_000):
            if daemon.stderr.count(line) > before:
                return
            clock.ask("ping")
    raise AssertionError(f"no {line!r} in the log:\n{daemon.stderr}")


def test_a_new_configuration_takes_force(tmp_path: Path) -> None:
    """A changed limit holds for the next request of a session that is awake, and new links are told of it."""
    with DaemonProcess(tmp_path) as daemon, Talker(daemon.place) as talker:
        assert talker.ask("memory.create", id="a", content="x" * 200)["type"] == "session.accepted"
        _reload(daemon, "[limits]\nmessage_bytes = 100\n", "the configuration was reloaded")
        assert talker.ask("memory.create", id="b", content="x" * 200)["code"] == "message_too_large"
        with Talker(daemon.place) as other:
            assert other.ack["limits"]["messageBytes"] == 100
        _reload(daemon, "", "the configuration was reloaded")
        assert talker.ask("memory.create", id="c", content="x" * 200)["type"] == "session.accepted"


def test_a_bad_configuration_changes_nothing(tmp_path: Path) -> None:
    """A file with mistakes is refused as a whole, each mistake is in the log, and links stay."""
    with DaemonProcess(tmp_path) as daemon, Talker(daemon.place) as talker:
        bad = "[limits]\nmessage_bytes = 100\nmesage_bytes = 7\ninbox = -1\n"
        _reload(daemon, bad, "the new configuration is refused, the old one stays")
        line = next(line for line in daemon.stderr.splitlines() if "the old one stays" in line)
        for part in ("mesage_bytes", "message_bytes", "inbox", "empty.toml"):
            assert part in line
        assert talker.ask("memory.create", id="a", content="x" * 200)["type"] == "session.accepted"
        _reload(daemon, "not TOML at all", "the new configuration is refused, the old one stays")
        _reload(daemon, "[limits]\nmessage_bytes = 100\n", "the configuration was reloaded")
        assert talker.ask("memory.create", id="b", content="x" * 200)["code"] == "message_too_large"
        assert daemon.terminate() == 0
