"""Whether the daemon's numbers add up: nothing that it accepted may be lost without an outcome."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields

from spiderwebd.client.transport import Frame

_SAMPLE = re.compile(r'spiderwebd_requests_(\w+?)(?:_total)?(?:\{\w+="(\w+)"\})? ([0-9.e+-]+)')


@dataclass(frozen=True, slots=True)
class Accounts:
    """What became of every request since the daemon started, from its metrics."""

    received: int = 0
    accepted: int = 0
    served: int = 0
    """Answered at once: nothing of it had to be kept."""
    refused: int = 0
    answered: int = 0
    running: int = 0
    queued: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0

    @classmethod
    def read(cls, metrics: str) -> Accounts:
        """Take the figures out of the text of /metrics; what is missing is 0."""
        found = {field.name: 0 for field in fields(cls)}
        for line in metrics.splitlines():
            sample = _SAMPLE.fullmatch(line)
            if sample is not None:
                name, label, value = sample.groups()
                key = label if name == "ended" else name
                if key in found:
                    found[key] += int(float(value))
        return cls(**found)

    @property
    def undecided(self) -> int:
        """Requests that came and are neither accepted nor served nor refused yet."""
        return self.received - self.accepted - self.served - self.refused

    @property
    def lost(self) -> int:
        """Accepted requests that have no outcome and neither run nor wait: always 0."""
        ended = self.answered + self.failed + self.cancelled + self.expired
        return self.accepted - ended - self.running - self.queued

    def frame(self) -> Frame:
        """Return them as an object for --json."""
        return {"type": "accounts", **asdict(self), "undecided": self.undecided, "lost": self.lost}

    def lines(self) -> list[str]:
        """Return the two sums as a person reads them."""
        waiting = f" + {self.undecided} not decided yet" if self.undecided else ""
        lost = f"; {self.lost} LOST" if self.lost else ""
        return [
            f"requests: {self.received} sent = {self.accepted} accepted + {self.served} answered at once"
            f" + {self.refused} refused{waiting}",
            f"{self.accepted} accepted = {self.answered} answered + {self.running} running"
            f" + {self.queued} queued + {self.failed} failed + {self.cancelled} cancelled"
            f" + {self.expired} expired{lost}",
        ]
