"""How long this disk takes to make 4 kB durable: what a promise of durability is measured against."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.bench.latency import Latencies

BLOCK = b"\xa5" * 4096


def fdatasync_latencies(directory: Path, samples: int) -> Latencies:
    """Append 4 kB and fdatasync, `samples` times, in a new file; it is removed afterwards."""
    found = Latencies()
    path = directory / "fdatasync"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for _ in range(samples):
            os.write(descriptor, BLOCK)
            started = time.monotonic()
            os.fdatasync(descriptor)
            found.add(time.monotonic() - started)
    finally:
        os.close(descriptor)
        path.unlink()
    return found
