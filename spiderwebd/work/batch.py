"""The running tasks of one goal: a child nursery with the goal's deadline, open until it is closed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

Run = Callable[[], Awaitable[None]]


class Batch:
    """Tasks may be added from the moment it is made; they start when `run` has opened its nursery."""

    def __init__(self, deadline: float) -> None:
        """Make a batch that ends at `deadline`, in seconds on trio's clock."""
        self._scope = trio.CancelScope(deadline=deadline)
        self._nursery: trio.Nursery | None = None
        self._waiting: list[tuple[Run, str]] = []
        self._closed = False

    def add(self, run: Run, name: str) -> None:
        """Start a task; once the batch is closed or past its deadline, nothing starts any more."""
        if self._nursery is None:
            self._waiting.append((run, name))
        elif not self._scope.cancel_called:
            self._nursery.start_soon(run, name=name)

    def close(self, reason: str) -> None:
        """Cancel what runs and let `run` return; `reason` stands in the log."""
        self._closed = True
        self._scope.cancel(reason=reason)

    async def run(self) -> bool:
        """Run what is added until closed; return whether the deadline ended it instead."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for run, name in self._waiting:
                    nursery.start_soon(run, name=name)
                self._waiting.clear()
                await trio.sleep_forever()
        return not self._closed
