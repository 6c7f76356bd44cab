"""A bound on how much may come in a second: a token bucket whose rate may change at any time.

Pure: time is an argument. What is refused takes no tokens, so whoever keeps asking is let in at the rate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

BURST_SECONDS = 2.0
"""A full bucket holds what comes in so many seconds at the rate."""


@dataclass(slots=True)
class Bucket:
    """Tokens that come back with time; full at first."""

    _tokens: float = field(default=inf, init=False)
    _at: float = field(default=0.0, init=False)

    def take(self, now: float, amount: float, rate: float) -> float:
        """Take `amount` tokens at `now` (seconds, monotonic); `rate` is tokens a second, above 0.

        Returns 0 when they were taken, else the seconds after which they can be. What is more than the
        bucket holds is taken once it is full, and the debt is paid back first.
        """
        burst = rate * BURST_SECONDS
        self._tokens = min(burst, self._tokens + max(0.0, now - self._at) * rate)
        self._at = now
        missing = min(amount, burst) - self._tokens
        if missing > 0:
            return missing / rate
        self._tokens -= amount
        return 0.0
