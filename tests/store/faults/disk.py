"""A disk that fails on command, under a real daemon: compiled, preloaded, and told what to do."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import struct
import subprocess
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).with_name("faulty_disk.c")
COUNTERS = 5
SECTOR = 512
"""What a disk writes whole or not at all."""


class Mode(IntEnum):
    """What the disk does with the database's files; the C source has the same numbers."""

    SOUND = 0
    FULL = 1
    """Every write fails with ENOSPC."""
    BROKEN = 2
    """Every write fails with EIO."""
    TORN = 3
    """Half of a write is done, then ENOSPC."""
    UNSYNCED = 4
    """Writes are taken, every sync fails with EIO."""
    LYING = 5
    """Every sync says that it was done, and was not."""
    STALLED = 6
    """Writes are taken, a sync lasts until the mode changes."""
    UNREADABLE = 7
    """Every read fails with EIO."""


def compiler() -> str | None:
    """The C compiler of this machine, if there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(folder: Path) -> Path:
    """Compile the shim; raises subprocess.CalledProcessError with what the compiler said."""
    library = folder / "faulty_disk.so"
    subprocess.run(
        [
            compiler() or "cc", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC",
            "-o", str(library), str(SOURCE), "-ldl", "-pthread",
        ],
        check=True,
        capture_output=True,
        text=True,
    )  # fmt: skip
    return library


class FaultyDisk:
    """The disk under one state directory."""

    def __init__(self, library: Path, folder: Path, state_directory: Path) -> None:
        """Sound, to begin with; `folder` is for what the shim keeps."""
        self.state_directory = state_directory
        self._library = library
        self._synced = folder / "synced"
        self._synced.mkdir()
        self._control = folder / "control"
        self._control.write_bytes(bytes(4 * COUNTERS))
        with self._control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 4 * COUNTERS)

    @property
    def environment(self) -> dict[str, str]:
        """What the daemon's environment needs."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAULTY_DISK_FOLDER": str(self.state_directory),
            "FAULTY_DISK_CONTROL": str(self._control),
            "FAULTY_DISK_SYNCED": str(self._synced),
        }

    @property
    def failed_writes(self) -> int:
        """Writes that failed so far."""
        return int(self._ints()[1])

    @property
    def failed_syncs(self) -> int:
        """Syncs that failed so far."""
        return int(self._ints()[2])

    @property
    def syncs(self) -> int:
        """Syncs asked for so far."""
        return int(self._ints()[3])

    @property
    def failed_reads(self) -> int:
        """Reads that failed so far."""
        return int(self._ints()[4])

    def set(self, mode: Mode) -> None:
        """From now on, do this."""
        self._map[0:4] = struct.pack("=i", mode)

    def cut_power(self, chance: random.Random | None = None) -> None:
        """Give the files the contents that survive a power cut: what was synced, and with `chance` some of
        the sectors written since. The daemon must be dead.
        """
        for name in os.listdir(self.state_directory):
            if name.startswith("spiderwebd.db") and not name.endswith(".lock"):
                file = self.state_directory / name
                copy = self._synced / name
                if not copy.exists() or name.endswith("-shm"):
                    file.unlink()
                    continue
                kept = copy.read_bytes()
                if chance is not None:
                    kept = _mixed(kept, file.read_bytes(), chance)
                file.write_bytes(kept)
                copy.write_bytes(kept)

    def close(self) -> None:
        """Let go of the control file."""
        self._map.close()

    def _ints(self) -> tuple[int, ...]:
        return struct.unpack(f"={COUNTERS}i", self._map[: 4 * COUNTERS])


def _mixed(synced: bytes, written: bytes, chance: random.Random) -> bytes:
    """Sectors of `written` reached the disk or did not, each by itself."""
    size = max(len(synced), len(written)) if chance.random() < 0.5 else len(synced)
    mixed = bytearray(synced[:size].ljust(size, b"\0"))
    for place in range(0, min(size, len(written)), SECTOR):
        if chance.random() < 0.5:
            sector = written[place : place + SECTOR]
            mixed[place : place + len(sector)] = sector
    return bytes(mixed)
