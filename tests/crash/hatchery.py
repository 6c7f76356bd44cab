"""Daemons forked from a process that has imported all of it: a start costs a quarter, a kill is a kill.

Importing is most of a start and has nothing to do with what a crash leaves behind, so a thousand rounds
need not do it a thousand times. Everything behind the imports is the daemon's own `main`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import IO

from typing_extensions import override

from tests.crash.doomed import doom
from tests.flows.daemon_process import Child, DaemonProcess

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["spiderwebd.daemon", "spiderwebd.cli", "tests.crash.doomed"])


@dataclass
class Hatched:
    """A forked daemon, as subprocess.Popen would show it."""

    process: ForkServerProcess
    stdout: IO[bytes] | None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal."""
        return self.process.exitcode

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("a daemon", timeout or 0.0)
        return self.process.exitcode

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def send_signal(self, number: int) -> None:
        """Send any signal, unless it has ended."""
        if self.process.exitcode is None:
            os.kill(self.pid, number)


class HatchedDaemon(DaemonProcess):
    """A daemon process that is forked instead of started; `doomed` as tests.crash.doomed says."""

    doomed: tuple[str, int, int] | None = None

    @override
    def _spawn(self, arguments: Sequence[str], log: IO[bytes]) -> Child:
        ours, theirs = CONTEXT.Pipe(duplex=False)
        log_end = Connection(os.dup(log.fileno()), readable=False)
        process = CONTEXT.Process(
            target=hatch, args=(list(arguments), self.doomed, theirs, log_end), daemon=True
        )
        process.start()
        theirs.close()
        log_end.close()
        stdout = os.fdopen(os.dup(ours.fileno()), "rb", buffering=0)
        ours.close()
        return Hatched(process, stdout)


def hatch(
    arguments: list[str], doomed: tuple[str, int, int] | None, out: Connection, log: Connection
) -> None:
    """Be the daemon, in the forked process."""
    os.dup2(out.fileno(), 1)
    os.dup2(log.fileno(), 2)
    out.close()
    log.close()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for name in [name for name in os.environ if name.startswith("SPIDERWEB")]:
        del os.environ[name]
    if doomed is not None:
        doom(*doomed)
    from spiderwebd.cli import main

    sys.exit(main(arguments))
