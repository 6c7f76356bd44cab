"""The one way into a session: a bounded queue that its loop empties."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import trio

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """Items in order of arrival; `offer` is bounded, `put` is for what the session itself started.

    Results of work are bounded by the work that may run, so `put` needs no bound of its own.
    """

    __slots__ = ("_items", "_limit", "_offered", "_room", "_wake")

    def __init__(self, limit: int) -> None:
        self._items: deque[tuple[Item, bool]] = deque()
        self._limit = limit
        self._offered = 0
        self._wake = trio.Event()
        self._room = trio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: Item) -> bool:
        """Add what a client sent; False when `limit` such items already wait."""
        if self._offered >= self._limit:
            return False
        self._offered += 1
        self._items.append((item, True))
        self._wake.set()
        return True

    def put(self, item: Item) -> None:
        """Add the result of something the session started, or a tick of a sweep."""
        self._items.append((item, False))
        self._wake.set()

    async def take(self) -> list[Item]:
        """Wait for items and return all that are there, oldest first."""
        while not self._items:
            self._wake = trio.Event()
            await self._wake.wait()
        taken = [item for item, _ in self._items]
        self._items.clear()
        self._offered = 0
        self._room.set()
        self._room = trio.Event()
        return taken

    async def room(self) -> None:
        """Wait until `offer` can succeed; the caller owns the deadline."""
        while self._offered >= self._limit:
            await self._room.wait()
