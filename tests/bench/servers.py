"""The processes under test: started on their core, watched until ready, ended for certain."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import proc

READY_SECONDS = 60.0
EXIT_SECONDS = 60.0
WELCOME = '{"type":"session.ack"'


@dataclass(slots=True)
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    host: str
    port: int
    path: str
    token: str
    welcome: str
    ready_seconds: float
    """From exec to the ready line."""
    ready_cpu_seconds: float
    core: int

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def stop(self) -> float:
        """Send SIGTERM and return the seconds until it was gone."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(EXIT_SECONDS)
        return time.monotonic() - started


def environment(directory: Path) -> dict[str, str]:
    """Return the environment of a server: byte code is kept, as in an installed package, but apart."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SPIDERWEB", "PYTHON")) and name != "NOTIFY_SOCKET"
    }
    return {**kept, "PYTHONPYCACHEPREFIX": str(directory / "bytecode")}


def _settle(core: int) -> None:
    os.sched_setaffinity(0, {core})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _start(
    command: list[str], core: int, directory: Path, errors: Path
) -> tuple[subprocess.Popen[str], float]:
    with errors.open("ab") as log:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(directory),
            preexec_fn=lambda: _settle(core),
        )
    return process, started


def _wait_ready(process: subprocess.Popen[str], started: float, errors: Path) -> tuple[str, float, float]:
    output = process.stdout
    if output is None:
        raise ValueError("the server was started without a pipe for its output")
    line = output.readline() if select.select([output], (), (), READY_SECONDS)[0] else ""
    if not line:
        process.kill()
        process.wait()
        raise RuntimeError(f"the server did not become ready: {errors.read_text()[-600:]}")
    return json.loads(line)["listen"], time.monotonic() - started, proc.cpu_seconds(process.pid)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def echo_server(directory: Path, core: int) -> Iterator[Server]:
    """Run the yardstick on `core`."""
    errors = directory / "echo.log"
    process, started = _start([sys.executable, "-m", "tests.bench.echo_server"], core, directory, errors)
    try:
        address, seconds, cpu = _wait_ready(process, started, errors)
        host, _, port = address.rpartition(":")
        yield Server(process, host, int(port), "/", "", "", seconds, cpu, core)
    finally:
        _end(process)


@contextmanager
def daemon(
    directory: Path, core: int, state: Path, settings: Mapping[str, object] | None = None
) -> Iterator[Server]:
    """Run the daemon on `core` with its state in `state`; its log is `state`.log."""
    errors = state.with_suffix(".log")
    command = [sys.executable, "-m", "spiderwebd", "run", "--ready-json", "--listen", "127.0.0.1:0"]
    command += ["--state-dir", str(state)]
    for key, value in (settings or {}).items():
        command += ["--set", f"{key}={value}"]
    process, started = _start(command, core, directory, errors)
    try:
        address, seconds, cpu = _wait_ready(process, started, errors)
        host, _, port = address.rpartition(":")
        token = (state / "token").read_text().strip()
        path = "/v1/agents/default/stream"
        yield Server(process, host, int(port), path, token, WELCOME, seconds, cpu, core)
    finally:
        _end(process)
