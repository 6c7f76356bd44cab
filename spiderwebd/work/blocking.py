"""How workers run functions that block on a disk: in a thread in service, inline in timed tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import trio

Result = TypeVar("Result")


class RunBlocking(Protocol):
    """Runs one blocking function and returns what it returned.

    A call that is cancelled was either never started or runs to its end: never half.
    """

    async def __call__(self, function: Callable[[], Result]) -> Result:
        """Run the function; what it raises is raised here."""


@dataclass(frozen=True, slots=True)
class InThreads:
    """The way of the service: trio's worker threads, as many at once as the limiter allows."""

    limiter: trio.CapacityLimiter

    async def __call__(self, function: Callable[[], Result]) -> Result:
        """Run the function in a worker thread."""
        return await trio.to_thread.run_sync(function, limiter=self.limiter)


async def run_inline(function: Callable[[], Result]) -> Result:
    """Run the function on the loop, between two checkpoints; for tests whose clock is a mock."""
    await trio.lowlevel.checkpoint()
    return function()
