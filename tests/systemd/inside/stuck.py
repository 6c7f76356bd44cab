"""In the box, instead of the daemon's launcher: the daemon with one weakness, chosen by a file.

In /var/lib/spiderwebd: "block-loop" blocks the loop for ever, once; "slow-drain" and "slow-start" make
stopping and the opening of the database take SLOW seconds longer.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, "/usr/lib/spiderwebd")

import trio

from spiderwebd import cli
from spiderwebd.pulse import Pulse
from spiderwebd.session.registry import Registry
from spiderwebd.store import schema

STATE = Path("/var/lib/spiderwebd")
SLOW = 14.0


def block_the_loop() -> None:
    """Never come back."""
    while True:
        time.sleep(3600)


async def blocking_probe(pulse: Pulse) -> None:
    """Stand in for the lag probe."""
    await trio.sleep(0.5)
    (STATE / "block-loop").unlink()
    block_the_loop()


def main() -> int:
    """Put the weakness in and serve."""
    if (STATE / "block-loop").exists():
        Pulse.probe_lag = blocking_probe
    drain, migrate = Registry.drain, schema.migrate

    async def slow_drain(registry: Registry, deadline: float) -> None:
        await trio.sleep(SLOW)
        await drain(registry, deadline)

    def slow_migrate(*arguments: object) -> object:
        time.sleep(SLOW)
        return migrate(*arguments)

    if (STATE / "slow-drain").exists():
        Registry.drain = slow_drain
    if (STATE / "slow-start").exists():
        schema.migrate = slow_migrate
    return cli.main(["run"])


sys.exit(main())
