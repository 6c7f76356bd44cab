"""What goes wrong under load: a disk and a wall clock that do as they are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load import wall
from tests.load.wall import SteppedWall
from tests.store.faults import disk as disks
from tests.store.faults.disk import FaultyDisk, compiler


@pytest.fixture(scope="session")
def faulty_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim under the disk."""
    if compiler() is None:
        pytest.skip("no C compiler on this machine, so no faulty disk")
    return disks.build(tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="session")
def stepped_wall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim under the clock."""
    if compiler() is None:
        pytest.skip("no C compiler on this machine, so no wall clock that steps")
    return wall.build(tmp_path_factory.mktemp("wall"))


@pytest.fixture
def disk(faulty_disk: Path, tmp_path: Path) -> Iterator[FaultyDisk]:
    """A sound disk under the state directory."""
    disk = FaultyDisk(faulty_disk, tmp_path, tmp_path / "state")
    yield disk
    disk.close()


@pytest.fixture
def clock(stepped_wall: Path, tmp_path: Path) -> Iterator[SteppedWall]:
    """A right wall clock."""
    clock = SteppedWall(stepped_wall, tmp_path)
    yield clock
    clock.close()
