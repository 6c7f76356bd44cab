"""What a step of a session asks of the world once its records are committed: plain data, no deeds."""

from __future__ import annotations

from typing import Any

from spiderwebd.core.pending import Chat
from spiderwebd.core.records import RequestRecord
from spiderwebd.core.values import value

LinkKey = Any
"""Whatever the shell uses to tell links apart; the core only hands it back."""


@value(frozen=True, slots=True)
class StartChat:
    """Begin to answer this message."""

    chat: Chat


@value(frozen=True, slots=True)
class StartTask:
    """Begin this task."""

    goal_id: int
    task_id: int
    title: str
    attempt: int
    """1 for the first time; more after a crash."""
    request: str
    goal_text: str
    deadline_ms: int
    """Of its goal, in wall-clock milliseconds."""
    queued_ms: int = 0
    """When it was queued, in wall-clock milliseconds."""
    start_by_ms: int | None = None
    """When a worker must have it at the latest, in wall-clock milliseconds; None: any time."""


@value(frozen=True, slots=True)
class StopGoal:
    """Cancel what still runs of this goal and close its batch."""

    goal_id: int
    reason: str


@value(frozen=True, slots=True)
class Hold:
    """Close (or open) the gate that running workers pass between steps."""

    closed: bool


@value(frozen=True, slots=True)
class Ask:
    """A query that changes nothing: run it beside the loop and answer the link."""

    link: LinkKey
    request: str
    frame: Any


@value(frozen=True, slots=True)
class Fetch:
    """Read a memory that is not in RAM from the LTM, then call `remembering.fetched` with it."""

    link: LinkKey
    request: str
    frame: Any
    memory_id: int
    payload: str
    """Handed back to `fetched` as it is."""


@value(frozen=True, slots=True)
class Retell:
    """The same request again: send this link what was answered the first time."""

    link: LinkKey
    record: RequestRecord


@value(frozen=True, slots=True)
class Replay:
    """Send this link every journalled event after this seq."""

    link: LinkKey
    after: int


@value(frozen=True, slots=True)
class HangUp:
    """Close this link normally: the client asked for it."""

    link: LinkKey


@value(frozen=True, slots=True)
class Watch:
    """From now on send this link agent.state when it changes; or, without a request, no longer."""

    link: LinkKey
    request: str | None
    """What the frames name."""
    told: tuple[object, ...] = ()
    """The figures of the state that the link has just been sent."""


Start = StartChat | StartTask | StopGoal | Hold | Ask | Fetch | Retell | Replay | HangUp | Watch


@value(frozen=True, slots=True)
class Outgoing:
    """A rendered frame: to one link, or (link None) journalled and to every link."""

    text: str
    seq: int = 0
    link: LinkKey | None = None
    acknowledges: bool = False
    """Whether it promises that the request is on disk (session.accepted)."""
