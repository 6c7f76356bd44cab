"""Rounds of kill and restart, the same for the same seed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from tests.crash.checker import check
from tests.crash.traffic import Broken, Client, drive, rest
from tests.flows.daemon_process import DaemonProcess

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
KINDS = ("kill", "kill", "kill", "backup", "drain", "drain", "early", "retention")
"""How a round ends: SIGKILL in traffic, while a backup runs, while draining after SIGTERM, soon after the
start, and around the first round of retention."""
RETENTION_SECONDS = 5.0
EXIT_SECONDS = 30.0


@dataclass
class Rounds:
    """One daemon, killed again and again; eight clients that keep count."""

    folder: Path
    seed: int
    chance: random.Random = field(init=False)
    clients: list[Client] = field(init=False)
    starts: list[float] = field(default_factory=list)
    """Seconds from each start to its ready line."""
    events: int = 0

    def __post_init__(self) -> None:
        """Everything random comes from the seed."""
        self.chance = random.Random(self.seed)
        self.clients = [Client(number, random.Random(f"{self.seed}/{number}")) for number in range(CLIENTS)]
        self.daemon = DaemonProcess(self.folder, SETTINGS)

    def run(self, rounds: int) -> None:
        """Go through so many rounds, then end the daemon in peace. Raises Broken, with seed and round."""
        left: list[str] = []
        try:
            for number in range(rounds):
                if not left:
                    left = self.chance.sample(KINDS, len(KINDS))
                kind = left.pop()
                try:
                    self.one(kind, number)
                except AssertionError as error:
                    raise Broken(f"seed {self.seed}, round {number} ({kind}): {error}") from error
            self._start()
            if self.daemon.terminate() != 0:
                raise Broken(f"seed {self.seed}: the last end was not clean")
            check(self.daemon.state_directory, self.folder / "copy", self.clients)
        finally:
            self.daemon.close()

    def one(self, kind: str, number: int) -> None:
        """Start, make traffic, end by `kind`, check."""
        self._start()
        stop = threading.Event()
        threads = drive(self.clients, self.daemon.place, stop)
        # Time passes here on purpose: at which moment the kill comes is what is random.
        waited = threading.Event()
        if kind == "early":
            waited.wait(self.chance.uniform(0.0, 0.1))
        elif kind == "retention":
            waited.wait(RETENTION_SECONDS + self.chance.uniform(-0.2, 0.2))
        else:
            waited.wait(self.chance.uniform(0.1, 1.5))
        backup = self._backup(number) if kind == "backup" else None
        if kind == "drain":
            os.kill(self.daemon.pid, signal.SIGTERM)
            waited.wait(self.chance.uniform(0.0, 0.6))
        elif backup is not None:
            waited.wait(self.chance.uniform(0.0, 0.5))
            if self.chance.random() < 0.5:
                backup.kill()
        if self.daemon.running:
            self.daemon.kill()
        else:
            self.daemon.wait()
        rest(self.clients, threads, stop)
        if backup is not None:
            self._check_backup(backup, number)
        self.events = check(self.daemon.state_directory, self.folder / "copy", self.clients)

    def summary(self) -> str:
        """What was done, in a line."""
        slowest, middle = max(self.starts), sorted(self.starts)[len(self.starts) // 2]
        accepted = sum(len(client.accepted) for client in self.clients)
        frames = sum(len(client.frames) for client in self.clients)
        return (
            f"seed {self.seed}: {len(self.starts)} starts, ready in {middle:.2f} s (median), {slowest:.2f} s "
            f"(slowest); {accepted} requests and {frames} events acknowledged, none lost"
        )

    def _start(self) -> None:
        began = monotonic()
        self.daemon.start()
        self.starts.append(monotonic() - began)

    def _backup(self, number: int) -> subprocess.Popen[bytes]:
        state = ["--state-dir", str(self.daemon.state_directory)]
        configuration = ["--config", str(self.folder / "empty.toml")]
        return subprocess.Popen(
            [sys.executable, "-m", "spiderwebd", "backup", *configuration, *state, str(self._target(number))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _target(self, number: int) -> Path:
        return self.folder / f"backup-{number}"

    def _check_backup(self, backup: subprocess.Popen[bytes], number: int) -> None:
        backup.wait(EXIT_SECONDS)
        target = self._target(number)
        if backup.returncode == 0 and not target.exists():
            raise Broken("the backup said it was done, and there is none")
        if target.exists():
            alone = self.folder / f"restored-{number}"
            alone.mkdir()
            target.rename(alone / "spiderwebd.db")
            check(alone, self.folder / "copy", [])
