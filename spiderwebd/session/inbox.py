"""The one way into a session: a bounded queue that its loop empties."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import trio

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """Items in order of arrival; `offer` is bounded, `put` is for what the session itself started.

    Results are bounded by the work that may run, so `put` needs no bound of its own.
    """

    __slots__ = ("_closed", "_items", "_limit", "_offered", "_room", "_since", "_wake", "waited")

    def __init__(self, limit: int) -> None:
        """Take at most `limit` offered items at a time; more is refused, and the caller says so."""
        self._items: deque[Item] = deque()
        self._closed = False
        self._limit = limit
        self._offered = 0
        self._since = 0.0
        self.waited = 0.0
        """Seconds that the oldest had waited of what was taken last."""
        self._wake: trio.Event | None = None
        self._room: trio.Event | None = None

    def __len__(self) -> int:
        """Count what waits, offered or put."""
        return len(self._items)

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest has waited; 0 when nothing waits."""
        return trio.current_time() - self._since if self._items else 0.0

    def offer(self, item: Item) -> bool:
        """Add what a client sent; False when `limit` such items already wait. Else `wake` must follow."""
        if self._offered >= self._limit:
            return False
        self._offered += 1
        self.add(item)
        return True

    def add(self, item: Item) -> None:
        """Add the result of something the session started, or a tick of a sweep; `wake` must follow."""
        if self._closed:
            return
        if not self._items:
            self._since = trio.current_time()
        self._items.append(item)

    def put(self, item: Item) -> None:
        """Add an item and let it be taken at once."""
        self.add(item)
        self.wake()

    def close(self) -> None:
        """Forget what waits, and all that comes: nobody takes it any more."""
        self._closed = True
        self._items.clear()

    def wake(self) -> None:
        """Let whoever waits in `take` come to what is there."""
        if self._wake is not None:
            self._wake.set()

    @property
    def awaited(self) -> bool:
        """Whether somebody waits in `take` and has not been woken."""
        return self._wake is not None and not self._wake.is_set()

    async def take(self) -> list[Item]:
        """Wait for items and return all that are there, oldest first. Only one task may wait here."""
        while not self._items:
            self._wake = trio.Event()
            await self._wake.wait()
            self._wake = None
        return self.take_nowait()

    def take_nowait(self) -> list[Item]:
        """Return all that is there, oldest first; maybe nothing."""
        self.waited = self.oldest_seconds
        taken = list(self._items)
        self._items.clear()
        self._offered = 0
        if self._room is not None:
            self._room.set()
            self._room = None
        return taken

    async def room(self) -> None:
        """Wait until `offer` may succeed; the caller owns the deadline, and asks again when it does not."""
        while self._offered >= self._limit:
            if self._room is None:
                self._room = trio.Event()
            await self._room.wait()
