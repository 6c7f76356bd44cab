"""Keepalive: one loop over all links, never a task or a timer a link.

The kernel's TCP keepalive already finds dead machines at no cost (`listen`); websocket pings are
for what it cannot see, a proxy in between or a program that hangs, so they may be far apart.
"""

from __future__ import annotations

import math
from typing import Protocol

import trio

from spiderwebd.core.codes import Close

SWEEPS_PER_INTERVAL = 8
"""A ping is late by at most an eighth of its interval."""


class Watched(Protocol):
    """What the sweep asks of a link; times in seconds on trio's clock."""

    pinged_at: float

    @property
    def heard_at(self) -> float:
        """When the peer last sent anything."""

    def ping(self) -> None:
        """Ask for a ping; must not wait."""

    def close(self, code: Close, reason: str = "", *, flush: bool = True) -> None:
        """Begin the end; must not wait."""

    def fail(self, fault: Exception) -> None:
        """End the link for a bug that was met in looking at it."""


class KeepaliveSweep:
    """Ping links that say nothing, end those that stay silent."""

    def __init__(self, *, idle_seconds: float = 240.0, silent_seconds: float = 300.0) -> None:
        """Ping after `idle_seconds` without a byte from the peer, end after `silent_seconds`.

        10,000 idle links cost about 40 pings a second by these figures. Raises ValueError unless
        0 < idle_seconds < silent_seconds.
        """
        if not 0 < idle_seconds < silent_seconds:
            raise ValueError("idle_seconds must be above 0 and below silent_seconds")
        self._idle = idle_seconds
        self._silent = silent_seconds
        self._links: dict[Watched, None] = {}

    def __len__(self) -> int:
        """Count the links watched."""
        return len(self._links)

    def watch(self, link: Watched) -> None:
        """Watch a link from now on, until `forget`."""
        self._links[link] = None

    def forget(self, link: Watched) -> None:
        """Watch a link no longer."""
        del self._links[link]

    def close_all(self, code: Close, reason: str = "") -> None:
        """Begin the end of every link watched, what waits in its outbox first; never waits."""
        for link in list(self._links):
            link.close(code, reason)

    def sweep(self, now: float) -> None:
        """Look at every link once; `now` in seconds on trio's clock."""
        for link in list(self._links):
            try:
                self._look_at(link, now)
            except Exception as error:
                link.fail(error)

    def _look_at(self, link: Watched, now: float) -> None:
        heard_at = link.heard_at
        silence = now - heard_at
        if silence >= self._silent:
            reason = f"nothing was heard for {self._silent:g} seconds"
            link.close(Close.POLICY, reason, flush=False)
        elif silence >= self._idle and link.pinged_at <= heard_at:
            link.ping()

    async def run(self) -> None:
        """Sweep for ever, on a fixed grid; slots missed by a late loop are skipped."""
        period = min(self._idle, self._silent - self._idle) / SWEEPS_PER_INTERVAL
        start = trio.current_time()
        while True:
            slot = math.floor((trio.current_time() - start) / period) + 1
            await trio.sleep_until(start + slot * period)
            self.sweep(trio.current_time())
