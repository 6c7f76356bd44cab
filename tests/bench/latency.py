"""Latencies of a run in few bytes: a histogram that several load programs can add up."""

from __future__ import annotations

import math
from collections.abc import Mapping

STEP = 1.02
"""Width of a bucket, as a ratio: a percentile is right to 1 %."""
_SCALE = math.log(STEP)
_SMALLEST = 1e-6


class Latencies:
    """Counts of seconds in buckets of equal ratio."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self.counts: dict[int, int] = {int(bucket): count for bucket, count in (counts or {}).items()}

    def add(self, seconds: float) -> None:
        """Count one latency."""
        bucket = int(math.log(max(seconds, _SMALLEST) / _SMALLEST) / _SCALE)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def merge(self, other: Latencies) -> None:
        """Add what another counted."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    @property
    def total(self) -> int:
        """How many were counted."""
        return sum(self.counts.values())

    def percentile(self, share: float) -> float:
        """Return the seconds that `share` (0 to 1) of all stayed within; raises ValueError when none."""
        total = self.total
        if not total:
            raise ValueError("no latency was counted: nothing was answered in the window")
        wanted = max(1, math.ceil(share * total))
        for bucket in sorted(self.counts):
            wanted -= self.counts[bucket]
            if wanted <= 0:
                return float(_SMALLEST * STEP ** (bucket + 0.5))
        raise AssertionError("unreachable: the counts add up to the total")

    def as_json(self) -> dict[str, int]:
        """Return what the constructor takes."""
        return {str(bucket): count for bucket, count in self.counts.items()}
