"""What one principal may send, over all its links together: attaches, messages and bytes a second."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

from spiderwebd.core import limits
from spiderwebd.core.limits import Limit
from spiderwebd.core.rate import Bucket


@dataclass(frozen=True, slots=True)
class PrincipalRates:
    """Of every principal, a second; 0 is no limit."""

    attaches: float = 0.0
    messages: float = 0.0
    message_bytes: float = 0.0

    @property
    def bounds_messages(self) -> bool:
        """Whether a message has to be weighed at all."""
        return bool(self.messages or self.message_bytes)


@dataclass(frozen=True, slots=True)
class Excess:
    """Which limit is reached, and when to try again."""

    limit: Limit
    retry_after_ms: int

    @property
    def message(self) -> str:
        """What the client is told."""
        return f"This principal is above its limit of {self.limit.bounds}; try again later."


@dataclass(slots=True)
class Quota:
    """One principal's buckets; times in seconds on trio's clock."""

    _attaches: Bucket = field(default_factory=Bucket, init=False)
    _messages: Bucket = field(default_factory=Bucket, init=False)
    _bytes: Bucket = field(default_factory=Bucket, init=False)

    def attach(self, now: float, rates: PrincipalRates) -> Excess | None:
        """Count an attach; None when it may go on."""
        return _take(self._attaches, now, 1, rates.attaches, limits.ATTACHES)

    def message(self, now: float, size: int, rates: PrincipalRates) -> Excess | None:
        """Count a message of `size` bytes; None when it may go on."""
        return _take(self._messages, now, 1, rates.messages, limits.PRINCIPAL_FRAMES) or _take(
            self._bytes, now, size, rates.message_bytes, limits.PRINCIPAL_BYTES
        )


def _take(bucket: Bucket, now: float, amount: int, rate: float, limit: Limit) -> Excess | None:
    seconds = bucket.take(now, amount, rate) if rate else 0.0
    return Excess(limit, ceil(seconds * 1000)) if seconds else None
