"""Server frames: what goes out, field by field, in the order it is written.

The first fields of each frame, their names, order and texts are the original's; everything after
them is ours and additive. Journalled frames get their `seq` last, when it is assigned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired

from pydantic_core import to_json
from typing_extensions import TypedDict

from spiderwebd.core.codes import Code

JOURNALLED_TYPES = (
    "session.accepted",
    "session.receive",
    "session.new",
    "session.reset",
    "agent.plan",
    "agent.progress",
    "agent.status",
    "agent.state",
    "memory.event",
    "agent.heartbeat",
)
"""Types whose frames carry seq when they belong to a session's story (agent.state: inside a goal)."""


class Journalled(TypedDict):
    """What makes a frame part of a session's story."""

    seq: NotRequired[int]
    """Per session, from 1, without gap; kept and replayed to a client that resumes."""


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


class Error(TypedDict):
    """Something was refused; nothing changed."""

    type: Literal["error"]
    message: str
    code: str
    request: NotRequired[str]
    sessionKey: NotRequired[str]
    retry_after_ms: NotRequired[int]


class SessionAccepted(Journalled):
    """The request is on disk (or says durable:false) and will be answered whatever happens."""

    type: Literal["session.accepted"]
    request: str
    sessionKey: str
    memoryId: int
    goalId: NotRequired[int]
    durable: NotRequired[bool]


class SessionReceive(Journalled):
    """What the agent says."""

    type: Literal["session.receive"]
    content: str
    memoryId: int
    request: str
    sessionKey: str
    goalId: NotRequired[int]


class SessionCleared(Journalled):
    """RAM was emptied; the key stays."""

    type: Literal["session.new", "session.reset"]
    request: str
    sessionKey: str
    archived: bool
    reason: NotRequired[str]


class PlannedTask(TypedDict):
    """One task of a plan."""

    id: int
    title: str
    status: str
    worker: NotRequired[str]


class AgentPlan(Journalled):
    """A goal and its tasks; `dropped` names what did not fit the configured limit."""

    type: Literal["agent.plan"]
    request: str
    sessionKey: str
    goal: str
    tasks: list[PlannedTask]
    goalId: int
    dropped: NotRequired[list[str]]


class AgentProgress(Journalled):
    """A step of a goal, a heartbeat, or a reconnect note."""

    type: Literal["agent.progress"]
    request: str
    sessionKey: str
    phase: str
    status: str
    message: str
    goalId: NotRequired[int]
    taskId: NotRequired[int]
    accepted: NotRequired[int]
    total: NotRequired[int]
    dropped: NotRequired[int]
    queued: NotRequired[int]
    active: NotRequired[int]


class AgentStatus(Journalled):
    """A task's transition."""

    type: Literal["agent.status"]
    request: str
    sessionKey: str
    taskId: int
    worker: str
    status: str
    message: str
    goalId: int
    attempt: NotRequired[int]
    code: NotRequired[str]


class TaskView(TypedDict):
    """A task as agent.state shows it."""

    id: int
    title: str
    worker: str
    status: str
    attempt: int


class GoalView(TypedDict):
    """A goal as agent.state shows it; age in milliseconds since it was accepted."""

    goalId: int
    request: str
    goal: str
    status: str
    ageMs: int
    tasks: list[TaskView]


class AgentState(Journalled):
    """Where the session stands: counters always equal the task rows."""

    type: Literal["agent.state"]
    request: str
    sessionKey: str
    phase: str
    queuedTasks: int
    activeTasks: int
    lastGoal: str
    mode: str
    lifecycle: str
    revision: int
    goals: NotRequired[list[GoalView]]


class MemoryEvent(Journalled):
    """Working memory changed by itself or on request; ids and sizes before and after."""

    type: Literal["memory.event"]
    request: str
    sessionKey: str
    event: str
    status: str
    count: int
    message: str
    trigger: NotRequired[str]
    memoryIds: NotRequired[list[int]]
    summaryIds: NotRequired[list[int]]
    before: NotRequired[Mapping[str, int]]
    after: NotRequired[Mapping[str, int]]


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


class Suggestion(TypedDict):
    """A step the agent proposes unasked; `action` is a client frame that takes it."""

    id: str
    kind: str
    title: str
    reason: str
    action: Mapping[str, Any]


class AgentHeartbeat(Journalled):
    """The agent speaks up by itself (or when asked to)."""

    type: Literal["agent.heartbeat"]
    request: str
    sessionKey: str
    sequence: int
    mode: str
    queuedTasks: int
    activeTasks: int
    oldestAgeMs: int
    suggestions: list[Suggestion]


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
    | SessionAccepted
    | SessionReceive
    | SessionCleared
    | AgentPlan
    | AgentProgress
    | AgentStatus
    | AgentState
    | MemoryEvent
    | MemoryRecall
    | MemoryQuery
    | MemoryAnswer
    | AgentHeartbeat
    | SessionListResponse
    | SessionHistoryResponse
    | SessionRestoreResponse
    | AgentListResponse
    | AgentInfo
)

JournalledFrame = (
    SessionAccepted
    | SessionReceive
    | SessionCleared
    | AgentPlan
    | AgentProgress
    | AgentStatus
    | AgentState
    | MemoryEvent
    | AgentHeartbeat
)


def render(frame: Mapping[str, Any]) -> str:
    """Return the frame as one line of JSON in valid UTF-8."""
    return to_json(frame).decode()


def error_frame(
    message: str,
    code: Code,
    *,
    request: str | None = None,
    session_key: str | None = None,
    retry_after_ms: int | None = None,
) -> Error:
    """Build an error frame; only what is known is in it."""
    frame: Error = {"type": "error", "message": message, "code": code.value}
    if request is not None:
        frame["request"] = request
    if session_key is not None:
        frame["sessionKey"] = session_key
    if retry_after_ms is not None:
        frame["retry_after_ms"] = retry_after_ms
    return frame


def not_durable(text: str) -> str:
    """Say in a rendered acknowledgement that the disk does not hold it yet."""
    return text[:-1] + ',"durable":false}'
