"""One quiet client beside a load, in a process of its own: how long its state and its pings take.

A latency that is read in the process that makes the load is mostly that process's own. This one asks, one
after the other, for agent.state, for a pong, and for the echo of the yardstick (`echo_server`, which has
nothing else to do) when there is one: what disturbs the machine disturbs all three.

`python -m tests.bench.bystander` reads a Job as one line of standard input, runs until that ends, and prints
what it measured.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

from spiderwebd.client.address import parse_address
from spiderwebd.client.connection import Connection
from spiderwebd.client.discovery import Place
from tests.bench.latency import Latencies

KINDS = ("state", "ping", "echo")
ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """Where to ask, and how often."""

    listen: str
    token: str
    echo: str = ""
    """host:port of the yardstick; empty for none."""
    period: float = 0.05
    """Seconds between two rounds; a round that is late is not made up."""
    core: int | None = None

    def dump(self) -> str:
        """Return it as a line."""
        return json.dumps(asdict(self)) + "\n"


@dataclass(slots=True)
class Seen:
    """What was measured."""

    latencies: dict[str, Latencies] = field(default_factory=lambda: {kind: Latencies() for kind in KINDS})
    slowest: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))

    def add(self, kind: str, seconds: float) -> None:
        """Count one answer."""
        self.latencies[kind].add(seconds)
        self.slowest[kind] = max(self.slowest[kind], seconds)

    def merge(self, other: Seen) -> None:
        """Add what another run measured."""
        for kind in KINDS:
            self.latencies[kind].merge(other.latencies[kind])
            self.slowest[kind] = max(self.slowest[kind], other.slowest[kind])

    def dump(self) -> str:
        """Return it as a line."""
        rows = {kind: found.as_json() for kind, found in self.latencies.items()}
        return json.dumps({"latencies": rows, "slowest": self.slowest}) + "\n"

    @classmethod
    def load(cls, line: str) -> Seen:
        """Read such a line."""
        read = json.loads(line)
        return cls({kind: Latencies(rows) for kind, rows in read["latencies"].items()}, read["slowest"])

    def lines(self) -> list[str]:
        """Return a line for people of each kind, in milliseconds."""
        found = []
        for kind, latencies in self.latencies.items():
            if latencies.total:
                p50, p99, p999 = (latencies.percentile(share) * 1000 for share in (0.5, 0.99, 0.999))
                slowest = self.slowest[kind] * 1000
                found.append(
                    f"bystander {kind}: {latencies.total:,} in ms p50 {p50:.1f}, p99 {p99:.1f}, "
                    f"p99.9 {p999:.1f}, slowest {slowest:.1f}"
                )
        return found


def _ask(link: Connection, frame: dict[str, str]) -> float:
    """Send a frame and return the seconds until the answer with its id (or itself, from an echo) came."""
    began = time.monotonic()
    link.send(frame)
    while True:
        answer = link.receive(ANSWER_SECONDS)
        if answer is not None and frame["id"] in (answer.get("request"), answer.get("id")):
            return time.monotonic() - began


def watch(job: Job) -> Seen:
    """Ask until standard input ends; a second line might already be in the buffer of the first."""
    seen, stop = Seen(), sys.stdin.fileno()
    with ExitStack() as links:
        place = Place(parse_address(f"ws://{job.listen}"), job.token)
        daemon = links.enter_context(Connection.open(place, timeout=ANSWER_SECONDS))
        echo = None
        if job.echo:
            yardstick = Place(parse_address(f"ws://{job.echo}"), "none")
            echo = links.enter_context(Connection.open(yardstick))
        for number in itertools.count():
            seen.add("state", _ask(daemon, {"type": "agent.control", "action": "state", "id": f"s{number}"}))
            seen.add("ping", _ask(daemon, {"type": "ping", "id": f"p{number}"}))
            if echo is not None:
                seen.add("echo", _ask(echo, {"type": "ping", "id": f"e{number}"}))
            if select.select([stop], (), (), job.period)[0]:
                return seen
    raise AssertionError("unreachable: counting has no end")


def main() -> int:
    """Read a job, do it, say what was seen."""
    job = Job(**json.loads(sys.stdin.readline()))
    if job.core is not None:
        os.sched_setaffinity(0, {job.core})
    sys.stdout.write(watch(job).dump())
    return 0


if __name__ == "__main__":
    sys.exit(main())
