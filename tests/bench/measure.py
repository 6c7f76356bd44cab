"""One measured run: a server on one core, load programs on the other, the same window for both."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tests.bench import proc
from tests.bench.job import Exchange, Job, Mode, Outcome
from tests.bench.latency import Latencies
from tests.bench.servers import Server

ATTACH_SECONDS = 400.0
GO_AHEAD_SECONDS = 0.05
"""Between saying go and the start, so that every load program has heard it."""
LIMITED_SHARE = 0.9
"""A load program that used more of its core than this may have been what was measured."""


class LoadError(Exception):
    """A load program failed; the message is its reason."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run."""

    replies: int
    seconds: float
    cpu_seconds: float
    """Of the server, in the window."""
    foreign_share: float
    """Part of the window in which other processes, or the hypervisor, had the server's core."""
    busy: float
    """Share of a core that the busiest load program used."""
    late_seconds: float
    lost: int
    latencies: Latencies
    welcome_bytes: int

    @property
    def rate(self) -> float:
        """Replies a second."""
        return self.replies / self.seconds

    @property
    def cpu_each(self) -> float:
        """Server CPU seconds a reply; raises ZeroDivisionError when there was none."""
        return self.cpu_seconds / self.replies

    @property
    def load_was_limit(self) -> bool:
        """Whether the figure may be the load program's instead of the server's."""
        return self.busy >= LIMITED_SHARE


class Load:
    """A started load program."""

    def __init__(self, job: Job) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.tell(job.dump())

    def tell(self, line: str) -> None:
        """Write a line to it."""
        if self.process.stdin is None:
            raise ValueError("the load program has no standard input")
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self, seconds: float) -> dict[str, Any]:
        """Return its next line; raises LoadError when it failed or said nothing for `seconds`."""
        output = self.process.stdout
        if output is None or not select.select([output], (), (), seconds)[0]:
            raise LoadError(f"the load program said nothing for {seconds:g} s")
        line = output.readline()
        if not line:
            raise LoadError("the load program ended without a word")
        answer: dict[str, Any] = json.loads(line)
        if answer["event"] == "failed":
            raise LoadError(answer["reason"])
        return answer

    def end(self) -> None:
        """End it if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def job_for(
    server: Server, core: int, links: int, mode: Mode, message: Exchange, prepare: Sequence[Exchange] = ()
) -> Job:
    """Return a job against a server with everything else at its default."""
    return Job(
        host=server.host,
        port=server.port,
        path=server.path,
        token=server.token,
        welcome=server.welcome,
        links=links,
        mode=mode,
        message=message,
        prepare=tuple(prepare),
        core=core,
    )


def measure(server: Server, job: Job, programs: int = 1) -> Run:
    """Run a job, its links shared between `programs` processes.

    Raises LoadError when a load program fails.
    """
    loads: list[Load] = []
    try:
        for number in range(programs):
            links = job.links // programs + (number < job.links % programs)
            loads.append(Load(replace(job, links=links, rate=job.rate / programs)))
        attached = [load.hear(ATTACH_SECONDS) for load in loads]
        start = time.monotonic() + GO_AHEAD_SECONDS
        for load in loads:
            load.tell(f"go {start!r}")
        _sleep_until(start + job.warm_seconds)
        cpu, core, began = proc.cpu_seconds(server.pid), proc.core_seconds(server.core), time.monotonic()
        _sleep_until(start + job.warm_seconds + job.seconds)
        elapsed = time.monotonic() - began
        cpu = proc.cpu_seconds(server.pid) - cpu
        core = proc.core_seconds(server.core) - core
        outcomes = []
        for load in loads:
            answer = load.hear(30.0)
            answer.pop("event")
            outcomes.append(Outcome(**answer))
    finally:
        for load in loads:
            load.end()
    latencies = Latencies()
    for outcome in outcomes:
        latencies.merge(Latencies(outcome.latencies))
    return Run(
        replies=sum(outcome.replies for outcome in outcomes),
        seconds=max(outcome.seconds for outcome in outcomes),
        cpu_seconds=cpu,
        foreign_share=max(0.0, core - cpu) / elapsed,
        busy=max(outcome.busy for outcome in outcomes),
        late_seconds=max(outcome.late_seconds for outcome in outcomes),
        lost=sum(outcome.lost for outcome in outcomes),
        latencies=latencies,
        welcome_bytes=max(each["welcome_bytes"] for each in attached),
    )


@contextmanager
def held_links(job: Job) -> Iterator[Load]:
    """Keep the job's links attached, prepared and silent; `tell` anything to let them go early."""
    load = Load(job)
    try:
        load.hear(ATTACH_SECONDS)
        yield load
    finally:
        load.end()


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
