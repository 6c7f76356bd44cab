"""A real daemon for the tests of commands, and a user with a state folder of their own."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from spiderwebd.client.arguments import parser
from spiderwebd.client.desk import Desk
from spiderwebd.client.output import Output
from tests.flows.daemon_process import DaemonProcess


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """One daemon for all tests of this folder; each test has sessions of its own."""
    settings = {"heartbeat.enabled": False, "log.level": "warning"}
    with DaemonProcess(tmp_path_factory.mktemp("daemon"), settings) as process:
        yield process


@dataclass
class User:
    """Runs commands in this process, as main does, and keeps what they printed."""

    environment: dict[str, str]
    out: str = ""
    notes: str = ""
    frames: list[dict[str, Any]] = field(default_factory=list)

    def run(self, *argv: str) -> int:
        """Run one command with these arguments and return its exit code; its ClientErrors are raised."""
        arguments = parser().parse_args(argv)
        out, notes = io.StringIO(), io.StringIO()
        output = Output(as_json=arguments.json, environment=self.environment, out=out, notes=notes)
        try:
            return int(arguments.command(Desk(arguments, self.environment, output)))
        finally:
            self.out, self.notes = out.getvalue(), notes.getvalue()
            self.frames = [json.loads(line) for line in self.out.splitlines()] if arguments.json else []


NewUser = Callable[[], User]


@pytest.fixture
def new_user(daemon: DaemonProcess, tmp_path: Path) -> NewUser:
    """Make users of the daemon who remember nothing yet."""
    made: list[User] = []

    def make() -> User:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "XDG_STATE_HOME": str(tmp_path / f"user{len(made)}"),
            "SPIDERWEB_STATE_DIR": str(daemon.state_directory),
            "SPIDERWEB_URL": daemon.place.address.url,
        }
        made.append(User(environment))
        return made[-1]

    return make


@pytest.fixture
def user(new_user: NewUser) -> User:
    """One such user."""
    return new_user()
