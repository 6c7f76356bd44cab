"""Slots: how many tasks run at once, and the seat that one running task takes among them.

Whoever grants slots knows which session asks, so that sessions can take turns.
"""

from __future__ import annotations

from typing import Protocol

import trio

from spiderwebd.core.fairness import RoundRobin


class Slots(Protocol):
    """A bound on running tasks."""

    async def acquire(self, session: str) -> None:
        """Wait for a slot; the caller owns the deadline. Cancelled, no slot is held."""

    def release(self, session: str) -> None:
        """Give a slot back. Never waits."""


class FairSlots:
    """At most `total` slots; waiting sessions take turns, whatever number of tasks each has."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._line: RoundRobin[trio.lowlevel.Task] = RoundRobin()

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return self._free

    @property
    def waiting(self) -> int:
        """Tasks that wait for a slot."""
        return len(self._line)

    async def acquire(self, session: str) -> None:
        """Wait for a slot until it is this session's turn."""
        if self._free:
            self._free -= 1
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        task = trio.lowlevel.current_task()
        self._line.add(session, task)

        def give_up(_: object) -> trio.lowlevel.Abort:
            self._line.give_up(session, task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)  # whoever wakes us hands over its slot

    def release(self, session: str) -> None:
        """Hand the slot to the session whose turn it is, or keep it free."""
        self._line.had_its_turn(session)
        task = self._line.next()
        if task is None:
            self._free += 1
        else:
            trio.lowlevel.reschedule(task)


class Seat:
    """The slots of one task: one of each limiter, always taken in the same order, or none."""

    __slots__ = ("_limiters", "_session", "_taken")

    def __init__(self, session: str, *limiters: Slots) -> None:
        self._session = session
        self._limiters = limiters
        self._taken: list[Slots] = []

    async def take(self) -> None:
        """Take what is not taken yet; cancelled or failing on the way, keep nothing."""
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
