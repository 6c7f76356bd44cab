"""The one loop that keeps links alive."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from spiderwebd.core.codes import Close
from spiderwebd.wire.keepalive import KeepaliveSweep


@dataclass(eq=False)
class Line:
    """A link as the sweep sees it; `answers` decides whether a ping is heard."""

    heard_at: float = 0.0
    pinged_at: float = -math.inf
    answers: bool = True
    pings: list[float] = field(default_factory=list)
    closed: list[tuple[float, Close, bool]] = field(default_factory=list)

    def ping(self) -> None:
        """Note the ping; an answering peer is heard at once."""
        now = trio.current_time()
        self.pings.append(now)
        self.pinged_at = now
        if self.answers:
            self.heard_at = now + 0.001

    def close(self, code: Close, reason: str = "", *, flush: bool = True) -> None:
        """Note the end."""
        assert reason
        self.closed.append((trio.current_time(), code, flush))

    def fail(self, fault: Exception) -> None:
        """Note that it ends for a bug."""
        self.close(Close.INTERNAL, str(fault))


async def test_silent_peers_are_pinged_and_then_ended(autojump_clock: trio.testing.MockClock) -> None:
    """A peer that answers pings lives on; one that does not ends within a sweep of its time."""
    sweep = KeepaliveSweep(idle_seconds=240, silent_seconds=300)
    start = trio.current_time()
    lively, dead = Line(start), Line(start, answers=False)
    sweep.watch(lively)
    sweep.watch(dead)
    with trio.move_on_after(1000):
        await sweep.run()
    assert autojump_clock.current_time() >= start + 1000
    assert lively.closed == []
    assert len(lively.pings) in (3, 4)
    assert [round(ping - start) for ping in dead.pings] == [240]
    ended, code, flush = dead.closed[0]
    assert 300 <= ended - start <= 310
    assert (code, flush) == (Close.POLICY, False)


async def test_a_talking_peer_is_never_pinged(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever sends something by itself costs no ping."""
    sweep = KeepaliveSweep(idle_seconds=240, silent_seconds=300)
    line = Line(trio.current_time())

    async def talk() -> None:
        while True:
            line.heard_at = trio.current_time()
            await trio.sleep(100)

    sweep.watch(line)
    with trio.move_on_after(1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            await sweep.run()
    assert (line.pings, line.closed) == ([], [])
    assert autojump_clock.current_time() >= 1000


async def test_links_are_watched_only_while_they_run() -> None:
    """A link that ended is forgotten."""
    sweep = KeepaliveSweep()
    line = Line()
    sweep.watch(line)
    assert len(sweep) == 1
    sweep.forget(line)
    assert len(sweep) == 0
    sweep.sweep(10_000.0)
    await trio.lowlevel.checkpoint()
    assert (line.pings, line.closed) == ([], [])


async def test_close_all_reaches_every_link() -> None:
    """Stopping the daemon says goodbye to all, with what waits sent first."""
    sweep = KeepaliveSweep()
    lines = [Line() for _ in range(3)]
    for line in lines:
        sweep.watch(line)
    sweep.close_all(Close.GOING_AWAY, "stopping")
    await trio.lowlevel.checkpoint()
    assert [line.closed[0][1:] for line in lines] == [(Close.GOING_AWAY, True)] * 3


@pytest.mark.parametrize(("idle", "silent"), [(0, 10), (10, 10), (20, 10)])
def test_impossible_intervals_are_refused(idle: float, silent: float) -> None:
    """A peer must get its ping before it is given up."""
    with pytest.raises(ValueError, match="idle_seconds"):
        KeepaliveSweep(idle_seconds=idle, silent_seconds=silent)
