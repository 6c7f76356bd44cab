"""What a load program is told to do, and what it says it did: one JSON line each way."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """How messages are sent."""

    CLOSED = "closed"
    """Each link keeps `in_flight` requests unanswered: the most the server can do."""
    OPEN = "open"
    """`rate` requests a second, whatever comes back: what a client waits at that load."""
    ATTACH = "attach"
    """New links all the time, `in_flight` handshakes at once; each stays open to the end."""
    HOLD = "hold"
    """Links that say nothing; pings are answered, until standard input says to stop."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A message and how its reply begins; `{n}` in the text becomes a number, other each time."""

    text: str
    mark: str


@dataclass(frozen=True, slots=True)
class Job:
    """One run of one load program."""

    host: str
    port: int
    path: str
    token: str
    welcome: str
    """How the frame begins that says a link is attached; empty: the HTTP answer says it."""
    links: int
    mode: Mode
    message: Exchange
    prepare: tuple[Exchange, ...] = ()
    """Sent once on every link and answered before the run begins."""
    in_flight: int = 1
    rate: float = 0.0
    warm_seconds: float = 1.0
    seconds: float = 3.0
    core: int = 0

    def dump(self) -> str:
        """Return the line."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, line: str) -> Job:
        """Read the line; raises KeyError or TypeError for one that is none."""
        values = json.loads(line)
        values["mode"] = Mode(values["mode"])
        values["message"] = Exchange(**values["message"])
        values["prepare"] = tuple(Exchange(**each) for each in values["prepare"])
        return cls(**values)


@dataclass(slots=True)
class Outcome:
    """What one load program saw in its window."""

    replies: int = 0
    sent: int = 0
    seconds: float = 0.0
    received_bytes: int = 0
    frames: int = 0
    """All data frames of the server, replies and the rest."""
    lost: int = 0
    """Links that the server closed or reset."""
    busy: float = 0.0
    """Share of its core that the load program used, 0 to 1."""
    late_seconds: float = 0.0
    """Open loop: the longest that a message was sent after its time."""
    latencies: dict[str, int] = field(default_factory=dict)

    def dump(self) -> str:
        """Return the line."""
        return json.dumps({"event": "done", **asdict(self)})
