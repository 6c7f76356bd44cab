"""What the kernel says of a process: proc(5)."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads so far, in seconds, to a clock tick (10 ms)."""
    # The name in parentheses may hold anything, so fields are counted from behind it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def core_seconds(core: int) -> float:
    """Time that processes have run on one core, stolen time included, interrupts not."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, steal = (int(fields[place]) for place in (0, 1, 2, 7))
            return (user + nice + system + steal) / TICKS
    raise ValueError(f"/proc/stat knows no core {core}")


def resident_bytes(pid: int) -> int:
    """Resident memory (VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no VmRSS: it has ended")


def file_system(path: Path) -> str:
    """Type of the file system that holds `path`, from /proc/self/mountinfo."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        mount = before.split()[4]
        if path.resolve().is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, after.split()[0]
    return kind
