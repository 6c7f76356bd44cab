"""The frames of a session's story: committed, numbered by `seq`, sent to every link and replayed.

The first fields of each frame, their names, order and texts are the original's; everything after
them is ours and additive. `seq` comes last, when it is given out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads no other TypedDict before Python 3.12

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
    deferred: NotRequired[int]
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
    """A task as agent.state shows it; age in milliseconds since it was queued."""

    id: int
    title: str
    worker: str
    status: str
    attempt: int
    ageMs: int


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
    version: NotRequired[int]
    """Of the meaning of these fields; in answers and watches, as all that follows."""
    queues: NotRequired[Mapping[str, int]]
    """chats unanswered, goals open, tasks queued, tasks started, tasks that a worker has."""
    limits: NotRequired[Mapping[str, int]]
    """How many of each there may be."""


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
