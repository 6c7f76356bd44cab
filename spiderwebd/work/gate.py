"""The pause gate: open, every step passes at once; closed, steps wait at it until it opens."""

from __future__ import annotations

import trio


class Gate:
    """One gate a session. `pause` and `resume` never wait and may be called in any order."""

    def __init__(self) -> None:
        self._open = trio.Event()
        self._open.set()

    @property
    def paused(self) -> bool:
        """Whether whoever comes now must wait."""
        return not self._open.is_set()

    def pause(self) -> None:
        """Close the gate; what is between two steps goes on to the next one and waits there."""
        if self._open.is_set():
            self._open = trio.Event()

    def resume(self) -> None:
        """Open the gate for all who wait."""
        self._open.set()

    async def wait(self) -> None:
        """Return when the gate is open. Always a checkpoint.

        A pause lasts as long as its person wants; the deadline of the goal bounds the wait.
        """
        await self._open.wait()
        while self.paused:  # closed again before this task had its turn
            await self._open.wait()
