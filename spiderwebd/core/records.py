"""What a session asks the store to write: one frozen record a row, named as the tables are.

The core makes records, `store/writer.py` turns them into SQL. All records of one submission are
committed in one transaction or not at all. Times are wall-clock milliseconds, `sid` is the
store's integer for a session (the session key is a secret and stands in one row only).
"""

from __future__ import annotations

from enum import StrEnum

from spiderwebd.core.values import value


class TaskState(StrEnum):
    """The life of a goal or a task; `interrupted` is what a crash leaves of `running`."""

    QUEUED = "queued"
    RUNNING = "running"
    BLOCKED = "blocked"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    INTERRUPTED = "interrupted"

    @property
    def ended(self) -> bool:
        """Whether no further transition may follow."""
        return self not in (TaskState.QUEUED, TaskState.RUNNING, TaskState.INTERRUPTED)


class RequestState(StrEnum):
    """Where an accepted request stands; everything but OPEN is an outcome, counted once."""

    OPEN = "open"
    ANSWERED = "answered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class EntryKind(StrEnum):
    """What a MemoryID names. All three kinds share one counter, as in the original."""

    ENTRY = "entry"
    SUMMARY = "summary"
    TOMBSTONE = "tombstone"


@value(frozen=True, slots=True)
class SessionRecord:
    """Upsert of a session's own row."""

    sid: int
    key: str
    principal: str
    agent: str
    created_ms: int
    active_ms: int
    next_memory_id: int
    next_goal_id: int
    seq: int
    """Last seq given out; the next journalled event gets seq + 1."""
    mode: str
    """running, paused or cancelled."""
    last_goal: str
    revision: int
    extra: str
    """JSON object of small things that only the session itself reads (heartbeat, saturation)."""


@value(frozen=True, slots=True)
class EntryRecord:
    """Upsert of one memory: the full text, and whether it stands in RAM."""

    sid: int
    memory_id: int
    kind: EntryKind
    role: str
    """user, assistant, system, tool or tool_result."""
    content: str
    created_ms: int
    in_ram: bool = True
    version: int = 1
    name: str | None = None
    related_to: int | None = None
    """A tombstone's memory; a summary's first source."""
    sources: tuple[int, ...] = ()
    """Every memory that a summary stands for."""


@value(frozen=True, slots=True)
class LeaveRamRecord:
    """These memories are no longer in RAM; their full text stays."""

    sid: int
    memory_ids: tuple[int, ...]


@value(frozen=True, slots=True)
class VersionRecord:
    """One version of a memory's text that UPDATE replaced; kept, never overwritten."""

    sid: int
    memory_id: int
    version: int
    """The version number of `content`, the text that was replaced."""
    content: str
    operation: str
    actor: str
    at_ms: int


@value(frozen=True, slots=True)
class EraseRecord:
    """True erasure asked for by a person: text and versions go, a dated tombstone stays."""

    sid: int
    memory_ids: tuple[int, ...]
    reason: str
    at_ms: int


@value(frozen=True, slots=True)
class EventRecord:
    """One journalled frame, rendered as it is sent; insert only."""

    sid: int
    seq: int
    type: str
    request: str
    frame: str
    created_ms: int


@value(frozen=True, slots=True)
class RequestRecord:
    """Upsert of an accepted request, the memory of what was done for a client's id."""

    sid: int
    request: str
    type: str
    digest: str
    """Of type and payload: the same id with another payload is refused."""
    state: RequestState
    seq: int
    """Of the frame that answered it first (session.accepted, session.reset, ...)."""
    memory_id: int | None
    goal_id: int | None
    created_ms: int


@value(frozen=True, slots=True)
class GoalRecord:
    """Upsert of a goal."""

    sid: int
    goal_id: int
    request: str
    text: str
    state: TaskState
    memory_id: int
    created_ms: int
    deadline_ms: int
    ended_ms: int | None = None
    pause_before: int | None = None
    """Task number before which the goal pauses by itself, once."""


@value(frozen=True, slots=True)
class TaskRecord:
    """Upsert of one task of a goal."""

    sid: int
    goal_id: int
    task_id: int
    """1-based place in the plan."""
    title: str
    kind: str
    """research, execution or status."""
    state: TaskState
    attempts: int
    created_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None
    detail: str = ""
    code: str | None = None
    """Stable error code when it did not complete, for example no_worker."""


@value(frozen=True, slots=True)
class ArchiveRecord:
    """A dated marker: at this moment RAM stood so, for this reason (reset, compaction)."""

    sid: int
    at_ms: int
    reason: str
    next_memory_id: int
    entry_count: int
    summary_count: int
    cleared: bool
    """Whether RAM was emptied with it (a reset): every row of the session leaves RAM."""


Record = (
    SessionRecord
    | EntryRecord
    | LeaveRamRecord
    | VersionRecord
    | EraseRecord
    | EventRecord
    | RequestRecord
    | GoalRecord
    | TaskRecord
    | ArchiveRecord
)


@value(frozen=True, slots=True)
class SessionImage:
    """All that a session needs to come back exactly as it was, read in one snapshot."""

    session: SessionRecord
    ram: tuple[EntryRecord, ...]
    """Rows in RAM, in MemoryID order: entries, tombstones and summaries."""
    goals: tuple[GoalRecord, ...]
    """Goals that have not ended, oldest first."""
    tasks: tuple[TaskRecord, ...]
    """Every task of those goals, in plan order."""
    requests: tuple[RequestRecord, ...]
    """The newest requests (bounded) and all open ones, oldest first."""
    first_seq: int
    """Oldest seq the event log still holds, or seq + 1 when it holds none."""
