"""Frames that answer one link, and how every frame becomes a line of JSON.

These carry no `seq` and are never stored; the frames that are stand in `story`. The first fields of
each frame, their names, order and texts are the original's; everything after them is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired

from pydantic_core import to_json
from typing_extensions import TypedDict  # pydantic reads no other TypedDict before Python 3.12

from spiderwebd.core.codes import Code, SpiderwebError
from spiderwebd.core.story import AgentProgress as AgentProgress  # session/welcome takes it from here
from spiderwebd.core.story import JournalledFrame


class SessionAck(TypedDict):
    """First frame of a link: the session it is attached to, and what the daemon allows."""

    type: Literal["session.ack"]
    sessionKey: str
    agentId: str
    protocol: int
    restored: bool
    """Whether the requested session was found; false: the key is new."""
    seq: int
    """Last seq of the session; what comes after it is new."""
    firstSeq: int
    """Oldest seq that can still be replayed."""
    principal: str
    identity: str
    """Digest of the agent's merged identity; another one means that its files have changed."""
    capabilities: list[str]
    limits: Mapping[str, int]


class SessionGap(TypedDict):
    """The log does not reach back to `after`; an agent.state snapshot follows, then what is kept."""

    type: Literal["session.gap"]
    sessionKey: str
    after: int
    firstSeq: int
    seq: int


class Pong(TypedDict):
    """Answer to ping; wall-clock milliseconds."""

    type: Literal["pong"]
    timestamp: int
    request: NotRequired[str]


def pong_frame(request: str | None, now_ms: int) -> Pong:
    """Build the answer to a ping; it names the ping's id when it had one."""
    frame: Pong = {"type": "pong", "timestamp": now_ms}
    if request is not None:
        frame["request"] = request
    return frame


class Error(TypedDict):
    """Something was refused; nothing changed."""

    type: Literal["error"]
    message: str
    code: str
    request: NotRequired[str]
    sessionKey: NotRequired[str]
    retry_after_ms: NotRequired[int]
    scope: NotRequired[str]
    """Whose limit is reached: link, session, principal or daemon."""
    limit: NotRequired[str]
    """The configuration key of the limit that is reached."""


class MemoryItem(TypedDict):
    """A summary or an entry; which optional fields are there depends on `kind`."""

    kind: str
    source: str
    id: int
    source_id: NotRequired[int]
    created_at_ms: NotRequired[int]
    text: NotRequired[str]
    role: NotRequired[str]
    state: NotRequired[str]
    related_to: NotRequired[int | None]
    content: NotRequired[str]
    version: NotRequired[int]
    name: NotRequired[str]
    sources: NotRequired[list[int]]
    score: NotRequired[float]
    session: NotRequired[str]
    """Session key of an item that belongs to another session of the same principal."""


class MemoryRecall(TypedDict):
    """Answer to memory.recall."""

    type: Literal["memory.recall"]
    request: str
    sessionKey: str
    items: list[MemoryItem]


class MemoryQuery(TypedDict):
    """Answer to memory.query."""

    type: Literal["memory.query"]
    request: str
    sessionKey: str
    topic: str | None
    items: list[MemoryItem]


class MemoryAnswer(TypedDict):
    """Answer to memory.load, update, evict and summarize: the memory as it stands now."""

    type: Literal["memory.load", "memory.update", "memory.evict", "memory.summarize"]
    request: str
    sessionKey: str
    item: MemoryItem


class SessionView(TypedDict):
    """A session as session.list shows it."""

    session_key: str
    agent_id: NotRequired[str]
    last_active_ms: int
    message_count: int
    summary: str
    awake: NotRequired[bool]


class SessionListResponse(TypedDict):
    """Answer to session.list."""

    type: Literal["session.list.response"]
    request: str
    sessions: list[SessionView]


class SessionHistoryResponse(TypedDict):
    """Answer to session.history."""

    type: Literal["session.history.response"]
    request: str
    sessions: list[SessionView]


class SessionRestoreResponse(TypedDict):
    """Answer to session.restore."""

    type: Literal["session.restore.response"]
    request: str
    found: bool
    session: NotRequired[SessionView]


class AgentView(TypedDict):
    """An agent as agent.list shows it."""

    id: str
    name: str
    description: str
    is_default: bool
    identity_loaded: bool
    identity: NotRequired[str]
    """Digest of the merged identity as its files are now; in agent.info only."""


class AgentListResponse(TypedDict):
    """Answer to agent.list."""

    type: Literal["agent.list.response"]
    request: str
    agents: list[AgentView]


class AgentInfo(TypedDict):
    """Answer to agent.get."""

    type: Literal["agent.info"]
    request: str
    agent: AgentView


ServerFrame = (
    SessionAck
    | SessionGap
    | Pong
    | Error
    | JournalledFrame
    | MemoryRecall
    | MemoryQuery
    | MemoryAnswer
    | SessionListResponse
    | SessionHistoryResponse
    | SessionRestoreResponse
    | AgentListResponse
    | AgentInfo
)


def render(frame: Mapping[str, Any]) -> str:
    """Return the frame as one line of JSON in valid UTF-8.

    Every text in it must be `well_formed`: clients' texts are, since no JSON with half of a surrogate
    pair is parsed. A number that JSON does not have (NaN, infinity) becomes null.
    """
    return to_json(frame, inf_nan_mode="null").decode()


def well_formed(text: str) -> str:
    """Return the text with each lone surrogate, which UTF-8 cannot carry, replaced by `?`.

    For texts from outside the protocol: names of files may hold such halves (os.fsdecode).
    """
    return text if text.isascii() else text.encode(errors="replace").decode()


def error_frame(
    message: str,
    code: Code,
    *,
    request: str | None = None,
    session_key: str | None = None,
    retry_after_ms: int | None = None,
    scope: str | None = None,
    limit: str | None = None,
) -> Error:
    """Build an error frame; only what is known is in it."""
    frame: Error = {"type": "error", "message": message, "code": code.value}
    if request is not None:
        frame["request"] = request
    if session_key is not None:
        frame["sessionKey"] = session_key
    if retry_after_ms is not None:
        frame["retry_after_ms"] = retry_after_ms
    if scope is not None:
        frame["scope"] = scope
    if limit is not None:
        frame["limit"] = limit
    return frame


def refusal_frame(refused: SpiderwebError, request: str | None) -> Error:
    """Build the error frame that tells a client of an exception; `request` is the id it answers."""
    return error_frame(
        refused.message,
        refused.code,
        request=request,
        retry_after_ms=refused.retry_after_ms,
        scope=refused.scope,
        limit=refused.limit,
    )


def not_durable(text: str) -> str:
    """Say in a rendered acknowledgement that the disk does not hold it yet."""
    return text[:-1] + ',"durable":false}'
