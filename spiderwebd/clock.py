"""One clock for the whole daemon: wall time for people, monotonic time for deadlines.

Both are read through trio, so a test that runs under MockClock moves them together.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import trio


class Clock(Protocol):
    """What the rooms ask of time. Sleeping is trio's business, not the clock's."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch; may step when the administrator sets the time."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps; only differences mean anything."""


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The clock of the service."""

    def wall_ms(self) -> int:
        """Return the system's wall time in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return trio's current time in seconds."""
        return trio.current_time()


@dataclass(slots=True)
class SteppedClock:
    """Wall time derived from trio's clock, for runs under MockClock; `step` moves the wall alone."""

    base_ms: int = 1_771_150_000_000
    offset_ms: int = 0

    def wall_ms(self) -> int:
        """Return the base, plus what has passed on trio's clock, plus every step so far."""
        return self.base_ms + self.offset_ms + round(trio.current_time() * 1000)

    def monotonic(self) -> float:
        """Return trio's current time in seconds."""
        return trio.current_time()

    def step(self, milliseconds: int) -> None:
        """Step the wall clock as an administrator or NTP would; monotonic time is untouched."""
        self.offset_ms += milliseconds
