"""Daemons for the checklist: one that most tests share, and others with settings of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conformance.schema_client import Link
from tests.flows.daemon_process import DaemonProcess

SATURATION = {"planner.max_tasks": 4, "heartbeat.interval_seconds": 0.5, "heartbeat.jitter_seconds": 0}
SATURATED_GOAL = "one task; two tasks; three tasks; four tasks; five tasks; six tasks"

Start = Callable[..., DaemonProcess]


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon with its defaults; every test opens sessions of its own on it."""
    with DaemonProcess(tmp_path_factory.mktemp("daemon")) as running:
        yield running


@pytest.fixture
def link(daemon: DaemonProcess) -> Iterator[Link]:
    """A link with a new session on the shared daemon."""
    with Link(daemon.listen, daemon.token) as opened:
        yield opened


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a daemon under the test's folder, with these settings as --set takes them."""
    with ExitStack() as stack:

        def started(**settings: object) -> DaemonProcess:
            named = {key.replace("__", "."): value for key, value in settings.items()}
            return stack.enter_context(DaemonProcess(tmp_path / "daemon", named))

        yield started


@pytest.fixture(scope="session", autouse=True)
def saturated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """A paused session with a goal of six tasks where four are allowed, given at the very start.

    The original tells of lasting saturation after 30 seconds; the other tests run meanwhile.
    """
    with ExitStack() as stack:
        running = stack.enter_context(DaemonProcess(tmp_path_factory.mktemp("saturated"), SATURATION))
        opened = stack.enter_context(Link(running.listen, running.token))
        opened.request("agent.control", action="pause")
        opened.send({"type": "agent.control", "goal": SATURATED_GOAL, "id": "saturated"})
        yield opened
