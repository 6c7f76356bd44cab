"""The real daemon while all its queues are full, and then something goes wrong.

Each test says which frames clients are sent and which lines the operator finds, and ends like every other:
no client's story has a gap or a frame twice, everything accepted has its one outcome, and the daemon's own
sums hold (`pressure`). What takes ten seconds by its nature is in `make test-long`.
"""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from time import monotonic, time

import pytest
import trio

from tests.bench.peer import Peer, open_patiently
from tests.flows.daemon_process import DaemonProcess
from tests.load.pressure import PATIENCE, SETTINGS, journal, pressure, told
from tests.load.wall import SteppedWall
from tests.store.faults.disk import FaultyDisk, Mode

WATCHDOG_SECONDS = 6.0


async def test_a_full_disk_and_its_recovery(tmp_path: Path, disk: FaultyDisk) -> None:
    """Disk full: acknowledged with durable:false, refused once memory is full, told, and recovered from.

    Frames: session.accepted with `durable: false`; error storage_unavailable with a delay; agent.state of
    lifecycle degraded, then another, to who watches. Journal: storage_degraded once, storage_recovered once.
    """
    settings = {**SETTINGS, "store.backlog_bytes": 65_536}
    with DaemonProcess(tmp_path, settings, environment=disk.environment) as daemon:
        async with pressure(daemon) as pressing:
            bystander = await pressing.beside()
            account = pressing.account
            assert account.undurable == 0
            disk.set(Mode.FULL)
            await pressing.until(lambda: account.undurable > 0, "an acceptance that is not durable")
            await pressing.until(lambda: account.refused["storage_unavailable"] > 10, "refusals")
            await pressing.until(lambda: "degraded" in bystander.lifecycles, "a watcher that is told")
            assert await trio.to_thread.run_sync(pressing.ready) == 503
            disk.set(Mode.SOUND)
            await pressing.until(lambda: bystander.lifecycles[-1] == "idle", "a watcher that is told so")
            assert await trio.to_thread.run_sync(pressing.ready) == 200
            assert bystander.lifecycles == ["idle", "degraded", "idle"]
        assert daemon.terminate() == 0
        assert told(daemon) == [
            "started", "ready", "storage_degraded", "storage_recovered", "stopping", "stopped",
        ]  # fmt: skip
        assert "disk is full" in journal(daemon)[2]["reason"]


@pytest.mark.long
async def test_a_disk_that_stalls_for_ten_seconds(tmp_path: Path, disk: FaultyDisk) -> None:
    """Stalled: pings go on, the door sheds, degraded is said, and the watchdog is fed all the time.

    Frames: pong at once; agent.state of lifecycle degraded, then idle, to who watches; HTTP 503 queue_full
    with Retry-After to who comes. Journal: overload_began (the store is behind), storage_degraded (the store
    does not answer), storage_recovered, overload_ended with how long and how many links were refused.
    """
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    manager.bind(str(tmp_path / "notify"))
    environment = {
        **disk.environment,
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1_000_000)),
    }
    with manager, DaemonProcess(tmp_path, SETTINGS, environment=environment) as daemon:
        async with pressure(daemon) as pressing:
            bystander = await pressing.beside()
            beats = _Beats(manager)
            pressing.nursery.start_soon(beats.listen)
            done, pongs = pressing.account.outcomes.total(), bystander.pings.total
            disk.set(Mode.STALLED)
            began = trio.current_time()
            await pressing.until(lambda: bystander.lifecycles[-1] == "degraded", "a watcher that is told")
            assert await trio.to_thread.run_sync(pressing.ready) == 503
            status, reason = await pressing.door()
            assert status == 503, reason
            await trio.sleep_until(began + 10)
            # Nothing that is not on the disk was shown, and what needs no disk was answered.
            assert pressing.account.outcomes.total() <= done + 2 * len(pressing.clients)
            assert bystander.pings.total > pongs + 50
            disk.set(Mode.SOUND)
            await pressing.until(lambda: bystander.lifecycles[-1] == "idle", "a watcher that is told so")
            await pressing.until(lambda: "overload_ended" in told(daemon), "the end of the overload")
            assert (await pressing.door())[0] == 101
            assert bystander.lifecycles == ["idle", "degraded", "idle"]
            assert beats.longest < WATCHDOG_SECONDS
            assert "storage degraded: the store does not answer; the disk stalls" in beats.said
        assert daemon.terminate() == 0
        lines = journal(daemon)
        assert [line["event"] for line in lines] == [
            "started", "ready", "overload_began", "storage_degraded", "storage_recovered", "overload_ended",
            "stopping", "stopped",
        ]  # fmt: skip
        assert "the store is" in lines[2]["reason"]
        assert "does not answer" in lines[3]["reason"]
        assert lines[5]["links_refused"] >= 1
        assert 5 < lines[5]["seconds"] < 40
        assert 8 < lines[5]["store_seconds"] < 40


async def test_sigkill(tmp_path: Path) -> None:
    """Killed: every client resumes its own session, and what was accepted is carried on to its end.

    Frames: session.ack with `restored: true`, then what was missed; repeats are answered as before. A task
    whose effect might be done twice is told blocked, interrupted. Journal: a second start like the first.
    """
    with DaemonProcess(tmp_path, SETTINGS) as daemon:
        async with pressure(daemon) as pressing:
            await trio.to_thread.run_sync(daemon.kill)
            attached = pressing.account.attached[True]
            await trio.to_thread.run_sync(daemon.start)
            await pressing.until(
                lambda: pressing.account.attached[True] == attached + len(pressing.clients), "all resumed"
            )
            assert pressing.account.attached[False] == len(pressing.clients)
        assert daemon.terminate() == 0
        assert told(daemon) == ["started", "ready", "started", "ready", "stopping", "stopped"]


@pytest.mark.long
async def test_stopped_for_ten_seconds(tmp_path: Path) -> None:
    """SIGSTOP, ten seconds, SIGCONT: as if nothing had been, but later.

    Frames: no link is closed, nothing is expired, nobody is told degraded. Journal: nothing.
    """
    with DaemonProcess(tmp_path, SETTINGS) as daemon:
        async with pressure(daemon) as pressing:
            bystander = await pressing.beside()
            daemon.send_signal(signal.SIGSTOP)
            await trio.sleep(10)  # the fault itself: it lasts so long
            pongs, done = bystander.pings.total, pressing.account.outcomes.total()
            daemon.send_signal(signal.SIGCONT)
            await pressing.until(lambda: bystander.pings.total > pongs + 100, "answers again")
            await pressing.until(lambda: pressing.account.outcomes.total() > done + 20, "work that goes on")
            assert 9 < bystander.slowest_ping < 15
            assert not pressing.account.shed
            assert bystander.lifecycles == ["idle"]
            assert not pressing.account.outcomes["expired"]
        assert daemon.terminate() == 0
        assert told(daemon) == ["started", "ready", "stopping", "stopped"]


async def test_the_wall_clock_is_set_forwards_and_back(tmp_path: Path, clock: SteppedWall) -> None:
    """A day forwards, two days back, and right again: deadlines and ages are those of the time that passed.

    Frames: nothing is expired; no age is longer than the test. Journal: clock_stepped once for each, with its
    seconds. A daemon that nothing waits in follows the clock.
    """
    with DaemonProcess(tmp_path, SETTINGS, environment=clock.environment) as daemon:
        began = monotonic()
        async with pressure(daemon) as pressing:
            steps = (86_400, -86_400, 0)
            for number, seconds in enumerate(steps, start=1):
                clock.set(seconds)
                await pressing.until(lambda: told(daemon).count("clock_stepped") == number, "a line")  # noqa: B023
                await pressing.pressed()
                peer = await Peer.open(pressing.target, pressing.clients[0].key)
                await peer.send({"type": "agent.control", "action": "state", "id": "s"})
                # The session's own story has frames of this type too.
                while (state := await peer.receive()).get("request") != "s":
                    pass
                ages = [goal["ageMs"] for goal in state["goals"]]
                assert max(ages, default=0) <= (monotonic() - began) * 1000
                await trio.aclose_forcefully(peer.stream)
            assert not pressing.account.outcomes["expired"]
        # Nothing waits any more: now it is the system's time that is told.
        clock.set(3 * 86_400)
        seconds = 0.0
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + 20
            peer = await Peer.open(pressing.target)
            while abs(seconds - 3 * 86_400) > 60:
                await peer.send({"type": "ping", "id": "p"})
                while (pong := await peer.receive())["type"] != "pong":
                    pass
                seconds = pong["timestamp"] / 1000 - time()
            await trio.aclose_forcefully(peer.stream)
        assert daemon.terminate() == 0
        lines = [line["seconds"] for line in journal(daemon) if line["event"] == "clock_stepped"]
        assert [round(line / 86_400, 3) for line in lines] == [1, -2, 1, 3]


async def test_five_hundred_links_drop_at_once(tmp_path: Path) -> None:
    """500 links, those of the busy sessions among them, are gone in the same moment, without a word.

    Frames: none; who comes back has `restored: true` and what it missed. Journal: nothing. The sessions'
    work goes on meanwhile, and no descriptor is left.
    """
    with DaemonProcess(tmp_path, SETTINGS) as daemon:
        async with pressure(daemon) as pressing:
            descriptors = _descriptors(daemon)
            links = [await Peer.open(pressing.target)]
            key = links[0].ack["sessionKey"]

            async def look_on() -> None:
                deadline = trio.current_time() + PATIENCE
                links.append(await open_patiently(pressing.target, key, None, lambda reason: None, deadline))

            try:
                async with trio.open_nursery() as nursery:
                    for _ in range(499 - len(pressing.clients)):
                        nursery.start_soon(look_on)
                assert _descriptors(daemon) >= descriptors + len(links)
            finally:
                attached = pressing.account.attached[True]
                for link in [*links, *(client.peer for client in pressing.clients if client.peer)]:
                    # Reset, not closed: nothing that was on its way arrives any more.
                    link.stream.socket.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, "little") * 2
                    )
                    link.stream.socket.close()
            await pressing.until(
                lambda: pressing.account.attached[True] >= attached + len(pressing.clients), "all resumed"
            )
            assert pressing.account.attached[False] == len(pressing.clients)
            await pressing.until(lambda: _descriptors(daemon) <= descriptors + 8, "descriptors closed")
        assert daemon.terminate() == 0
        assert told(daemon) == ["started", "ready", "stopping", "stopped"]


class _Beats:
    """What systemd would hear."""

    def __init__(self, manager: socket.socket) -> None:
        self._manager = trio.socket.from_stdlib_socket(manager)
        self._last = trio.current_time()
        self.longest = 0.0
        """Seconds between two beats, at most."""
        self.said = ""

    async def listen(self) -> None:
        """Hear until cancelled."""
        while True:
            text = (await self._manager.recv(4096)).decode()
            self.said += text + "\n"
            if "WATCHDOG=1" in text:
                now = trio.current_time()
                self.longest, self._last = max(self.longest, now - self._last), now


def _descriptors(daemon: DaemonProcess) -> int:
    return len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
