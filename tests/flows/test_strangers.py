"""A session key of somebody else is as good as one that never was: same frames, same log, same numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.flows.daemon_process import DaemonProcess
from tests.flows.raw_socket import RawSocket
from tests.flows.scrape import metrics_of, token_added

PATIENCE = 20.0
SETTINGS = {"log.level": "debug", "log.format": "json", "heartbeat.enabled": False}
OWN = ("sessionKey", "identity", "timestamp", "time", "session", "peer")
"""Fields that are another value in every session."""
MOVING = re.compile(r"_seconds|loop_tasks|resident|process_|python_|sessions_awake|hibernat|loop_lag|_bytes")
"""Numbers that move by themselves."""
Told = tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, float]]


def told(daemon: DaemonProcess, token: str, key: str, *, frame: bool) -> Told:
    """What an attach with this key is told: by frames, by the log, and by which numbers it moved."""
    before, lines = metrics_of(daemon), len(daemon.stderr.splitlines())
    heard: list[dict[str, Any]] = []
    with RawSocket(daemon.listen) as link:
        if frame:
            link.open(None)
            link.say({"type": "connect", "token": token, "resume": {"sessionKey": key, "after": 0}})
        else:
            link.open(token, f"?session={key}&after=0")
        heard.append(link.until("session.ack"))
        link.say({"type": "ping", "id": "end"})
        while heard[-1]["type"] != "pong":
            heard.append(link.hear())
        link.say({"type": "disconnect"})
        assert link.until_closed() == 1000
    deadline = monotonic() + PATIENCE
    while "link ended" not in "".join(daemon.stderr.splitlines()[lines:]) or (
        metrics_of(daemon)["spiderwebd_links"] != before["spiderwebd_links"]
    ):
        assert monotonic() < deadline, "the end of the link was never told"
    after = metrics_of(daemon)
    logged = [json.loads(line) for line in daemon.stderr.splitlines()[lines:]]
    moved = {
        name: after[name] - before.get(name, 0.0)
        for name in after
        if after[name] != before.get(name, 0.0) and not MOVING.search(name)
    }
    return masked(heard), masked(logged), moved


def masked(things: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what differs in any two sessions."""
    return [{name: value for name, value in thing.items() if name not in OWN} for thing in things]


@pytest.mark.parametrize("frame", [False, True], ids=["by URL", "by frame"])
def test_a_strangers_key_tells_nothing(tmp_path: Path, frame: bool) -> None:
    """Whether the session is awake, asleep or was never there: the stranger gets a new one, and no sign."""
    with DaemonProcess(tmp_path, SETTINGS) as daemon:
        token = token_added(daemon, "bob")
        with RawSocket(daemon.listen) as owner:
            owner.open(daemon.token)
            key = str(owner.until("session.ack")["sessionKey"])
            owner.say({"type": "memory.create", "content": "mine", "id": "m"})
            owner.until("session.accepted")
            told(daemon, token, "warm", frame=frame)  # the first read opens a reader
            unknown = told(daemon, token, "x" * 32, frame=frame)
            assert told(daemon, token, key, frame=frame) == unknown
        assert unknown[0][0]["restored"] is False
        assert [line.get("event") for line in unknown[1]].count("attach") == 1
        assert daemon.terminate() == 0
        daemon.start()
        told(daemon, token, "warm", frame=frame)
        asleep = told(daemon, token, key, frame=frame)
        assert asleep == told(daemon, token, "y" * 32, frame=frame)
        assert asleep[0] == unknown[0]
        with RawSocket(daemon.listen) as owner:
            owner.open(daemon.token, f"?session={key}&after=0")
            assert owner.until("session.ack")["restored"] is True
