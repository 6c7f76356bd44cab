"""What the clients of the saturation program sent and were told: every request ends in one way, once."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.bench.latency import Latencies
from tests.bench.peer import Frame

OUTCOMES = ("failed", "cancelled", "expired")


@dataclass(slots=True)
class Entry:
    """A request under way."""

    kind: str
    session: int
    sent_at: float
    label: str
    """Under which its latencies are counted."""
    accepted: bool = False


@dataclass(slots=True)
class Ledger:
    """Kept by whoever reads the links; a request is known by its id, unique over all sessions."""

    sent: int = 0
    pings: int = 0
    """Of those sent, the ones that no daemon counts."""
    accepted: int = 0
    served: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """What must never happen, in words."""
    open: dict[str, Entry] = field(default_factory=dict)
    latencies: dict[str, Latencies] = field(default_factory=lambda: defaultdict(Latencies))
    goal_seconds: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Of each session: how long its goals took."""

    def send(self, request: str, kind: str, session: int, now: float, label: str = "") -> None:
        """Note a request that is about to be sent; its latencies are counted under `label`, or its kind."""
        self.sent += 1
        self.pings += kind == "ping"
        self.open[request] = Entry(kind, session, now, label or kind)

    def hear(self, frame: Frame, now: float) -> str | None:
        """Take in a frame; return the id of the request that it ended, if it did."""
        request = frame.get("request")
        entry = self.open.get(request) if isinstance(request, str) else None
        if entry is None or not isinstance(request, str):
            return None
        match frame["type"]:
            case "session.accepted":
                if entry.accepted:
                    self.wrong.append(f"{request} was accepted twice")
                entry.accepted = True
                self.accepted += 1
                self.latencies[f"{entry.label} accepted"].add(now - entry.sent_at)
                if entry.kind != "create":
                    return None
                self.outcomes["answered"] += 1  # to be kept was all it asked for
            case "error":
                if entry.accepted:
                    self.wrong.append(f"{request} was accepted and then refused: {frame['code']}")
                if frame["code"] in ("queue_full", "rate_limited") and frame.get("retry_after_ms", 0) <= 0:
                    self.wrong.append(f"{request} was refused without a delay")
                if frame["code"] in ("queue_full", "rate_limited") and "limit" not in frame:
                    self.wrong.append(f"{request} was refused without naming the limit")
                self.refused[frame["code"]] += 1
                self.latencies["refusal"].add(now - entry.sent_at)
            case "session.receive":
                self._end(request, entry, "answered", now)
            case "agent.progress" if frame["phase"] == "execution" and frame["status"] in OUTCOMES:
                self._end(request, entry, frame["status"], now)
            case "pong" | "memory.query" | "agent.state" if not entry.accepted:
                self.served += 1
                self.latencies[entry.label].add(now - entry.sent_at)
            case _:
                return None
        del self.open[request]
        return request

    def _end(self, request: str, entry: Entry, outcome: str, now: float) -> None:
        if not entry.accepted:
            self.wrong.append(f"{request} ended {outcome} without having been accepted")
        self.outcomes[outcome] += 1
        self.latencies[entry.label].add(now - entry.sent_at)
        if entry.kind == "goal":
            self.goal_seconds[entry.session].append(now - entry.sent_at)

    def sums(self) -> list[str]:
        """Return what does not add up once nothing is under way; empty when all does."""
        found = list(self.wrong)
        if self.open:
            kinds = Counter(entry.kind for entry in self.open.values())
            found.append(f"{len(self.open)} requests never ended: {dict(kinds)}")
        if self.sent != self.accepted + self.served + self.refused.total():
            found.append(
                f"sent {self.sent} is not accepted {self.accepted} + served {self.served} + refused "
                f"{self.refused.total()}"
            )
        if self.accepted != self.outcomes.total():
            found.append(f"accepted {self.accepted} is not the sum of {dict(self.outcomes)}")
        return found
