"""Idle sessions leave memory and come back as they were, through the real daemon."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from tests.flows.daemon_process import DaemonProcess
from tests.flows.talking import Talker

QUICK = {"sessions.hibernate_seconds": 0.05, "memory.max_entries": 8}


def _awake(daemon: DaemonProcess) -> float:
    request = urllib.request.Request(
        f"http://{daemon.listen}/metrics", headers={"Authorization": f"Bearer {daemon.token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        lines = response.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith("spiderwebd_sessions_awake ")).split()[1])


def _until_asleep(daemon: DaemonProcess, count: int = 0) -> None:
    """Ask the metrics until only so many sessions are awake."""
    for _ in range(10_000):
        if _awake(daemon) <= count:
            return
    raise AssertionError("the sessions do not go to sleep")


def test_a_session_sleeps_and_comes_back(tmp_path: Path) -> None:
    """After its link has gone a session leaves memory; attaching brings back memory, story, mode and ids."""
    with DaemonProcess(tmp_path, QUICK) as daemon:
        with Talker(daemon.place) as first:
            for number in range(20):
                first.say("memory.create", id=f"m{number}", content=f"memory {number}")
                first.until("session.accepted", request=f"m{number}")
            first.say("chat.send", id="g", content="/goal search for memory")
            first.until("session.receive", request="g")
            first.say("agent.control", id="p", action="pause")
            first.until("agent.state", request="p")
            first.say("memory.recall", id="r", limit=128)
            before = first.until("memory.recall", request="r")
        _until_asleep(daemon)
        with Talker(daemon.place, first.key, 0) as back:
            back.up_to(first.seen)
            assert back.story == first.story
            back.say("memory.recall", id="r", limit=128)
            assert back.until("memory.recall", request="r") == before
            back.say("agent.control", id="s", action="state")
            state = back.until("agent.state", request="s")
            assert (state["mode"], state["lastGoal"]) == ("paused", "search for memory")
            back.say("memory.create", id="m3", content="memory 3")
            assert back.until("session.accepted", request="m3")["seq"] in back.seqs[: first.seen]
            fresh = back.ask("memory.create", id="new", content="new")
            assert fresh["seq"] == first.seen + 1


def test_a_session_sleeps_and_wakes_many_times(tmp_path: Path) -> None:
    """Links that come and go as the session falls asleep never meet a session that does not answer."""
    with DaemonProcess(tmp_path, QUICK) as daemon:
        key: str | None = None
        seen = 0
        for number in range(60):
            with Talker(daemon.place, key, seen if key else None) as talker:
                assert key is None or talker.key == key
                talker.say("memory.create", id=f"m{number}", content=f"memory {number}")
                talker.until("session.accepted", request=f"m{number}")
                assert talker.seqs == list(range(seen + 1, talker.seen + 1))
                key, seen = talker.key, talker.seen
        _until_asleep(daemon)
        assert "ended by a fault" not in daemon.stderr


def test_a_session_with_work_stays_awake(tmp_path: Path) -> None:
    """A paused goal keeps its session awake without a link; it speaks, and is there at once."""
    settings = {**QUICK, "heartbeat.interval_seconds": 0.1, "heartbeat.jitter_seconds": 0}
    with DaemonProcess(tmp_path, settings) as daemon:
        with Talker(daemon.place) as idle, Talker(daemon.place) as first:
            first.say("chat.send", id="g", content="/goal search for tea; search for milk", pauseBefore=2)
            first.until("agent.state", phase="workers.paused")
            assert idle.key
        _until_asleep(daemon, 1)
        with Talker(daemon.place, first.key, first.seen) as back:
            back.until("agent.heartbeat")
            back.say("agent.control", action="resume")
            back.until("session.receive", request="g")
