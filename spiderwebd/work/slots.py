"""Slots: how many tasks run at once, and the seat that one running task takes among them.

Fairness between sessions belongs behind `Slots`: whoever grants slots knows who asks.
"""

from __future__ import annotations

from typing import Protocol

import trio


class Slots(Protocol):
    """A bound on running tasks."""

    async def acquire(self, session: str) -> None:
        """Wait for a slot; the caller owns the deadline. Cancelled, no slot is held."""

    def release(self, session: str) -> None:
        """Give a slot back. Never waits."""


class FirstComeSlots:
    """At most `total` slots, first come, first served."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._lot = trio.lowlevel.ParkingLot()

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return self._free

    async def acquire(self, session: str) -> None:
        """Wait for a slot in order of arrival."""
        if self._free:
            self._free -= 1
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        await self._lot.park()  # whoever unparks us hands over its slot

    def release(self, session: str) -> None:
        """Hand the slot to the one who waits longest, or keep it free."""
        if self._lot:
            self._lot.unpark()
        else:
            self._free += 1


class Seat:
    """The slots of one task: one of each limiter, always taken in the same order, or none."""

    __slots__ = ("_limiters", "_session", "_taken")

    def __init__(self, session: str, *limiters: Slots) -> None:
        self._session = session
        self._limiters = limiters
        self._taken: list[Slots] = []

    async def take(self) -> None:
        """Take what is not taken yet; cancelled or failing on the way, keep nothing."""
        await trio.lowlevel.checkpoint()
        try:
            for limiter in self._limiters[len(self._taken) :]:
                await limiter.acquire(self._session)
                self._taken.append(limiter)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Give everything back; harmless when nothing is taken. Never waits."""
        while self._taken:
            self._taken.pop().release(self._session)
