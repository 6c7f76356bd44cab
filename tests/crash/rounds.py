"""Rounds of kill and restart, the same for the same seed."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from spiderwebd.store.schema import steps, version
from spiderwebd.store.store import DATABASE
from tests.crash.checker import check, check_rest
from tests.crash.doomed import PLACES
from tests.crash.hatchery import HatchedDaemon
from tests.crash.traffic import Broken, Client, drive, rest, settle
from tests.flows.daemon_process import COMMAND, DaemonFailed, DaemonProcess

CLIENTS = 8
SETTINGS = {
    "heartbeat.interval_seconds": 1,
    "heartbeat.jitter_seconds": 0,
    "memory.max_entries": 16,
    "memory_manager.interval_seconds": 0.5,
    "events.keep_count": 300,
    "events.requests_kept": 100_000,
    "shutdown.grace_seconds": 2,
    "log.level": "warning",
}
KINDS = (
    "kill", "kill", "kill", "early", "starting", "backup", "drain", "drain",
    "retention", "indexing", "migration",
)  # fmt: skip
"""How a round ends: SIGKILL in traffic, soon after the start, before it is ready, while a backup runs,
while draining after SIGTERM, in the middle of a slice of retention or of the index, in the middle of
bringing the schema up to date."""
TRAFFIC_SECONDS = (0.05, 0.7)
DOOM_SECONDS = 2.5
"""Traffic at most until a doomed daemon has met its end; it is killed from outside then."""
DOOM_MICROSECONDS = (0, 200, 1_000, 5_000, 20_000)
EXIT_SECONDS = 30.0
KILLED = "ended with status -9"
FAULTY = (" error ", " critical ")
"""Of a line of the log: there is no fault of the daemon in these rounds."""
UNDO: dict[int, tuple[str, ...]] = {
    2: (
        "DROP TRIGGER entries_renew_document",
        "DROP TABLE index_state",
        "DROP TABLE reindex",
        "DROP TABLE indexed",
        "DROP TABLE entries_vocabulary",
        "DROP TABLE entries_fts",
    ),
    3: ("DROP TABLE imports",),
    4: (
        "UPDATE entries SET in_ram = (sid, memory_id) IN (SELECT sid, memory_id FROM ram)",
        "CREATE INDEX entries_in_ram ON entries (sid) WHERE in_ram = 1",
        "DROP TABLE ram",
    ),
}
"""What takes each step of the schema back, all that it knew kept; the first cannot be."""


@dataclass
class Rounds:
    """One daemon, killed again and again; eight clients that keep count."""

    folder: Path
    seed: int
    chance: random.Random = field(init=False)
    clients: list[Client] = field(init=False)
    starts: list[float] = field(default_factory=list)
    """Seconds from each start to its ready line."""
    hatched: bool = False
    """Whether daemons are forked, not started: see tests/crash/hatchery.py."""
    events: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    """How rounds ended, and how many of them inside of what was aimed at."""

    def __post_init__(self) -> None:
        """Everything random comes from the seed."""
        self.chance = random.Random(self.seed)
        self.clients = [Client(number, random.Random(f"{self.seed}/{number}")) for number in range(CLIENTS)]
        kind = HatchedDaemon if self.hatched else DaemonProcess
        self.daemon = kind(self.folder, SETTINGS)
        self.state = self.daemon.state_directory

    def run(self, rounds: int) -> None:
        """Go through so many rounds, then let all come to an end, and stop.

        Raises Broken, with seed and round.
        """
        left: list[str] = []
        try:
            for number in range(rounds):
                if not left:
                    left = self.chance.sample(KINDS, len(KINDS))
                kind = left.pop()
                try:
                    self.one(kind, number)
                except (AssertionError, DaemonFailed) as error:
                    raise Broken(
                        f"seed {self.seed}, round {number} ({kind}): {error}{self._log()}"
                    ) from error
            self._finish()
        finally:
            self.daemon.close()

    def one(self, kind: str, number: int) -> None:
        """Start, make traffic, end by `kind`, check."""
        if kind in ("starting", "migration"):
            self._cut_start(kind)
        else:
            if kind in PLACES:
                self._doom((kind, self.chance.randint(1, 4)))
            if self._start(doomed=kind in PLACES):
                self._live(kind, number)
            else:
                self.ends[f"{kind} inside"] += 1
        self._doom(None)
        self.ends[kind] += 1
        self._check()

    def _live(self, kind: str, number: int) -> None:
        stop = threading.Event()
        threads = drive(self.clients, self.daemon.place, stop)
        # Time passes here on purpose: at which moment the kill comes is what is random.
        waited = threading.Event()
        if kind == "early":
            waited.wait(self.chance.uniform(0.0, 0.1))
        elif kind in PLACES:
            self.ends[f"{kind} inside"] += self._await_end(DOOM_SECONDS)
        else:
            waited.wait(self.chance.uniform(*TRAFFIC_SECONDS))
        backup = self._backup(number) if kind == "backup" else None
        if kind == "drain":
            os.kill(self.daemon.pid, signal.SIGTERM)
            waited.wait(self.chance.uniform(0.0, 0.3))
            self.ends["drain inside"] += self.daemon.running
        elif backup is not None:
            self._await_partial(backup, number)
            waited.wait(self.chance.uniform(0.0, 0.05))
            self.ends["backup inside"] += backup.poll() is None
            if self.chance.random() < 0.5:
                backup.kill()
        if self.daemon.running:
            self.daemon.kill()
        else:
            self.daemon.wait()
        rest(self.clients, threads, stop)
        if backup is not None:
            self._check_backup(backup, number)

    def _cut_start(self, kind: str) -> None:
        if kind == "migration":
            self._doom((kind, self.chance.randint(1, max(1, self._set_back()))))
            seconds = DOOM_SECONDS
        else:
            middle = sorted(self.starts)[len(self.starts) // 2] if self.starts else 0.5
            seconds = self.chance.uniform(0.3, 1.1) * middle
        try:
            self.daemon.start(seconds)
        except DaemonFailed as failed:
            if "ended with status" in str(failed) and KILLED not in str(failed):
                raise
            self.ends[f"{kind} inside"] += 1
            return
        if self._await_end(0.2):
            self.ends[f"{kind} inside"] += 1
        else:
            self.daemon.kill()

    def summary(self) -> str:
        """What was done, in a line."""
        slowest, middle = max(self.starts), sorted(self.starts)[len(self.starts) // 2]
        accepted = sum(len(client.accepted) for client in self.clients)
        frames = sum(len(client.frames) for client in self.clients)
        tasks = sum(len(client.task_ends()) for client in self.clients)
        retries = sum(client.retries for client in self.clients)
        return (
            f"seed {self.seed}: {len(self.starts)} starts, ready in {middle:.2f} s (median), {slowest:.2f} s "
            f"(slowest); {accepted} requests, {frames} events, {tasks} ends of tasks acknowledged, {retries} "
            f"retries, none lost and none twice; ends: "
            + ", ".join(f"{kind} {count}" for kind, count in sorted(self.ends.items()))
        )

    def _start(self, *, doomed: bool = False) -> bool:
        """Start the daemon; False when one that is doomed ended before it was ready."""
        began = monotonic()
        try:
            self.daemon.start()
        except DaemonFailed as failed:
            if doomed and KILLED in str(failed):
                return False
            raise
        self.starts.append(monotonic() - began)
        return True

    def _finish(self) -> None:
        """Let everything that was accepted come to its end, stop in peace, and look at the whole."""
        self._start()
        try:
            settle(self.clients, self.daemon.place)
            if self.daemon.terminate() != 0:
                raise Broken("the last end was not clean")
            self._check()
            check_rest(self.state, self.clients)
        except (AssertionError, DaemonFailed) as error:
            raise Broken(f"seed {self.seed}, at the end: {error}{self._log()}") from error

    def _check(self) -> None:
        self.events = check(self.state, self.folder / "copy", self.clients)
        for line in self.daemon.stderr.splitlines():
            if any(level in line[:50] for level in FAULTY):
                raise Broken(f"the daemon logged a fault: {line}")

    def _log(self) -> str:
        return f"\nthe daemon's log ends with:\n{self.daemon.stderr[-4000:]}"

    def _doom(self, doomed: tuple[str, int] | None) -> None:
        """Have the daemons started from now on end by themselves, or (None) not."""
        fate = None if doomed is None else (*doomed, self.chance.choice(DOOM_MICROSECONDS))
        if isinstance(self.daemon, HatchedDaemon):
            self.daemon.doomed = fate
        elif fate is not None:
            self.daemon.command = [sys.executable, "-m", "tests.crash.doomed", *map(str, fate)]
        else:
            self.daemon.command = list(COMMAND)

    def _await_end(self, seconds: float) -> bool:
        """Whether the daemon ends by itself within so long."""
        deadline, tick = monotonic() + seconds, threading.Event()
        while self.daemon.running:
            if monotonic() > deadline:
                return False
            tick.wait(0.01)
        return True

    def _set_back(self) -> int:
        """Make the database one that an older version wrote; return how many steps it lacks now."""
        if not (self.state / DATABASE).exists():
            return len(steps())
        with closing(sqlite3.connect(self.state / DATABASE, isolation_level=None)) as connection:
            present = version(connection)
            down_to = self.chance.randint(1, len(steps()) - 1)
            connection.execute("BEGIN")
            for step in range(present, down_to, -1):
                for statement in UNDO[step]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {step - 1}")
            connection.execute("COMMIT")
            return len(steps()) - version(connection)

    def _backup(self, number: int) -> subprocess.Popen[bytes]:
        state = ["--state-dir", str(self.state)]
        configuration = ["--config", str(self.folder / "empty.toml")]
        return subprocess.Popen(
            [sys.executable, "-m", "spiderwebd", "backup", *configuration, *state, str(self._target(number))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _target(self, number: int) -> Path:
        return self.folder / f"backup-{number}"

    def _await_partial(self, backup: subprocess.Popen[bytes], number: int) -> None:
        """Wait until the backup has begun to copy, or has ended."""
        partial, tick = self.folder / f"backup-{number}.partial", threading.Event()
        while backup.poll() is None and not partial.exists():
            tick.wait(0.002)

    def _check_backup(self, backup: subprocess.Popen[bytes], number: int) -> None:
        backup.wait(EXIT_SECONDS)
        target = self._target(number)
        if backup.returncode == 0 and not target.exists():
            raise Broken("the backup said it was done, and there is none")
        if target.exists():
            self.ends["backup whole"] += 1
            alone = self.folder / f"restored-{number}"
            alone.mkdir()
            target.rename(alone / DATABASE)
            check(alone, self.folder / "copy", [])
