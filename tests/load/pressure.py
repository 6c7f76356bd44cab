"""A daemon under more than it can carry, while something goes wrong; then every promise is looked at."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import trio

from spiderwebd.client.health import accounts, probe
from tests.bench.peer import Peer, ShedError, Target
from tests.flows.daemon_process import DaemonProcess
from tests.load.loyal import Account, Bystander, Loyal

SESSIONS = 6
SETTINGS: dict[str, object] = {
    "heartbeat.enabled": False,
    "log.format": "json",
    "workers.total": 2,
    "limits.chats_queued": 2,
    "limits.goals_queued": 2,
    "limits.queries": 2,
    "memory.max_entries": 16,
    "memory_manager.interval_seconds": 0.1,
}
"""Two workers and short queues for six sessions that each want more; memory is compacted all the time."""
PATIENCE = 60.0
EVENTS = (
    "started",
    "ready",
    "storage_degraded",
    "storage_recovered",
    "overload_began",
    "overload_ended",
    "clock_stepped",
    "stopping",
    "stopped",
)


@dataclass(slots=True)
class Pressure:
    """The clients of one test, and what they were told."""

    daemon: DaemonProcess
    nursery: trio.Nursery
    account: Account = field(default_factory=Account)
    clients: list[Loyal] = field(default_factory=list)

    @property
    def target(self) -> Target:
        """Where the daemon is."""
        host, _, port = self.daemon.listen.rpartition(":")
        return Target(host, int(port), self.daemon.token)

    def add(self, sessions: int) -> None:
        """Let this many clients come."""
        for _ in range(sessions):
            client = Loyal(self.target, len(self.clients), self.account)
            self.clients.append(client)
            self.nursery.start_soon(client.run)

    async def beside(self) -> Bystander:
        """Let one quiet client watch; it has been told where it stands."""
        bystander = Bystander(self.target)
        self.nursery.start_soon(bystander.run)
        await self.until(lambda: bool(bystander.states), "an answer to who stands by")
        return bystander

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds that clients see."""
        deadline = trio.current_time() + PATIENCE
        while not holds():
            assert trio.current_time() < deadline, f"it never came to this: {what}; {self.account}"
            await trio.sleep(0.02)  # what holds is counted by many clients, none of which knows it

    async def pressed(self) -> None:
        """Wait until queues are full: everybody is refused something, and everybody's work goes on."""
        refused, done = self.account.refused.total(), self.account.outcomes.total()
        await self.until(
            lambda: (
                self.account.refused["queue_full"] > refused + 5 * len(self.clients)
                and self.account.outcomes.total() > done + 2 * len(self.clients)
            ),
            "full queues",
        )

    async def settled(self) -> None:
        """Ask for nothing more, and wait until everything has its end."""
        for client in self.clients:
            client.ask = False
        await self.until(
            lambda: not any(client.open for client in self.clients),
            f"an end of all of {[list(client.open.values())[:2] for client in self.clients if client.open]}",
        )

    def all_is_kept(self) -> None:
        """What clients were told is one story each, everything accepted ended, and the daemon's sums hold."""
        assert self.account.wrong == []
        deadline = monotonic() + PATIENCE
        while (sums := accounts(self.daemon.place, PATIENCE)) is None or (
            sums.undecided or sums.running or sums.queued
        ):
            assert monotonic() < deadline, sums
        assert sums.lost == 0
        for client in self.clients:
            accepted = [frame["request"] for frame in client.story if frame["type"] == "session.accepted"]
            assert len(accepted) == len(set(accepted)), f"client {client.number}: a request was done twice"

    async def door(self) -> tuple[int, str]:
        """What a new client is told: 101, or why not; the wait it is told is more than nothing."""
        wait = 0.0
        try:
            peer = await Peer.open(self.target)
        except ShedError as shed:
            wait, status = shed.seconds, str(shed)
        else:
            await trio.aclose_forcefully(peer.stream)
            return 101, ""
        assert wait > 0
        return int(status.split()[1]), status

    def ready(self) -> int:
        """The status of /readyz."""
        return probe(self.daemon.place, "/readyz", PATIENCE)[0]


@asynccontextmanager
async def pressure(daemon: DaemonProcess, sessions: int = SESSIONS) -> AsyncIterator[Pressure]:
    """Press a daemon from full queues on; at the end all is settled and every promise is looked at."""
    async with trio.open_nursery() as nursery:
        pressing = Pressure(daemon, nursery)
        pressing.add(sessions)
        await pressing.pressed()
        yield pressing
        await pressing.pressed()
        await pressing.settled()
        pressing.all_is_kept()
        nursery.cancel_scope.cancel(reason="the test is done")


def journal(daemon: DaemonProcess) -> list[dict[str, Any]]:
    """What the daemon logged for its operator, attaches apart; a fault must not be among it."""
    lines = [json.loads(line) for line in daemon.stderr.splitlines() if line.startswith("{")]
    assert not [line for line in lines if line.get("event", "").endswith("_fault")], daemon.stderr
    assert "Traceback" not in daemon.stderr
    return [line for line in lines if line.get("event") in EVENTS]


def told(daemon: DaemonProcess) -> list[str]:
    """The names of these lines."""
    return [line["event"] for line in journal(daemon)]
