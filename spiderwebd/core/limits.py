"""Every queue and limit of the daemon in one table: its scope, its policy, and what a client is told.

The README's table is this one (tests/core/test_limits.py compares them), session.ack announces the
client's share of it, and whoever refuses builds the refusal from its row. Keys are those of the
configuration; the figures stand there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spiderwebd.core.codes import Close, Code, Refused
from spiderwebd.core.frames import Error, error_frame

SHORT_MS = 1_000
"""For what empties by itself in a moment."""
LONG_MS = 5_000
"""For what somebody has to leave first."""


class Scope(StrEnum):
    """Whose share a limit is."""

    LINK = "link"
    SESSION = "session"
    PRINCIPAL = "principal"
    DAEMON = "daemon"


class Policy(StrEnum):
    """What happens at a limit."""

    WAIT = "wait"
    """Whoever brings more waits; past the deadline it is refused or expired."""
    REFUSE = "refuse"
    """The newest is refused; what was accepted stays."""
    DEFER = "defer"
    """What does not fit is named and not accepted."""
    COALESCE = "coalesce"
    """The latest stands for all before it; only what carries no seq."""
    CLOSE = "close"
    """The link is closed with a code; the session goes on."""
    EVICT = "close the oldest"
    """The one that takes longest gives way."""
    FORGET = "forget the oldest"
    """The oldest leaves the log; whoever asks for it is told."""
    SHED = "503"
    """Refused at the door, before the upgrade."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One row: a queue or a rate, and what happens when it is full."""

    key: str
    """`section.key` of the configuration."""
    scope: Scope
    bounds: str
    """What it counts, with its unit."""
    policy: Policy
    code: Code | None = None
    """In the error frame, agent.status or HTTP answer; None: a close code or an event says it."""
    retry_ms: int | None = None
    close: Close | None = None
    """How the link ends, after the error frame where there is a code."""
    deadline: str = ""
    """`section.key` of the time after which waiting ends; measured from enqueue."""
    event: str = ""
    """The event that tells it, where no refusal does."""
    announced: str = ""
    """Its name in session.ack; empty where it is none of the client's business."""

    @property
    def told(self) -> str:
        """What the client is told, in the words of the README."""
        parts = []
        if self.policy in (Policy.SHED, Policy.EVICT):
            parts.append("HTTP 503")
        if self.code is not None:
            parts.append(f"`{self.code.value}`")
        if self.close is not None:
            parts.append(f"close {int(self.close)}")
        if self.event:
            parts.append(self.event)
        if self.retry_ms is not None:
            parts.append(f"retry after {self.retry_ms} ms")
        return ", ".join(parts) or "nothing: it waits"

    def cells(self) -> tuple[str, ...]:
        """Return the row as the README shows it."""
        return (
            f"`{self.key}`",
            self.scope.value,
            self.bounds,
            self.policy.value,
            f"`{self.deadline}`" if self.deadline else "-",
            self.told,
        )

    def refused(self, message: str, retry_after_ms: int | None = None) -> Refused:
        """Return the exception that says this limit is reached; `retry_after_ms` overrides the table's."""
        wait = self.retry_ms if retry_after_ms is None else retry_after_ms
        refused = Refused(message, self.code, wait)
        refused.scope, refused.limit = self.scope.value, self.key
        return refused

    def error(self, message: str, request: str | None, retry_after_ms: int | None = None) -> Error:
        """Return the error frame that says this limit is reached."""
        wait = self.retry_ms if retry_after_ms is None else retry_after_ms
        code = self.code or Code.QUEUE_FULL
        return error_frame(
            message, code, request=request, retry_after_ms=wait, scope=self.scope.value, limit=self.key
        )


HANDSHAKES = Limit(
    "limits.attach_handshakes",
    Scope.DAEMON,
    "request heads being read at once",
    Policy.EVICT,
    Code.RATE_LIMITED,
    SHORT_MS,
    deadline="limits.head_seconds",
)
LINKS = Limit("limits.links", Scope.DAEMON, "open links", Policy.SHED, Code.QUEUE_FULL, SHORT_MS)
OVERLOAD_LAG = Limit(
    "overload.lag_seconds",
    Scope.DAEMON,
    "seconds by which the loop is late, for a second on end",
    Policy.SHED,
    Code.QUEUE_FULL,
    SHORT_MS,
)
OVERLOAD_STORE = Limit(
    "overload.store_seconds",
    Scope.DAEMON,
    "seconds that the oldest write has waited, for a second on end",
    Policy.SHED,
    Code.QUEUE_FULL,
    SHORT_MS,
)
OVERLOAD_MEMORY = Limit(
    "overload.memory_bytes",
    Scope.DAEMON,
    "resident bytes, for a second on end",
    Policy.SHED,
    Code.QUEUE_FULL,
    SHORT_MS,
)
LINKS_PER_PRINCIPAL = Limit(
    "limits.links_per_principal",
    Scope.PRINCIPAL,
    "open links",
    Policy.REFUSE,
    Code.QUEUE_FULL,
    LONG_MS,
    Close.TRY_AGAIN,
    announced="linksPerPrincipal",
)
ATTACHES = Limit(
    "limits.principal_attaches_per_second",
    Scope.PRINCIPAL,
    "attaches a second, twice as many in a burst",
    Policy.REFUSE,
    Code.RATE_LIMITED,
    SHORT_MS,
    Close.TRY_AGAIN,
    announced="attachesPerSecond",
)
SESSIONS = Limit(
    "limits.sessions",
    Scope.DAEMON,
    "sessions awake",
    Policy.REFUSE,
    Code.QUEUE_FULL,
    LONG_MS,
    Close.TRY_AGAIN,
)
FRAME_BYTES = Limit(
    "limits.frame_bytes",
    Scope.LINK,
    "bytes of one message",
    Policy.CLOSE,
    close=Close.TOO_BIG,
    announced="frameBytes",
)
LINK_FRAMES = Limit(
    "limits.frames_per_second",
    Scope.LINK,
    "websocket frames a second, twice as many in a burst",
    Policy.CLOSE,
    close=Close.POLICY,
    announced="framesPerSecond",
)
LINK_BYTES = Limit(
    "limits.bytes_per_second",
    Scope.LINK,
    "bytes of websocket frames a second, twice as many in a burst",
    Policy.CLOSE,
    close=Close.POLICY,
    announced="bytesPerSecond",
)
PRINCIPAL_FRAMES = Limit(
    "limits.principal_frames_per_second",
    Scope.PRINCIPAL,
    "messages a second, twice as many in a burst",
    Policy.REFUSE,
    Code.RATE_LIMITED,
    SHORT_MS,
    announced="principalFramesPerSecond",
)
PRINCIPAL_BYTES = Limit(
    "limits.principal_bytes_per_second",
    Scope.PRINCIPAL,
    "bytes of messages a second, twice as many in a burst",
    Policy.REFUSE,
    Code.RATE_LIMITED,
    SHORT_MS,
    announced="principalBytesPerSecond",
)
MESSAGE_BYTES = Limit(
    "limits.message_bytes",
    Scope.SESSION,
    "bytes of the text of a message, goal or memory",
    Policy.REFUSE,
    Code.MESSAGE_TOO_LARGE,
    announced="messageBytes",
)
INBOX = Limit(
    "limits.inbox",
    Scope.SESSION,
    "requests that wait for the session's loop",
    Policy.WAIT,
    Code.QUEUE_FULL,
    SHORT_MS,
    deadline="limits.inbox_seconds",
    announced="inbox",
)
CHATS = Limit(
    "limits.chats_queued",
    Scope.SESSION,
    "messages without an answer",
    Policy.REFUSE,
    Code.QUEUE_FULL,
    SHORT_MS,
    deadline="workers.chat_seconds",
    announced="chatsQueued",
)
QUERIES = Limit(
    "limits.queries",
    Scope.SESSION,
    "queries being answered",
    Policy.REFUSE,
    Code.QUEUE_FULL,
    SHORT_MS,
    announced="queries",
)
GOALS = Limit(
    "limits.goals_queued",
    Scope.SESSION,
    "goals that wait or run",
    Policy.REFUSE,
    Code.QUEUE_FULL,
    SHORT_MS,
    deadline="workers.goal_seconds",
    announced="goalsQueued",
)
GOALS_TOTAL = Limit(
    "limits.goals_total",
    Scope.DAEMON,
    "goals that wait or run",
    Policy.REFUSE,
    Code.QUEUE_FULL,
    LONG_MS,
    deadline="workers.goal_seconds",
    announced="goalsTotal",
)
TASKS = Limit(
    "limits.tasks_queued",
    Scope.SESSION,
    "tasks that wait to be started",
    Policy.REFUSE,
    Code.QUEUE_FULL,
    SHORT_MS,
    deadline="workers.queue_seconds",
    announced="tasksQueued",
)
TASKS_TOTAL = Limit(
    "limits.tasks_total",
    Scope.DAEMON,
    "tasks that wait to be started",
    Policy.REFUSE,
    Code.QUEUE_FULL,
    LONG_MS,
    deadline="workers.queue_seconds",
    announced="tasksTotal",
)
PLAN = Limit(
    "planner.max_tasks",
    Scope.SESSION,
    "tasks of one goal",
    Policy.DEFER,
    event="event agent.progress planner/saturated, `dropped` in agent.plan",
    announced="tasksPerGoal",
)
SESSION_TASKS = Limit(
    "workers.per_session",
    Scope.SESSION,
    "tasks that run at once",
    Policy.WAIT,
    Code.EXPIRED,
    deadline="workers.queue_seconds",
    announced="tasksParallel",
)
ALL_TASKS = Limit(
    "workers.total",
    Scope.DAEMON,
    "tasks that run at once, sessions in turn",
    Policy.WAIT,
    Code.EXPIRED,
    deadline="workers.queue_seconds",
)
STORE_QUEUE = Limit(
    "store.queue",
    Scope.DAEMON,
    "steps that wait for the store's thread",
    Policy.WAIT,
    deadline="limits.inbox_seconds",
    event="what comes behind it is refused by `limits.inbox`",
)
STORE_BACKLOG = Limit(
    "store.backlog_bytes",
    Scope.DAEMON,
    "bytes of records while the disk cannot be written",
    Policy.REFUSE,
    Code.STORAGE_UNAVAILABLE,
    SHORT_MS,
)
OUTBOX_FRAMES = Limit(
    "limits.outbox_frames",
    Scope.LINK,
    "frames that wait to be written",
    Policy.CLOSE,
    close=Close.SLOW_CONSUMER,
    deadline="limits.write_seconds",
    announced="outboxFrames",
)
OUTBOX_BYTES = Limit(
    "limits.outbox_bytes",
    Scope.LINK,
    "bytes that wait to be written",
    Policy.CLOSE,
    close=Close.SLOW_CONSUMER,
    deadline="limits.write_seconds",
    announced="outboxBytes",
)
WATCH = Limit(
    "limits.watch_seconds",
    Scope.LINK,
    "seconds, at least, between two agent.state frames of a watch, or two words of a running task",
    Policy.COALESCE,
    event="the latest agent.state, the latest agent.progress of each task",
)
EVENTS = Limit(
    "events.keep_count",
    Scope.SESSION,
    "events kept for links that resume",
    Policy.FORGET,
    event="session.gap, then an agent.state snapshot",
    announced="eventsKept",
)
REQUESTS = Limit(
    "events.requests_kept",
    Scope.SESSION,
    "request ids that are recognised when they come again",
    Policy.FORGET,
    event="the request is taken for a new one",
    announced="requestsKept",
)

LIMITS = (
    HANDSHAKES,
    LINKS,
    OVERLOAD_LAG,
    OVERLOAD_STORE,
    OVERLOAD_MEMORY,
    LINKS_PER_PRINCIPAL,
    ATTACHES,
    SESSIONS,
    FRAME_BYTES,
    LINK_FRAMES,
    LINK_BYTES,
    PRINCIPAL_FRAMES,
    PRINCIPAL_BYTES,
    MESSAGE_BYTES,
    INBOX,
    CHATS,
    QUERIES,
    GOALS,
    GOALS_TOTAL,
    TASKS,
    TASKS_TOTAL,
    PLAN,
    SESSION_TASKS,
    ALL_TASKS,
    STORE_QUEUE,
    STORE_BACKLOG,
    OUTBOX_FRAMES,
    OUTBOX_BYTES,
    WATCH,
    EVENTS,
    REQUESTS,
)
"""Every one, in the order in which a request meets them."""

ANNOUNCED_DEADLINES = {
    "inboxMs": "limits.inbox_seconds",
    "chatMs": "workers.chat_seconds",
    "goalMs": "workers.goal_seconds",
    "queueMs": "workers.queue_seconds",
    "taskMs": "workers.task_seconds",
}
"""Names in session.ack of the times that concern a client, in milliseconds there."""
