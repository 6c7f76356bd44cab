"""Millions of frames at a real daemon over real sockets: `python -m tests.fuzz.daemon --frames N`.

Every link keeps the framing's rules for a while and then breaks one; some are reset in the middle. The
daemon must stay the same process, in bounded memory, without a fault in its log, and serve the next
honest client.
"""

from __future__ import annotations

import argparse
import random
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from tests.flows.daemon_process import DaemonProcess
from tests.flows.raw_socket import STREAM, RawSocket, serves
from tests.flows.scrape import metrics_of
from tests.fuzz.mutation import Pool
from tests.wire.loopback import upgrade

LINKS = 4
MESSAGES = 700
RESET = 0.1
"""How many links are cut off in the middle of what they say."""
RESUMED = 0.9
"""How many links come back to a session, in place of a new one."""
HONEST_SECONDS = 2.0
"""For the next honest client; what it took on a busy machine is printed."""
LINK_SECONDS = 120.0
SETTINGS = {
    "limits.frames_per_second": 1_000_000,
    "sessions.hibernate_seconds": 1,
    "heartbeat.interval_seconds": 1,
    "events.keep_count": 500,
    "log.level": "warning",
}
FAULTY = (" error ", " critical ")


@dataclass
class Assault:
    """One daemon under fire."""

    daemon: DaemonProcess
    seed: int
    frames: int = 0
    """Frames sent up to and with the breach of each link; those of links that were reset are not counted."""
    links: int = 0
    resets: int = 0
    answered: int = 0
    honest: list[float] = field(default_factory=list)
    """Seconds that each honest client took."""
    resident: list[int] = field(default_factory=list)
    """Bytes, at each honest client."""
    keys: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def run(self, frames: int) -> None:
        """Send at least so many. Raises AssertionError when the daemon is not what it was."""
        pid, done = self.daemon.pid, threading.Event()
        self.keys = [self._session() for _ in range(40)]
        threads = [
            threading.Thread(target=self._fire, args=(number, frames, done), daemon=True)
            for number in range(LINKS)
        ]
        for thread in threads:
            thread.start()
        pause = threading.Event()
        while not done.is_set() and any(thread.is_alive() for thread in threads):
            pause.wait(2.0)
            self._look()
        done.set()
        for thread in threads:
            thread.join(LINK_SECONDS)
            assert not thread.is_alive(), "a link never ended"
        self._look()
        if self.failures:
            raise self.failures[0]
        assert self.daemon.running
        assert self.daemon.pid == pid
        faults = [
            line for line in self.daemon.stderr.splitlines() if any(word in line[:50] for word in FAULTY)
        ]
        assert not faults, faults[0]
        moved = metrics_of(self.daemon)
        assert not any(value for name, value in moved.items() if "faults_total" in name)

    def summary(self) -> str:
        """What was done, in a line."""
        honest = sorted(self.honest)
        return (
            f"seed {self.seed}: {self.frames} frames on {self.links} links, {self.resets} reset, "
            f"{self.answered / 1e6:.0f} MB of answers; {len(honest)} honest clients between them served in "
            f"{honest[len(honest) // 2]:.3f} s (median), {honest[-1]:.3f} s (slowest); resident "
            f"{self.resident[0] / 1e6:.0f} MB at first, {max(self.resident) / 1e6:.0f} MB at most, "
            f"{self.resident[-1] / 1e6:.0f} MB at the end; the same process, no fault logged"
        )

    def _session(self) -> str:
        with RawSocket(self.daemon.listen) as link:
            link.open(self.daemon.token)
            return str(link.until("session.ack")["sessionKey"])

    def _look(self) -> None:
        self.honest.append(serves(self.daemon.listen, self.daemon.token))
        statm = Path(f"/proc/{self.daemon.pid}/statm").read_text()
        self.resident.append(int(statm.split()[1]) * 4096)

    def _fire(self, number: int, frames: int, done: threading.Event) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        pool = Pool(chance)
        header = f"Authorization: Bearer {self.daemon.token}".encode()
        try:
            while not done.is_set() and self.frames < frames:
                query = f"?session={chance.choice(self.keys)}" if chance.random() < RESUMED else ""
                data, count = pool.stream(chance.randint(1, 2 * MESSAGES))
                head = upgrade(STREAM + query, header)
                with RawSocket(self.daemon.listen) as link:
                    self.links += 1
                    if chance.random() < RESET:
                        link.socket.sendall(head + data[: chance.randrange(min(len(data), 50_000))])
                        link.reset()
                        self.resets += 1
                        continue
                    came = link.pour(head + data, LINK_SECONDS)
                assert came.startswith(b"HTTP/1.1 101 "), came[:200]
                self.answered += len(came)
                self.frames += count
        except Exception as failure:
            self.failures.append(failure)
            done.set()


def main() -> None:
    """Fuzz a daemon of one's own and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=3_500_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    options = parser.parse_args()
    with TemporaryDirectory() as folder, DaemonProcess(Path(folder), SETTINGS) as daemon:
        assault, began = Assault(daemon, options.seed), monotonic()
        assault.run(options.frames)
        print(f"{assault.summary()}; in {monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
