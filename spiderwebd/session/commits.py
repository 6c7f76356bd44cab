"""Steps on their way to the disk: committed and shown in the order in which they were taken.

What a step says becomes visible after its commit, so everything behind a step under way waits for it,
pongs apart. While the store takes nothing more (the disk fails and its backlog is full) steps are kept
here and handed over later: the result of finished work is never lost while the daemon lives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

import trio

from spiderwebd.core.codes import StorageUnavailable
from spiderwebd.core.records import SessionRecord
from spiderwebd.core.state import Step
from spiderwebd.session.ports import Writer

RETRY_SECONDS = 0.5
"""Between two looks at a store that takes nothing; its own retries are up to 10 s apart."""


class RecordsRefusedError(Exception):
    """The schema refused a step's records: a fault of ours, and the session must start from disk."""


class Commits:
    """The order of one session's steps. Used by its loop alone."""

    __slots__ = (
        "_broken",
        "_closed",
        "_fail",
        "_held",
        "_requests",
        "_show",
        "_writer",
        "in_flight",
        "saved",
    )

    def __init__(
        self,
        writer: Writer,
        show: Callable[[Step, bool], None],
        fail: Callable[[BaseException], None],
        saved: SessionRecord,
    ) -> None:
        """Show steps by `show(step, durable)`; what goes wrong meanwhile is given to `fail` once.

        `saved` is the session's row as the disk has it.
        """
        self._writer = writer
        self._show = show
        self._fail = fail
        self._held: deque[Step] = deque()
        self._broken = False
        self._closed = False
        self._requests = 0
        self.in_flight = 0
        """Steps handed over and not yet shown, held ones included."""
        self.saved = saved
        """The session's own row, as it was last handed over."""

    @property
    def held(self) -> int:
        """Steps that the store would not take yet."""
        return len(self._held)

    @property
    def requests_to_show(self) -> int:
        """Requests of the steps that the store has taken and that will still be shown."""
        return 0 if self._broken else self._requests - sum(step.requests for step in self._held)

    async def take(self, step: Step) -> bool:
        """Commit the step's records, then show it; a step without records is shown in its turn.

        Waits only while the store's queue is full. False when the step is held: `hand_over` must run.
        """
        if self._shown_at_once(step):
            return True
        if self._held or not await self._submit(step):
            self._held.append(step)
            return False
        return True

    @property
    def free(self) -> bool:
        """Whether `take_nowait` may be called: no step is held, and the store's queue has room."""
        return not self._held and self._writer.has_room

    def take_nowait(self, step: Step) -> bool:
        """As `take`, while `free`."""
        if self._shown_at_once(step):
            return True
        try:
            self._writer.submit_nowait(step.records, partial(self._shown, step))
        except StorageUnavailable:
            self._held.append(step)
            return False
        return True

    def _shown_at_once(self, step: Step) -> bool:
        if not step.records and (not self.in_flight or self._held or step.only_pongs):
            # Behind a held step a refusal or a state would wait for the disk to come back.
            self._show(step, True)
            return True
        self.in_flight += 1
        self._requests += step.requests
        if step.records and isinstance(step.records[-1], SessionRecord):
            self.saved = step.records[-1]
        return False

    async def hand_over(self) -> None:
        """Give the store what is held as soon as it takes it, oldest first; return when it has all."""
        while self._held:
            if self._writer.accepting and await self._submit(self._held[0]):
                self._held.popleft()
            else:
                await trio.sleep(RETRY_SECONDS)

    async def save(self, record: SessionRecord) -> bool:
        """Write the session's own row if it changed; True when the disk has everything."""
        if record != self.saved:
            try:
                await self._writer.submit([record], _nothing)
            except StorageUnavailable:
                return False
            self.saved = record
        await self._writer.settled()
        return self._writer.degraded is None and not self._held

    def close(self) -> None:
        """Take no more steps; those in flight are still shown, and then the session is let go."""
        self._closed = True
        self.in_flight -= len(self._held)
        self._held.clear()
        self._let_go()

    def _let_go(self) -> None:
        if self._closed and not self.in_flight:
            self._show, self._fail = _not_shown, _not_failed

    async def _submit(self, step: Step) -> bool:
        try:
            await self._writer.submit(step.records, partial(self._shown, step))
        except StorageUnavailable:
            return False
        return True

    def _shown(self, step: Step, durable: bool) -> None:
        # The store calls this, outside of every task: a bug here must reach this session's wall.
        self.in_flight -= 1
        self._requests -= step.requests
        try:
            if self._broken:
                return
            if step.records and not durable and self._writer.degraded is None:
                raise RecordsRefusedError("the store refused the records of a step; its log line says why")
            self._show(step, durable)
        except Exception as error:
            self._broken = True
            self._fail(error)
        finally:
            self._let_go()


def _nothing(durable: bool) -> None:
    """Nobody waits for the row alone."""


def _not_shown(step: Step, durable: bool) -> None:
    """Nothing is in flight of a session that has ended."""


def _not_failed(error: BaseException) -> None:
    """Nothing is in flight of a session that has ended."""
