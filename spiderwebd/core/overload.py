"""When the whole daemon is overloaded, and when it no longer is: pure hysteresis over three measures.

Overload begins when a measure has been above its limit for `SUSTAINED_SECONDS`, and ends when all have
been below half of theirs for as long, so that the door does not flap.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SUSTAINED_SECONDS = 1.0
"""One late wake-up is not an overload; a second of them is."""

CALM_RATIO = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """Where each measure begins to be too much; 0 switches a measure off."""

    lag_seconds: float
    store_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Measure:
    """What was measured at one moment."""

    lag_seconds: float
    """How late the loop woke up."""
    store_seconds: float
    """How long the oldest submission has waited for the store."""
    memory_bytes: int
    """Resident memory."""


@dataclass(slots=True)
class Overload:
    """Follows the measures; `reason` is empty while all is well."""

    limits: Limits
    reason: str = ""
    began: float = field(default=0.0, init=False)
    """When the overload began (seconds, monotonic)."""
    worst: Measure = field(default=Measure(0.0, 0.0, 0), init=False)
    """The largest of each measure since then; kept when it has ended."""
    _since: float | None = field(default=None, init=False)
    """When the measures first spoke for a change (seconds, monotonic)."""

    def observe(self, now: float, measure: Measure) -> bool:
        """Take in one measure; return whether overload began or ended with it."""
        above = self._above(measure, 1.0)
        if not self.reason:
            if not self._hold(now, above):
                return False
            self.began, self.worst = now, measure
            return True
        self.worst = _larger(self.worst, measure)
        calm = self._above(measure, CALM_RATIO) == ""
        return self._hold(now, "calm" if calm else "")

    def _hold(self, now: float, wanted: str) -> bool:
        if not wanted:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        if now - self._since < SUSTAINED_SECONDS:
            return False
        self._since = None
        self.reason = "" if self.reason else wanted
        return True

    def _above(self, measure: Measure, ratio: float) -> str:
        limits = self.limits
        found = []
        if limits.lag_seconds and measure.lag_seconds > limits.lag_seconds * ratio:
            found.append(f"the loop is {measure.lag_seconds:.2f} s late")
        if limits.store_seconds and measure.store_seconds > limits.store_seconds * ratio:
            found.append(f"the store is {measure.store_seconds:.2f} s behind")
        if limits.memory_bytes and measure.memory_bytes > limits.memory_bytes * _memory_ratio(ratio):
            found.append(f"{measure.memory_bytes >> 20} MiB of memory are in use")
        return ", ".join(found)


def _larger(one: Measure, other: Measure) -> Measure:
    return Measure(
        max(one.lag_seconds, other.lag_seconds),
        max(one.store_seconds, other.store_seconds),
        max(one.memory_bytes, other.memory_bytes),
    )


def _memory_ratio(ratio: float) -> float:
    # An allocator gives memory back late and in part: calm is a little below the limit, not half of it.
    return 1.0 if ratio == 1.0 else 0.9
