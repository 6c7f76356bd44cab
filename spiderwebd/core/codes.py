"""The stable codes of error frames and websocket closes: one table, published in schema and README.

A code, once released, keeps its meaning. `retry` says whether the same request may succeed later
without being changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Code(StrEnum):
    """Codes in error frames, in agent.status and in refusals over HTTP."""

    BAD_JSON = "bad_json"
    BAD_FRAME = "bad_frame"
    UNKNOWN_TYPE = "unknown_type"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    AGENT_INVALID = "agent_invalid"
    AGENT_UNKNOWN = "agent_unknown"
    SESSION_UNKNOWN = "session_unknown"
    REQUEST_CONFLICT = "request_conflict"
    MESSAGE_TOO_LARGE = "message_too_large"
    GOAL_EMPTY = "goal_empty"
    GOAL_UNKNOWN = "goal_unknown"
    CONTROL_UNSUPPORTED = "control_unsupported"
    CONTROL_GOAL_MISSING = "control_goal_missing"
    MEMORY_UNKNOWN = "memory_unknown"
    MEMORY_FORGOTTEN = "memory_forgotten"
    QUEUE_FULL = "queue_full"
    RATE_LIMITED = "rate_limited"
    DRAINING = "draining"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    NO_WORKER = "no_worker"
    TASK_FAILED = "task_failed"
    TASK_TIMEOUT = "task_timeout"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code says, in one sentence for the README, and whether trying again can help."""

    text: str
    retry: bool = False


MEANINGS: dict[Code, Meaning] = {
    Code.BAD_JSON: Meaning("The frame is not a JSON object in valid UTF-8."),
    Code.BAD_FRAME: Meaning("A field is missing or has the wrong type; the message names it."),
    Code.UNKNOWN_TYPE: Meaning("No client frame has this type."),
    Code.UNAUTHORIZED: Meaning("No valid token was given."),
    Code.FORBIDDEN: Meaning("This principal, role or Origin may not do that."),
    Code.AGENT_INVALID: Meaning("An agent id is 1 to 64 of A-Z a-z 0-9 _ and -."),
    Code.AGENT_UNKNOWN: Meaning("No agent has this id."),
    Code.SESSION_UNKNOWN: Meaning("No session of yours has this key."),
    Code.REQUEST_CONFLICT: Meaning("This id was used in this session for another request."),
    Code.MESSAGE_TOO_LARGE: Meaning("The text is longer than the announced limit."),
    Code.GOAL_EMPTY: Meaning("The goal has no text."),
    Code.GOAL_UNKNOWN: Meaning("No running goal of this session has this goalId."),
    Code.CONTROL_UNSUPPORTED: Meaning("agent.control does not know this action."),
    Code.CONTROL_GOAL_MISSING: Meaning("agent.control needs a goal, content or text."),
    Code.MEMORY_UNKNOWN: Meaning("This session never gave out that MemoryID."),
    Code.MEMORY_FORGOTTEN: Meaning("That memory was erased or pruned; its tombstone says when."),
    Code.QUEUE_FULL: Meaning("A queue is full; try again after retry_after_ms.", retry=True),
    Code.RATE_LIMITED: Meaning("Too much at once; try again after retry_after_ms.", retry=True),
    Code.DRAINING: Meaning("The daemon is stopping; connect again after retry_after_ms.", retry=True),
    Code.STORAGE_UNAVAILABLE: Meaning("The disk cannot be written; nothing was accepted.", retry=True),
    Code.NO_WORKER: Meaning("No built-in worker can carry out this task; it is blocked, not done."),
    Code.TASK_FAILED: Meaning("The worker tried and failed; the message says why."),
    Code.TASK_TIMEOUT: Meaning("The worker did not end before its deadline and was stopped."),
    Code.EXPIRED: Meaning("It waited past its deadline and was not run."),
    Code.CANCELLED: Meaning("It was cancelled on request."),
    Code.INTERRUPTED: Meaning("The daemon stopped while it ran, and running it again could do it twice."),
    Code.INTERNAL: Meaning("A fault of the daemon; its log has the details.", retry=True),
}


class Close(IntEnum):
    """Websocket close codes the daemon sends (RFC 6455 section 7.4; 4000 and up are ours)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    TRY_AGAIN = 1013
    UNAUTHORIZED = 4401
    CONNECT_TIMEOUT = 4408
    SLOW_CONSUMER = 4413
    REVOKED = 4403


CLOSE_MEANINGS: dict[Close, str] = {
    Close.NORMAL: "The client asked to disconnect.",
    Close.GOING_AWAY: "The daemon is stopping; connect again and resume.",
    Close.PROTOCOL_ERROR: "The peer broke the websocket protocol.",
    Close.UNSUPPORTED_DATA: "A binary message came; the protocol is text.",
    Close.INVALID_DATA: "A text message was not valid UTF-8.",
    Close.POLICY: "The client broke a rule of the protocol.",
    Close.TOO_BIG: "A message was larger than limits.frame_bytes.",
    Close.INTERNAL: "A fault of the daemon; its log has the details.",
    Close.TRY_AGAIN: "The daemon is overloaded; connect again later.",
    Close.UNAUTHORIZED: "connect came without a valid token.",
    Close.REVOKED: "The token of this link was revoked.",
    Close.CONNECT_TIMEOUT: "No connect frame came in time.",
    Close.SLOW_CONSUMER: "The link did not take its events in time; connect again and resume.",
}


class SpiderwebError(Exception):
    """Root of the daemon's own errors; `code` is what a client is told."""

    code: Code = Code.INTERNAL

    def __init__(self, message: str, code: Code | None = None, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.scope: str | None = None
        """Whose limit is reached: link, session, principal or daemon; None where no limit is meant."""
        self.limit: str | None = None
        """The configuration key of that limit."""
        if code is not None:
            self.code = code


class Refused(SpiderwebError):
    """A client asked for what it cannot have; nothing changed."""

    code = Code.BAD_FRAME


class StorageUnavailable(SpiderwebError):
    """The store cannot take more; the disk is full or failing."""

    code = Code.STORAGE_UNAVAILABLE
