"""What a session asks of the rooms around it, as protocols, so that it can be tested alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from spiderwebd.clock import Clock
from spiderwebd.core.codes import Close
from spiderwebd.core.effects import Ask, StartTask
from spiderwebd.core.fairness import WaitSpread
from spiderwebd.core.outcome import Outcome
from spiderwebd.core.pending import Chat
from spiderwebd.core.records import Record
from spiderwebd.core.shares import Totals
from spiderwebd.core.state import Rules, State
from spiderwebd.metrics import Metrics
from spiderwebd.session.personas import Personas
from spiderwebd.session.telemetry import Telemetry
from spiderwebd.store.reader import Reader
from spiderwebd.work.gate import Gate
from spiderwebd.work.progress import Progress


class Client(Protocol):
    """One attached link, as a session sees it."""

    def send(self, text: str) -> bool:
        """Queue one frame without waiting; False when the link is ending (it is never skipped)."""

    def hold(self) -> None:
        """Let frames wait for `release`, to go out in one write."""

    def release(self) -> None:
        """Write what was held; always called, and without a wait between."""

    def close(self, code: Close, reason: str) -> None:
        """Ask for the link to be closed; what is queued before is still sent if it can be."""

    async def drained(self) -> bool:
        """Wait until all that was queued is written; False when the link has ended."""


class Writer(Protocol):
    """The store's writer, as a session sees it."""

    @property
    def accepting(self) -> bool:
        """Whether new input can still be kept."""

    @property
    def degraded(self) -> str | None:
        """Why the disk cannot be written; None when it can, and then all that was shown is on it."""

    async def submit(self, records: Sequence[Record], then: Callable[[bool], None]) -> None:
        """Commit the records in one transaction, then call `then(durable)` in order.

        Waits only while the queue is full. Raises StorageUnavailable when nothing was taken.
        """

    @property
    def has_room(self) -> bool:
        """Whether `submit_nowait` may be called."""

    def submit_nowait(self, records: Sequence[Record], then: Callable[[bool], None]) -> None:
        """As `submit`, while there is room in the queue."""

    async def settled(self) -> None:
        """Return when everything submitted so far has been committed."""


class Desk(Protocol):
    """Who answers what a session asks for: chats, tasks and queries. All run beside the loop."""

    async def answer(self, state: State, chat: Chat) -> str:
        """Return the answer to a chat message."""

    async def carry_out(
        self,
        state: State,
        task: StartTask,
        gate: Gate,
        began: Callable[[float], None],
        progress: Progress,
    ) -> Outcome:
        """Carry out one task; a bug of a worker comes back as a failed outcome.

        `began` is called once, with the seconds it waited for its slot, when a worker has it. What the
        worker says to `progress` is told while it runs.
        """

    async def look_up(self, state: State, ask: Ask) -> list[str]:
        """Return the rendered frames that answer a query."""


@dataclass(slots=True)
class House:
    """What every session shares; made once by the daemon."""

    writer: Writer
    reader: Reader
    clock: Clock
    rules: Rules
    desk: Desk
    personas: Personas
    on_fault: Callable[[str, BaseException, str], None]
    """(wall, error, session key)"""
    fresh_id: Callable[[], str]
    announced_limits: dict[str, int]
    """What session.ack tells clients of the configured limits."""
    inbox_limit: int = 64
    """Frames of clients that may wait in one session, and steps that may wait for a failing disk."""
    inbox_seconds: float = 5.0
    """How long a request may wait in a session's inbox, or for room in it, before it is refused."""
    query_limit: int = 16
    """Queries of one session at once."""
    stalled: bool = False
    """The store does not answer: its disk stalls."""
    watch_seconds: float = 0.25
    """At least between two agent.state frames to a watching link."""
    metrics: Metrics = field(default_factory=Metrics)
    attentive: dict[str, None] = field(default_factory=dict)
    """Keys of the awake sessions that a sweep has to look at (`core/attention`), in the order in which they
    began to."""
    unattended: dict[str, None] = field(default_factory=dict)
    """Keys of the awake sessions without a link, which alone may fall asleep."""
    totals: Totals = field(default_factory=Totals)
    """What waits in all awake sessions together."""
    telemetry: Telemetry = field(default_factory=Telemetry)
    """How far running tasks are."""
    waits: WaitSpread = field(default_factory=WaitSpread)
    """How long the tasks of each session waited for a slot."""
