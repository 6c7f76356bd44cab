"""A wall clock that steps on command, under a real daemon: compiled, preloaded, and told how far."""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path

from tests.store.faults.disk import compiler

SOURCE = Path(__file__).with_name("stepped_wall.c")
SIZE = 8


def build(folder: Path) -> Path:
    """Compile the shim; raises subprocess.CalledProcessError with what the compiler said."""
    library = folder / "stepped_wall.so"
    subprocess.run(
        [
            compiler() or "cc", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC",
            "-o", str(library), str(SOURCE), "-ldl",
        ],
        check=True,
        capture_output=True,
        text=True,
    )  # fmt: skip
    return library


class SteppedWall:
    """The wall clock of one daemon; monotonic time is the system's own."""

    def __init__(self, library: Path, folder: Path) -> None:
        """Right, to begin with."""
        self._library = library
        self._control = folder / "wall"
        self._control.write_bytes(bytes(SIZE))
        with self._control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SIZE)

    @property
    def environment(self) -> dict[str, str]:
        """What the daemon's environment needs."""
        return {"LD_PRELOAD": str(self._library), "STEPPED_WALL": str(self._control)}

    def set(self, seconds: int) -> None:
        """From now on, be wrong by so many seconds."""
        self._map[:SIZE] = struct.pack("=q", seconds)

    def close(self) -> None:
        """Let go of the control file."""
        self._map.close()
