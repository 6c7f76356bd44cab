"""The state of one session, and what one step of it asks of the world.

Nothing here waits, reads a clock or touches a disk. A step collects records (to be committed in one
transaction), frames (to be sent once that transaction is committed) and starts (work to begin then).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, cast

from spiderwebd.core.codes import Code
from spiderwebd.core.compaction import Thresholds
from spiderwebd.core.frames import (
    AgentState,
    GoalView,
    JournalledFrame,
    ServerFrame,
    error_frame,
    render,
)
from spiderwebd.core.kinds import choose
from spiderwebd.core.ram import Budget, Ram
from spiderwebd.core.records import (
    EventRecord,
    GoalRecord,
    Record,
    RequestRecord,
    RequestState,
    SessionImage,
    SessionRecord,
    TaskRecord,
    TaskState,
)

PONG = '{"type":"pong"'

LinkKey = Any
"""Whatever the shell uses to tell links apart; the core only hands it back."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits a session lives by; from the configuration, replaced whole by a reload."""

    budget: Budget = field(default_factory=Budget)
    thresholds: Thresholds = field(default_factory=Thresholds)
    message_bytes: int = 4096
    summary_bytes: int = 160
    max_tasks: int = 32
    parallel_tasks: int = 2
    goals_queued: int = 32
    chats_queued: int = 32
    goal_ms: int = 3_600_000
    requests_kept: int = 1024
    heartbeat_ms: int = 30_000
    attempts: int = 3
    """How often a task that a crash interrupted is started in all."""


@dataclass(slots=True)
class Task:
    """One task of a goal, as the session sees it."""

    task_id: int
    title: str
    kind: str
    waits: bool
    """Whether every earlier task must have ended before it starts."""
    writes: bool
    """Whether every later task waits for it."""
    created_ms: int
    state: TaskState = TaskState.QUEUED
    attempts: int = 0
    started_ms: int | None = None
    ended_ms: int | None = None
    detail: str = ""
    code: str | None = None


@dataclass(slots=True)
class Goal:
    """A goal that has not ended, with its tasks in plan order."""

    goal_id: int
    request: str
    text: str
    memory_id: int
    created_ms: int
    deadline_ms: int
    tasks: list[Task]
    state: TaskState = TaskState.QUEUED
    pause_before: int | None = None
    ended_ms: int | None = None

    def task(self, task_id: int) -> Task:
        """Return the task with this 1-based place in the plan."""
        return self.tasks[task_id - 1]

    def count(self, state: TaskState) -> int:
        """Return how many of its tasks are in this state."""
        return sum(task.state is state for task in self.tasks)


@dataclass(slots=True)
class Chat:
    """A chat message that waits for its answer."""

    request: str
    memory_id: int
    text: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class StartChat:
    """Begin to answer this message."""

    chat: Chat


@dataclass(frozen=True, slots=True)
class StartTask:
    """Begin this task."""

    goal_id: int
    task_id: int
    title: str
    attempt: int
    request: str
    goal_text: str
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class StopGoal:
    """Cancel what still runs of this goal and close its batch."""

    goal_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Close (or open) the gate that running workers pass between steps."""

    closed: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """A query that changes nothing: run it beside the loop and answer the link."""

    link: LinkKey
    request: str
    frame: Any


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read a memory that is not in RAM from the LTM, then go on with the frame that needs it."""

    link: LinkKey
    request: str
    frame: Any
    memory_id: int
    payload: str


@dataclass(frozen=True, slots=True)
class Retell:
    """The same request again: send this link what was answered the first time."""

    link: LinkKey
    record: RequestRecord


@dataclass(frozen=True, slots=True)
class Replay:
    """Send this link every journalled event after this seq."""

    link: LinkKey
    after: int


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close this link normally: the client asked for it."""

    link: LinkKey


Start = StartChat | StartTask | StopGoal | Hold | Ask | Fetch | Retell | Replay | HangUp


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A rendered frame: to one link, or (link None) journalled and to every link."""

    text: str
    seq: int = 0
    link: LinkKey | None = None
    acknowledges: bool = False


@dataclass(slots=True)
class State:
    """Everything a session is; hibernates into rows and comes back the same."""

    sid: int
    key: str
    principal: str
    agent: str
    created_ms: int
    active_ms: int
    rules: Rules
    ram: Ram
    seq: int = 0
    first_seq: int = 1
    next_goal_id: int = 1
    mode: str = "running"
    last_goal: str = ""
    revision: int = 0
    requests: OrderedDict[str, RequestRecord] = field(default_factory=OrderedDict)
    chats: deque[Chat] = field(default_factory=deque)
    goals: dict[int, Goal] = field(default_factory=dict)
    beat: dict[str, Any] = field(default_factory=dict)
    """What the heartbeat remembers between beats; JSON-able."""
    draining: bool = False
    """The daemon stops: what runs may end, nothing further is started."""

    @property
    def busy(self) -> bool:
        """Whether a chat is unanswered or a goal has not ended."""
        return bool(self.chats) or bool(self.goals)

    @property
    def queued_tasks(self) -> int:
        """Task rows in state queued."""
        return sum(goal.count(TaskState.QUEUED) for goal in self.goals.values())

    @property
    def active_tasks(self) -> int:
        """Task rows in state running."""
        return sum(goal.count(TaskState.RUNNING) for goal in self.goals.values())

    def lifecycle(self) -> str:
        """Return one word for where the session stands, for people and dashboards."""
        if self.goals and self.mode == "paused":
            return "paused"
        if self.active_tasks:
            return "running"
        if self.goals:
            return "waiting"
        return "waiting" if self.chats else "idle"

    def record(self) -> SessionRecord:
        """Return the session's own row."""
        return SessionRecord(
            sid=self.sid,
            key=self.key,
            principal=self.principal,
            agent=self.agent,
            created_ms=self.created_ms,
            active_ms=self.active_ms,
            next_memory_id=self.ram.next_id,
            next_goal_id=self.next_goal_id,
            seq=self.seq,
            mode=self.mode,
            last_goal=self.last_goal,
            revision=self.revision,
            extra=render(self.beat),
        )


@dataclass(slots=True)
class Step:
    """What came of handling one or more events; committed, then shown."""

    state: State
    now_ms: int
    records: list[Record] = field(default_factory=list)
    outgoing: list[Outgoing] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    evicted: list[int] = field(default_factory=list)
    """Entries the hard limit took out of RAM and no memory.event has told yet."""

    @property
    def only_pongs(self) -> bool:
        """Whether nothing is to be shown but pongs, which may overtake everything."""
        return not self.starts and all(out.text.startswith(PONG) for out in self.outgoing)

    def journal(self, frame: JournalledFrame) -> int:
        """Give the frame the next seq, keep it, and send it to every link; return the seq."""
        state = self.state
        state.seq += 1
        frame["seq"] = state.seq
        text = render(frame)
        kind = frame["type"]
        self.records.append(EventRecord(state.sid, state.seq, kind, frame["request"], text, self.now_ms))
        self.outgoing.append(Outgoing(text, state.seq, acknowledges=kind == "session.accepted"))
        return state.seq

    def reply(self, link: LinkKey, frame: ServerFrame) -> None:
        """Send a frame without seq to the link that asked."""
        self.outgoing.append(Outgoing(render(frame), link=link))

    def refuse(
        self, link: LinkKey, request: str, message: str, code: Code, retry_after_ms: int | None = None
    ) -> None:
        """Tell the link that asked why nothing was done."""
        self.reply(link, error_frame(message, code, request=request, retry_after_ms=retry_after_ms))

    def remember_request(self, record: RequestRecord) -> None:
        """Keep what was done for a request id; the oldest finished ones are forgotten."""
        requests = self.state.requests
        requests[record.request] = record
        self.records.append(record)
        while len(requests) > self.state.rules.requests_kept:
            oldest = next(iter(requests.values()))
            if oldest.state is RequestState.OPEN:
                break
            del requests[oldest.request]

    def close_request(self, request: str, outcome: RequestState) -> None:
        """Give an accepted request its one outcome."""
        known = self.state.requests.get(request)
        if known is None or known.state is not RequestState.OPEN:
            return
        closed = RequestRecord(
            known.sid, request, known.type, known.digest, outcome, known.seq, known.memory_id, known.goal_id,
            known.created_ms,
        )  # fmt: skip
        self.state.requests[request] = closed
        self.records.append(closed)

    def finish(self) -> None:
        """Add the session's own row when anything else is to be written."""
        if self.records:
            self.state.active_ms = max(self.state.active_ms, self.now_ms)
            self.records.append(self.state.record())


def digest(*parts: str) -> str:
    """Return a short digest of a request's type and payload (16 hex digits of BLAKE2b)."""
    return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def goal_record(state: State, goal: Goal) -> GoalRecord:
    """Return the goal's row."""
    return GoalRecord(
        sid=state.sid,
        goal_id=goal.goal_id,
        request=goal.request,
        text=goal.text,
        state=goal.state,
        memory_id=goal.memory_id,
        created_ms=goal.created_ms,
        deadline_ms=goal.deadline_ms,
        ended_ms=goal.ended_ms,
        pause_before=goal.pause_before,
    )


def task_record(state: State, goal: Goal, task: Task) -> TaskRecord:
    """Return the task's row."""
    return TaskRecord(
        sid=state.sid,
        goal_id=goal.goal_id,
        task_id=task.task_id,
        title=task.title,
        kind=task.kind,
        state=task.state,
        attempts=task.attempts,
        created_ms=task.created_ms,
        started_ms=task.started_ms,
        ended_ms=task.ended_ms,
        detail=task.detail,
        code=task.code,
    )


def state_frame(state: State, request: str, phase: str) -> AgentState:
    """Build agent.state; the counters are counted, never kept."""
    return {
        "type": "agent.state",
        "request": request,
        "sessionKey": state.key,
        "phase": phase,
        "queuedTasks": state.queued_tasks,
        "activeTasks": state.active_tasks,
        "lastGoal": state.last_goal,
        "mode": state.mode,
        "lifecycle": state.lifecycle(),
        "revision": state.revision,
    }


def full_state_frame(state: State, request: str, phase: str, now_ms: int) -> AgentState:
    """Build agent.state with every open goal and its tasks; for answers, never journalled."""
    frame = state_frame(state, request, phase)
    frame["goals"] = [goal_view(goal, now_ms) for goal in state.goals.values()]
    return frame


def goal_view(goal: Goal, now_ms: int) -> GoalView:
    """Return a goal as clients see it."""
    return {
        "goalId": goal.goal_id,
        "request": goal.request,
        "goal": goal.text,
        "status": goal.state.value,
        "ageMs": max(0, now_ms - goal.created_ms),
        "tasks": [
            {
                "id": task.task_id,
                "title": task.title,
                "worker": task.kind,
                "status": task.state.value,
                "attempt": task.attempts,
            }
            for task in goal.tasks
        ],
    }


def revive(image: SessionImage, rules: Rules, beat: dict[str, Any], chats: Iterable[Chat]) -> State:
    """Build the state that was persisted.

    `beat` is the parsed `extra` of the session's row, `chats` the messages still unanswered.
    """
    row = image.session
    state = State(
        sid=row.sid,
        key=row.key,
        principal=row.principal,
        agent=row.agent,
        created_ms=row.created_ms,
        active_ms=row.active_ms,
        rules=rules,
        ram=Ram.restore(image.ram, row.next_memory_id, rules.budget),
        seq=row.seq,
        first_seq=image.first_seq,
        next_goal_id=row.next_goal_id,
        mode=row.mode,
        last_goal=row.last_goal,
        revision=row.revision,
        requests=OrderedDict((record.request, record) for record in image.requests),
        beat=beat,
        chats=deque(chats),
    )
    for row_goal in image.goals:
        tasks = (task for task in image.tasks if task.goal_id == row_goal.goal_id)
        state.goals[row_goal.goal_id] = _goal(row_goal, tasks)
    return state


def _goal(row: GoalRecord, tasks: Iterable[TaskRecord]) -> Goal:
    return Goal(
        goal_id=row.goal_id,
        request=row.request,
        text=row.text,
        memory_id=row.memory_id,
        created_ms=row.created_ms,
        deadline_ms=row.deadline_ms,
        state=row.state,
        pause_before=row.pause_before,
        tasks=[
            Task(
                task_id=task.task_id,
                title=task.title,
                kind=task.kind,
                waits=choose(task.title).waits,
                writes=choose(task.title).writes,
                created_ms=task.created_ms,
                state=task.state,
                attempts=task.attempts,
                started_ms=task.started_ms,
                ended_ms=task.ended_ms,
                detail=task.detail,
                code=task.code,
            )
            for task in tasks
        ],
    )


def as_object(value: object) -> dict[str, Any]:
    """Return a parsed JSON object, or an empty one when it is anything else."""
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
