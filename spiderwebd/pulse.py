"""The daemon's pulse: loop lag, the store's answer, and the watchdog that systemd hears.

WATCHDOG=1 is sent only when the loop turned and the store answered, or is known not to: a disk that
stalls is said (degraded) and waited for, since a restart would not make it faster. Only a store that
stays silent for STALL_SECONDS is taken for dead; then the watchdog is starved on purpose.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from spiderwebd import systemd
from spiderwebd.core.codes import Code, Refused
from spiderwebd.core.overload import Measure, Overload
from spiderwebd.metrics import Metrics
from spiderwebd.store.writer import Writer

LAG_PROBE_SECONDS = 0.25
"""Rare enough to cost nothing, often enough to see what a person would notice."""

ANSWER_SECONDS = 5.0
"""A store that has not answered for so long is called stalled."""

STALL_SECONDS = 90.0
"""After so long without any answer the store's thread is taken for dead."""

BEAT_SECONDS = 10.0
"""Between two looks at the store where no watchdog asks for more."""


_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return the resident memory of this process (proc(5), statm)."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * _PAGE_BYTES


def soft_memory_limit() -> int:
    """Return the memory.high of the own cgroup (v2) in bytes, or 0 where there is none."""
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2]
        text = Path(f"/sys/fs/cgroup{own}/memory.high").read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0


@dataclass(slots=True)
class Pulse:
    """Feels the loop and the store, and tells systemd."""

    writer: Writer
    metrics: Metrics
    status: Callable[[], str]
    on_stall: Callable[[bool], None]
    """Called with True when the store stops answering, with False when it answers again."""
    overload: Overload
    on_overload: Callable[[str], None]
    """Called with the reason when overload begins, with an empty text when it ends."""
    watchdog_seconds: float | None = None
    lag: float = 0.0
    """Seconds by which the loop woke up late, last time it was measured."""
    stalled: bool = False
    _silent_since: float | None = field(default=None, init=False)

    async def probe_lag(self) -> None:
        """Measure how late the loop wakes up, until cancelled."""
        while True:
            due = trio.current_time() + LAG_PROBE_SECONDS
            await trio.sleep_until(due)
            self.lag = trio.current_time() - due
            self.metrics.loop_lag_seconds.observe(self.lag)
            measure = Measure(self.lag, self.writer.statistics.oldest_seconds, resident_bytes())
            if self.overload.observe(trio.current_time(), measure):
                self.on_overload(self.overload.reason)

    async def beat(self) -> None:
        """Ask the store and feed the watchdog, until cancelled."""
        period = BEAT_SECONDS if self.watchdog_seconds is None else self.watchdog_seconds / 3
        while True:
            slot = trio.current_time() + period
            await self._ask_store(min(ANSWER_SECONDS, period))
            if self.alive():
                systemd.notify(WATCHDOG=1, STATUS=self.status())
            await trio.sleep_until(slot)

    def alive(self) -> bool:
        """Whether the watchdog may be fed: False only for a store silent for STALL_SECONDS."""
        return self._silent_since is None or trio.current_time() - self._silent_since < STALL_SECONDS

    def refusal(self) -> Refused | None:
        """Return why the daemon is not ready to keep anything, or None."""
        if self.writer.degraded:
            return Refused("The disk cannot be written; the store is degraded.", Code.STORAGE_UNAVAILABLE)
        if self.stalled:
            return Refused("The store does not answer; the disk stalls.", Code.STORAGE_UNAVAILABLE)
        return None

    async def _ask_store(self, seconds: float) -> None:
        asked = trio.current_time()
        with trio.move_on_after(seconds):
            await self.writer.ping()
            self._silent_since = None
            if self.stalled:
                self.stalled = False
                self.on_stall(False)
            return
        if self._silent_since is None:
            self._silent_since = asked
        if not self.stalled:
            self.stalled = True
            self.on_stall(True)
