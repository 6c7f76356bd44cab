"""What every scenario works with: where, on which cores, how long, and pairs of measured runs."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench.job import Exchange, Mode
from tests.bench.measure import Run, job_for, measure
from tests.bench.servers import Server, daemon, echo_server

CROWD = 10_000
"""From so many links a run needs longer: one turn round all of them takes seconds."""
DISTURBED_SHARE = 0.05
BUSY_MACHINE = 1.5
"""Load average above which wall times of starts and stops are not to be trusted; one is ourselves."""


class Skipped(Exception):  # not an error
    """A scenario cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a run loads its server; None: as long as the benchmark's windows are."""

    mode: Mode = Mode.CLOSED
    in_flight: int = 1
    rate: float = 0.0
    warm_seconds: float | None = None
    seconds: float | None = None
    prepare: tuple[Exchange, ...] = ()


CLOSED_LOOP = Shape()


@dataclass(slots=True)
class Bench:
    """One run of the benchmark."""

    directory: Path
    """On the file system whose disk is measured; emptied by `state`."""
    server_core: int
    load_core: int
    rounds: int = 5
    warm_seconds: float = 1.0
    seconds: float = 3.0
    crowds: tuple[int, ...] = (100, 1_000, 10_000)
    idle_links: int = 10_000
    idle_seconds: float = 60.0
    disk_samples: int = 1_000
    goals_at_stop: int = 5
    """Goals that each of 100 sessions has unfinished when SIGTERM comes."""
    programs: int = 1
    _states: int = 0
    _noise: list[Run] = field(default_factory=list)

    def state(self) -> Path:
        """Return a new, empty place for a daemon's state; the one before it is removed."""
        shutil.rmtree(self.directory / f"state-{self._states}", ignore_errors=True)
        self._states += 1
        return self.directory / f"state-{self._states}"

    def rounds_at(self, links: int) -> int:
        """Fewer rounds with a crowd, whose attaching alone takes most of a minute."""
        return min(self.rounds, 2) if links >= CROWD else self.rounds

    def run(self, server: Server, links: int, message: Exchange, shape: Shape) -> Run:
        """Measure one run against a server that was just started.

        Raises RuntimeError when links were lost or nothing was answered, LoadError when the load failed.
        """
        longer = 2.0 if links >= CROWD else 1.0
        job = replace(
            job_for(server, self.load_core, links, shape.mode, message, shape.prepare),
            in_flight=shape.in_flight,
            rate=shape.rate,
            warm_seconds=longer * (self.warm_seconds if shape.warm_seconds is None else shape.warm_seconds),
            seconds=longer * (self.seconds if shape.seconds is None else shape.seconds),
        )
        run = measure(server, job, min(self.programs, max(1, links)))
        if run.lost:
            raise RuntimeError(f"the server closed {run.lost} of {links} links")
        if not run.replies:
            raise RuntimeError(f"nothing was answered in {run.seconds:g} s")
        self._noise.append(run)
        return run

    def echo(self, links: int, message: Exchange, shape: Shape = CLOSED_LOOP) -> Run:
        """Measure the yardstick with the same frames; it needs no preparing."""
        with echo_server(self.directory, self.server_core) as server:
            return self.run(server, links, Exchange(message.text, ""), replace(shape, prepare=()))

    def ours(self, links: int, message: Exchange, shape: Shape = CLOSED_LOOP) -> Run:
        """Measure the daemon, started with a new state directory."""
        with daemon(self.directory, self.server_core, self.state()) as server:
            return self.run(server, links, message, shape)

    def pairs(self, links: int, message: Exchange, shape: Shape = CLOSED_LOOP) -> Iterator[tuple[Run, Run]]:
        """Yield (echo, daemon) for each round; who goes first alternates."""
        for number in range(self.rounds_at(links)):
            if number % 2:
                ours = self.ours(links, message, shape)
                yield self.echo(links, message, shape), ours
            else:
                echo = self.echo(links, message, shape)
                yield echo, self.ours(links, message, shape)

    def remarks(self) -> str:
        """Say what disturbed the runs since the last call, or nothing; then forget them."""
        runs, self._noise = self._noise, []
        found = []
        limited = sum(run.load_was_limit for run in runs)
        if limited:
            found.append(f"the load program was the limit in {limited} of {len(runs)} runs")
        foreign = statistics.median(run.foreign_share for run in runs) if runs else 0.0
        if foreign > DISTURBED_SHARE:
            found.append(f"disturbed: others had the server's core for {foreign:.0%} of the time")
        if not runs and os.getloadavg()[0] > BUSY_MACHINE:
            found.append(f"load average {os.getloadavg()[0]:.1f}")
        return "; ".join(found)
