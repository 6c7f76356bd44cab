"""SIGTERM: what runs may end until the deadline, links hear 1001, and the rest goes on after the start."""

from __future__ import annotations

import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from time import monotonic

import pytest

from spiderwebd.client.errors import LinkLostError
from spiderwebd.core.codes import Close
from tests.flows.daemon_process import DaemonProcess
from tests.flows.talking import Talker

PAUSED = "/goal search for tea; remember tea is green"


def test_an_idle_daemon_stops_at_once(tmp_path: Path) -> None:
    """With idle links SIGTERM ends the daemon well before its grace is used up, each link told 1001."""
    with DaemonProcess(tmp_path, {"shutdown.grace_seconds": 60}) as daemon:
        talkers = [Talker(daemon.place) for _ in range(5)]
        talkers[0].ask("memory.create", id="a", content="tea")
        start = monotonic()
        assert daemon.terminate() == 0
        assert monotonic() - start < 10
        for talker in talkers:
            end = talker.until_closed()
            assert isinstance(end, LinkLostError)
            assert end.close_code == Close.GOING_AWAY
        assert "Traceback" not in daemon.stderr


def test_a_paused_goal_waits_for_the_next_start(tmp_path: Path) -> None:
    """What waits for a person does not hold the stop up, and goes on where it stood after the start."""
    with DaemonProcess(tmp_path, {"shutdown.grace_seconds": 60}) as daemon:
        first = Talker(daemon.place)
        first.say("chat.send", id="g", content=PAUSED, pauseBefore=2)
        first.until("agent.state", phase="workers.paused")
        start = monotonic()
        assert daemon.terminate() == 0
        assert monotonic() - start < 10
        first.until_closed()
        daemon.start()
        with Talker(daemon.place, first.key, first.seen) as back:
            back.say("agent.control", action="resume")
            assert "All 2 tasks are complete" in back.until("session.receive", request="g")["content"]
            assert "interrupted" not in [f["status"] for f in back.frames if f["type"] == "agent.status"]


def test_chats_in_the_queue_are_answered_after_the_start(tmp_path: Path) -> None:
    """Every message accepted before the stop has its one answer, before it or after the start."""
    with DaemonProcess(tmp_path) as daemon:
        first = Talker(daemon.place)
        for number in range(20):
            first.say("chat.send", id=f"c{number}", content=f"question number {number}")
        first.until("session.accepted", request="c19")
        assert daemon.terminate() == 0
        first.until_closed()
        daemon.start()
        with Talker(daemon.place, first.key, 0) as back:
            back.until("session.receive", request="c19")
            answered = [frame["request"] for frame in back.story if frame["type"] == "session.receive"]
            assert answered == [f"c{number}" for number in range(20)]


HANGING = """
import sys
import trio
from spiderwebd.cli import main
from spiderwebd.work.research import ResearchWorker

async def hang(self, task, pass_gate):
    await trio.sleep_forever()

ResearchWorker.__call__ = hang
sys.exit(main())
"""
"""The daemon, but research never ends."""


def _hanging(folder: Path, grace_seconds: float) -> DaemonProcess:
    return DaemonProcess(
        folder, {"shutdown.grace_seconds": grace_seconds}, command=(sys.executable, "-c", HANGING)
    )


def test_the_grace_has_an_end(tmp_path: Path) -> None:
    """A task that does not end is cut off at the deadline, and taken up again by the next start."""
    with _hanging(tmp_path, 1.5) as daemon:
        first = Talker(daemon.place)
        first.say("chat.send", id="g", content="/goal search for tea")
        first.until("agent.state", phase="workers.dispatching")
        start = monotonic()
        assert daemon.terminate() == 0
        assert 1.4 <= monotonic() - start < 10
        first.until_closed()
    with DaemonProcess(tmp_path) as healthy, Talker(healthy.place, first.key, first.seen) as back:
        assert "complete" in back.until("session.receive", request="g")["content"]
        status = [frame["status"] for frame in back.story if frame["type"] == "agent.status"]
        assert status == ["interrupted", "complete"]
        assert back.seqs == list(range(first.seen + 1, back.seen + 1))


def test_a_second_signal_ends_it_now(tmp_path: Path) -> None:
    """While it drains, new work is refused with draining; the second SIGTERM does not wait for the rest."""
    with _hanging(tmp_path, 300) as daemon:
        talker = Talker(daemon.place)
        talker.say("chat.send", id="g", content="/goal search for tea")
        talker.until("agent.state", phase="workers.dispatching")
        daemon.send_signal(signal.SIGTERM)
        # Signals and frames come in no order, so it is asked until the drain has begun.
        number = 0
        while (answer := talker.ask("memory.create", id=f"m{number}", content="tea"))["type"] != "error":
            number += 1
        assert answer["code"] == "draining"
        assert answer["retry_after_ms"] > 0
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"http://{daemon.listen}/readyz", timeout=10)
        start = monotonic()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0
        assert monotonic() - start < 10
        talker.until_closed()
