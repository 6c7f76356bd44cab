"""Which links have something to read: one level-triggered epoll for all of them, and one task.

Trio arms its own epoll anew for each wait and wakes a task for each message. Here a socket is announced
once, and one task calls whoever has something to read, so that a message costs neither.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

EVENTS = 256
"""Sockets looked at in one turn of the loop. Each may hand on a burst while the turn is young and one message
later (`turn`), so that a pass over them is short; were it cut into turns, each would have a burst again, and
the last of them waited for all (p99 of a bystander's ping in a flood: 249 ms)."""


class Readiness:
    """The sockets being read in one run of trio. Its task lives for as long as there are any."""

    __slots__ = ("_epoll", "_readable", "_scope")

    def __init__(self) -> None:
        self._readable: dict[int, Callable[[], None]] = {}
        self._epoll: select.epoll | None = None
        self._scope: trio.CancelScope | None = None

    @contextmanager
    def watching(self, descriptor: int, readable: Callable[[], None]) -> Iterator[None]:
        """Call `readable()` whenever a socket has something to read, until the block ends.

        It is called outside of the link's task, must not wait and must not raise. What it leaves unread
        is announced again. The socket may be closed only after the block.
        """
        epoll = self._epoll
        if epoll is None:
            epoll = self._epoll = select.epoll()
        epoll.register(descriptor, select.EPOLLIN)
        self._readable[descriptor] = readable
        if self._scope is None:
            self._scope = trio.CancelScope()
            trio.lowlevel.spawn_system_task(self._run, epoll, self._scope, name="link readiness")
        try:
            yield
        finally:
            del self._readable[descriptor]
            epoll.unregister(descriptor)
            if not self._readable:
                self._scope.cancel(reason="no link is read")
                self._scope = self._epoll = None

    async def _run(self, epoll: select.epoll, scope: trio.CancelScope) -> None:
        try:
            with scope:
                while True:
                    await trio.lowlevel.wait_readable(epoll)  # cancelled with the last link
                    for descriptor, _event in epoll.poll(0, EVENTS):
                        # One may have gone by what another was told.
                        readable = self._readable.get(descriptor)
                        if readable is not None:
                            readable()
        finally:
            epoll.close()


_present: trio.lowlevel.RunVar[Readiness] = trio.lowlevel.RunVar("spiderwebd: readiness of links")


def link_readiness() -> Readiness:
    """Return the one of this run of trio; the first call makes it."""
    try:
        return _present.get()
    except LookupError:
        readiness = Readiness()
        _present.set(readiness)
        return readiness
