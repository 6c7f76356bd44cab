"""The faulty disk, compiled once, under a daemon of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.daemon_process import DaemonProcess
from tests.store.faults.disk import FaultyDisk, build, compiler

SETTINGS = {"heartbeat.enabled": False, "store.backlog_bytes": 65_536, "log.format": "json"}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim."""
    if compiler() is None:
        pytest.skip("no C compiler on this machine, so no faulty disk")
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def disk(library: Path, tmp_path: Path) -> Iterator[FaultyDisk]:
    """A sound disk under the state directory."""
    disk = FaultyDisk(library, tmp_path, tmp_path / "state")
    yield disk
    disk.close()


@pytest.fixture
def daemon(disk: FaultyDisk, tmp_path: Path) -> Iterator[DaemonProcess]:
    """A running daemon on that disk."""
    with DaemonProcess(tmp_path, SETTINGS, environment=disk.environment) as daemon:
        yield daemon
