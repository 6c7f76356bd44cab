"""A real daemon as a child process: started, killed, started again on the same state and port."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import IO, Protocol, Self

from spiderwebd.client.address import parse_address
from spiderwebd.client.discovery import Place

READY_SECONDS = 30.0
STOP_SECONDS = 30.0
STDERR_CHARACTERS = 4000
"""How much of the daemon's log a failure shows."""

COMMAND = (sys.executable, "-m", "spiderwebd")


class Child(Protocol):
    """What is used of subprocess.Popen."""

    stdout: IO[bytes] | None

    @property
    def pid(self) -> int:
        """Process id."""

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit status. Raises subprocess.TimeoutExpired."""

    def kill(self) -> None:
        """Send SIGKILL."""

    def send_signal(self, sig: int) -> None:
        """Send a signal."""


class DaemonFailed(Exception):
    """The daemon did not start or stop as it should; the text ends with its log."""


class DaemonProcess:
    """One daemon on loopback; leaves no child behind, however the test ends.

    `folder` is where its log and empty configuration file go, its state under `state` unless
    `state_directory` says otherwise. `settings` are `section.key` to value, as --set takes them.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object] | None = None,
        *,
        state_directory: Path | None = None,
        command: Sequence[str] = COMMAND,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.state_directory = state_directory or folder / "state"
        self.settings = dict(settings or {})
        self.listen = "127.0.0.1:0"
        """Where it listens; the port it was given stays the same over restarts."""
        self.ready: dict[str, object] = {}
        """The ready line of the running daemon."""
        self.starts = 0
        self.command = command
        """What the next start runs, before its arguments."""
        self._environment = dict(environment or {})
        self._process: Child | None = None
        self._log = folder / "daemon.log"

    @property
    def pid(self) -> int:
        """Process id of the running daemon. Raises DaemonFailed when none runs."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether the child runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def token(self) -> str:
        """The token that the first start made."""
        return (self.state_directory / "token").read_text("ascii").strip()

    @property
    def place(self) -> Place:
        """Address and token, for the shipped client's connection."""
        return Place(parse_address(f"ws://{self.listen}"), self.token)

    @property
    def stderr(self) -> str:
        """Everything the daemon has logged, over all its starts."""
        with contextlib.suppress(FileNotFoundError):
            return self._log.read_text("utf-8", "replace")
        return ""

    def start(self, timeout: float = READY_SECONDS) -> None:
        """Start it and wait for its ready line. Raises DaemonFailed after `timeout` seconds."""
        if self.running:
            raise DaemonFailed("the daemon runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "empty.toml"  # this machine's own must not leak in
        configuration.touch()
        options = [f"--set={key}={_as_toml(value)}" for key, value in self.settings.items()]
        arguments = ["run", "--config", str(configuration), "--listen", self.listen]
        arguments += ["--state-dir", str(self.state_directory), "--ready-json", *options]
        with self._log.open("ab") as log:
            try:
                self._process = self._spawn(arguments, log)
            except OSError as error:
                raise DaemonFailed(f"the daemon cannot be started: {error}") from None
        atexit.register(self.close)
        self.starts += 1
        try:
            self.ready = self._ready_line(monotonic() + timeout)
        except BaseException:
            self.close()
            raise
        self.listen = str(self.ready["listen"])

    def _spawn(self, arguments: Sequence[str], log: IO[bytes]) -> Child:
        inherited = {key: text for key, text in os.environ.items() if not key.startswith("SPIDERWEB")}
        return subprocess.Popen(
            [*self.command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**inherited, **self._environment},
        )

    def kill(self) -> int:
        """Send SIGKILL and return the exit status, -9."""
        return self._end(signal.SIGKILL)

    def terminate(self, timeout: float = STOP_SECONDS) -> int:
        """Send SIGTERM and return the exit status; raises DaemonFailed when it does not end in time."""
        return self._end(signal.SIGTERM, timeout)

    def send_signal(self, number: signal.Signals) -> None:
        """Send any other signal."""
        self._running().send_signal(number)

    def wait(self, timeout: float = STOP_SECONDS) -> int:
        """Wait for its end and return the exit status; raises DaemonFailed after `timeout` seconds."""
        process = self._running()
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._failed(f"the daemon did not end within {timeout:g} seconds") from None
        self._forget(process)
        return status

    def restart(self) -> None:
        """Kill it, unless it has ended, and start it again on the same state and port."""
        if self.running:
            self.kill()
        self.start()

    def close(self) -> None:
        """End it by SIGKILL if it runs. Never raises."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait(STOP_SECONDS)  # SIGKILL cannot be held off; the bound is for a broken kernel
            self._forget(process)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave no child behind."""
        self.close()

    def _running(self) -> Child:
        if self._process is None:
            raise DaemonFailed("no daemon runs; start it first")
        return self._process

    def _end(self, number: signal.Signals, timeout: float = STOP_SECONDS) -> int:
        self._running().send_signal(number)
        return self.wait(timeout)

    def _forget(self, process: Child) -> None:
        if process.stdout is not None:
            process.stdout.close()
        self._process = None
        atexit.unregister(self.close)

    def _ready_line(self, deadline: float) -> dict[str, object]:
        process = self._running()
        assert process.stdout is not None
        buffer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in buffer:
                if not selector.select(max(deadline - monotonic(), 0)):
                    raise self._failed("the daemon was not ready in time")
                data = os.read(process.stdout.fileno(), 65_536)
                if not data:
                    raise self._failed(
                        f"the daemon ended with status {process.wait(STOP_SECONDS)} before it was ready"
                    )
                buffer += data
        try:
            line: dict[str, object] = json.loads(buffer.partition(b"\n")[0])
        except ValueError:
            raise self._failed(f"the daemon's ready line is no JSON: {buffer!r}") from None
        if line.get("event") != "ready":
            raise self._failed(f"the daemon's first line is not the ready line: {line}")
        return line

    def _failed(self, message: str) -> DaemonFailed:
        return DaemonFailed(f"{message}; its log ends with:\n{self.stderr[-STDERR_CHARACTERS:]}")


def _as_toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
