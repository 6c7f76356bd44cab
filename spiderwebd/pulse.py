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
from spiderwebd.clock import Clock
from spiderwebd.core.codes import Code, Refused
from spiderwebd.core.overload import Measure, Overload
from spiderwebd.metrics import Metrics
from spiderwebd.store.writer import Writer

LAG_PROBE_SECONDS = 0.25
"""Rare enough to cost nothing, often enough to see what a person would notice."""

ANSWER_SECONDS = 5.0
"""A store that has not answered for so long is called stalled."""

LATE_LOOKS = 3
"""So many looks in a row must find a write that old: the first after the process itself was stopped finds
one, though the store is as quick as ever."""

STEP_SECONDS = 1.0
"""A wall clock that is wrong by so much was set, and is said; what is less comes from reading two clocks."""

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
    on_overload: Callable[[str, float, int], None]
    """Called with (reason, 0, 0) when overload begins, with ("", its seconds, links refused) when it ends."""
    clock: Clock
    on_step: Callable[[float], None]
    """Called with the seconds by which the system's wall clock was set, once for each time."""
    waiting: Callable[[], bool]
    """Whether anything waits or runs that has a deadline."""
    watchdog_seconds: float | None = None
    lag: float = 0.0
    """Seconds by which the loop woke up late, last time it was measured."""
    stalled: bool = False
    _silent_since: float | None = field(default=None, init=False)
    _late_looks: int = field(default=0, init=False)
    _step_told: float = field(default=0.0, init=False)
    _refused_before: int = field(default=0, init=False)

    async def probe_lag(self) -> None:
        """Measure how late the loop, the store and the wall clock are, until cancelled."""
        while True:
            due = trio.current_time() + LAG_PROBE_SECONDS
            await trio.sleep_until(due)
            self.lag = trio.current_time() - due
            self.metrics.loop_lag_seconds.observe(self.lag)
            measure = Measure(self.lag, self.writer.statistics.oldest_seconds, resident_bytes())
            self.metrics.store_lag_seconds.observe(measure.store_seconds)
            if self.overload.observe(trio.current_time(), measure):
                self._tell_overload()
            self._look_at_store(measure.store_seconds)
            self._look_at_wall()

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
            self._say_stalled(False)
            return
        if trio.current_time() - asked > seconds + 1:
            return  # this process was stopped meanwhile, and the store with it
        if self._silent_since is None:
            self._silent_since = asked
        if trio.current_time() - self._silent_since >= ANSWER_SECONDS:
            self._say_stalled(True)

    def _look_at_store(self, oldest_seconds: float) -> None:
        """See between two beats that a write does not come back, and that it has."""
        self._late_looks = self._late_looks + 1 if oldest_seconds >= ANSWER_SECONDS else 0
        if self._late_looks >= LATE_LOOKS:
            self._say_stalled(True)
        elif not self._late_looks and self._silent_since is None:
            self._say_stalled(False)

    def _say_stalled(self, stalled: bool) -> None:
        if self.stalled != stalled:
            self.stalled = stalled
            self.on_stall(stalled)

    def _tell_overload(self) -> None:
        refused = self.metrics.links_refused.total()
        if self.overload.reason:
            self._refused_before = refused
            self.on_overload(self.overload.reason, 0.0, 0)
        else:
            lasted = trio.current_time() - self.overload.began
            self.on_overload("", lasted, refused - self._refused_before)

    def _look_at_wall(self) -> None:
        """Say that the wall clock was set, and follow it as soon as no deadline can be met by it."""
        stepped = self.clock.stepped()
        if abs(stepped - self._step_told) >= STEP_SECONDS:
            self.on_step(stepped - self._step_told)
            self._step_told = stepped
        if self._step_told and not self.waiting():
            self.clock.follow()
            self._step_told = 0.0
