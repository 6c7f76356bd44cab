"""One clock for the whole daemon: wall time for people, monotonic time for deadlines.

Deadlines stand in rows as wall time, so that they hold over a restart. Within a run the wall therefore
does not step: the service's clock goes on evenly when the system's is set, and follows it when nothing
waits. Tests under MockClock move wall and monotonic time together.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import trio


class Clock(Protocol):
    """What the rooms ask of time. Sleeping is trio's business, not the clock's."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps; only differences mean anything."""

    def stepped(self) -> float:
        """Seconds by which the system's wall time has stepped away from this one; negative: backwards."""

    def follow(self) -> None:
        """Take over the system's wall time, a step included."""


@dataclass(slots=True)
class SystemClock:
    """The clock of the service: the system's wall time when it was made, and evenly on from there."""

    system_ns: Callable[[], int] = time.time_ns
    """The system's wall time in nanoseconds since the epoch; it steps when it is set, or after a sleep."""
    even_ns: Callable[[], int] = time.monotonic_ns
    """Nanoseconds of a clock that does not step. Both are slewed alike, so they do not drift apart."""
    _ahead_ns: int = field(init=False)

    def __post_init__(self) -> None:
        self.follow()

    def wall_ms(self) -> int:
        """Return the wall time in milliseconds."""
        return (self.even_ns() + self._ahead_ns) // 1_000_000

    def stepped(self) -> float:
        """Return by how many seconds the system's wall time is ahead of this one."""
        return (self.system_ns() - self.even_ns() - self._ahead_ns) / 1e9

    def follow(self) -> None:
        """Be the system's wall time from now on."""
        self._ahead_ns = self.system_ns() - self.even_ns()

    def monotonic(self) -> float:
        """Return trio's current time in seconds."""
        return trio.current_time()


@dataclass(slots=True)
class SteppedClock:
    """Wall time derived from trio's clock, for runs under MockClock; `step` moves the wall alone.

    It steps at once: what must hold when the service's clock follows the system's is tested with it.
    """

    base_ms: int = 1_771_150_000_000
    offset_ms: int = 0

    def wall_ms(self) -> int:
        """Return the base, plus what has passed on trio's clock, plus every step so far."""
        return self.base_ms + self.offset_ms + round(trio.current_time() * 1000)

    def monotonic(self) -> float:
        """Return trio's current time in seconds."""
        return trio.current_time()

    def stepped(self) -> float:
        """Return 0: it is never behind."""
        return 0.0

    def follow(self) -> None:
        """Do nothing: it is never behind."""

    def step(self, milliseconds: int) -> None:
        """Step the wall clock as an administrator or NTP would; monotonic time is untouched."""
        self.offset_ms += milliseconds
