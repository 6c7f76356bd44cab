"""The state of one session, and `Step`: what handling a few events made of it.

Nothing here waits, reads a clock or touches a disk. A step collects records (to be committed in one
transaction), frames (to be sent once that transaction is committed) and starts (work to begin then).
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, cast

from spiderwebd.core.codes import Code
from spiderwebd.core.compaction import Thresholds
from spiderwebd.core.effects import (
    Ask,
    Fetch,
    HangUp,
    Hold,
    LinkKey,
    Outgoing,
    Replay,
    Retell,
    Start,
    StartChat,
    StartTask,
    StopGoal,
    Watch,
)
from spiderwebd.core.frames import ServerFrame, error_frame, render
from spiderwebd.core.lifecycle import word
from spiderwebd.core.pending import Chat, Goal
from spiderwebd.core.ram import Budget, Ram
from spiderwebd.core.records import (
    EventRecord,
    Record,
    RequestRecord,
    RequestState,
    SessionImage,
    SessionRecord,
    TaskRecord,
    TaskState,
)
from spiderwebd.core.shares import Share, Totals
from spiderwebd.core.story import JournalledFrame

__all__ = [  # the session takes a step's effects from where it takes the step
    "Ask",
    "Chat",
    "Fetch",
    "HangUp",
    "Hold",
    "LinkKey",
    "Replay",
    "Retell",
    "Rules",
    "Start",
    "StartChat",
    "StartTask",
    "State",
    "Step",
    "StopGoal",
    "Watch",
    "as_object",
    "revive",
]

PONG = '{"type":"pong"'

REVISED_KEPT = 1024
"""Revised memories of which the newest version is known; a read of the LTM never takes so long."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits a session lives by; from the configuration, replaced whole by a reload.

    Sizes are UTF-8 bytes, times milliseconds, the rest are counts.
    """

    budget: Budget = field(default_factory=Budget)
    thresholds: Thresholds = field(default_factory=Thresholds)
    message_bytes: int = 4096
    """Longest text of a message, goal or memory (compatibility 2.3)."""
    summary_bytes: int = 160
    max_tasks: int = 32
    """Tasks a goal may have; the plan frame names those beyond."""
    parallel_tasks: int = 2
    """Tasks of a session that run at once (compatibility 6.2)."""
    goals_queued: int = 32
    chats_queued: int = 32
    goals_total: int = 4_096
    """Goals of all awake sessions together."""
    tasks_queued: int = 1_024
    """Tasks of this session that wait to be started."""
    tasks_total: int = 16_384
    """Tasks of all awake sessions together that wait to be started."""
    goal_ms: int = 3_600_000
    """From accepting a goal to its deadline."""
    chat_ms: int = 600_000
    """From accepting a message to the moment after which it is not answered any more."""
    queue_ms: int = 1_800_000
    """From accepting a goal to the moment after which none of its tasks is started; 0: its deadline."""
    requests_kept: int = 1024
    """Ended requests whose ids are recognised when they come again."""
    heartbeat_ms: int = 30_000
    """Between two heartbeats of a session (compatibility 8.1)."""
    attempts: int = 3
    """How often a task that a crash interrupted is started in all."""


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
    """Last seq given out."""
    first_seq: int = 1
    """Oldest seq the event log held when the session woke."""
    next_goal_id: int = 1
    mode: str = "running"
    """running, paused or cancelled."""
    last_goal: str = ""
    revision: int = 0
    """Grows with every change of mode, goals or tasks."""
    requests: OrderedDict[str, RequestRecord] = field(default_factory=OrderedDict)
    """Every open request, and the ended ones whose ids are still recognised; oldest first."""
    fetching: Counter[int] = field(default_factory=Counter, compare=False)
    """Memories that are being read from the LTM, with how many requests wait for each."""
    chats: deque[Chat] = field(default_factory=deque)
    """Unanswered messages, oldest first; only the first is ever being answered."""
    answering: bool = False
    """Whether the first chat's answer is being made: a turn is in flight."""
    goals: dict[int, Goal] = field(default_factory=dict)
    """Goals that have not ended, oldest first; only the first has running tasks."""
    beat: dict[str, Any] = field(default_factory=dict)
    """What heartbeat and saturation remember between events; JSON-able."""
    revised: OrderedDict[int, int] = field(default_factory=OrderedDict)
    """MemoryID to newest version, of memories revised in this life; see `remembering.fetched`."""
    draining: bool = False
    """The daemon stops: what runs may end, nothing further is started."""
    degraded: bool = False
    """The disk cannot be written; the session's loop says so."""
    share: Share = field(default_factory=lambda: Share(Totals()), compare=False)
    """Its part of what waits in all sessions together."""

    @property
    def busy(self) -> bool:
        """Whether a chat is unanswered or a goal has not ended."""
        return bool(self.chats) or bool(self.goals)

    @property
    def queued_tasks(self) -> int:
        """Task rows in state queued."""
        if not self.goals:
            return 0
        return sum(goal.count(TaskState.QUEUED) for goal in self.goals.values())

    @property
    def active_tasks(self) -> int:
        """Task rows in state running."""
        return sum(goal.count(TaskState.RUNNING) for goal in self.goals.values())

    @property
    def working_tasks(self) -> int:
        """Running tasks that a worker has; the others wait for a slot."""
        return sum(
            task.working and task.state is TaskState.RUNNING
            for goal in self.goals.values()
            for task in goal.tasks
        )

    def lifecycle(self) -> str:
        """Return one word for where the session stands, of core.lifecycle."""
        return word(
            draining=self.draining,
            degraded=self.degraded,
            paused=self.mode == "paused",
            goals=len(self.goals),
            active=self.active_tasks,
            working=self.working_tasks,
            chats=len(self.chats),
            answering=self.answering,
            blocked="blocked" in self.beat,
        )

    def figures(self) -> tuple[object, ...]:
        """Return what a watching link is told changes of, ages apart: equal as long as nothing changes."""
        return self.revision, self.mode, self.lifecycle(), len(self.chats), self.working_tasks

    def count_share(self) -> None:
        """Say to the totals of all sessions what waits in this one."""
        self.share.set(len(self.goals), self.queued_tasks)

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

    def note_revision(self, memory_id: int, version: int) -> None:
        """Remember the newest version of a memory that was just revised."""
        self.revised[memory_id] = version
        self.revised.move_to_end(memory_id)
        if len(self.revised) > REVISED_KEPT:
            self.revised.popitem(last=False)

    def fetched(self, memory_id: int) -> None:
        """Take in that one read of a memory is over, however it ended."""
        self.fetching[memory_id] -= 1
        if self.fetching[memory_id] <= 0:
            del self.fetching[memory_id]

    def outdated(self, memory_id: int, version: int) -> bool:
        """Whether a text that was read from the LTM has been revised since it was read."""
        return version < self.revised.get(memory_id, 0)


@dataclass(slots=True)
class Step:
    """What came of handling one or more events; committed, then shown."""

    state: State
    now_ms: int
    """Wall-clock milliseconds at which the events were handled."""
    records: list[Record] = field(default_factory=list)
    outgoing: list[Outgoing] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    evicted: list[int] = field(default_factory=list)
    """Entries the hard limit took out of RAM and no memory.event has told yet."""
    changed: bool = False
    """Whether the session's own row changed though no other record says so."""
    requests: int = 0
    """Requests of links that it handled; each is kept, answered, refused or looked up after it."""

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
        self.reply(link, error_frame(message, code, request=request or None, retry_after_ms=retry_after_ms))

    def remember_request(self, record: RequestRecord) -> None:
        """Keep what was done for a request id; the oldest ended one is forgotten when there are many."""
        requests = self.state.requests
        requests[record.request] = record
        self.records.append(record)
        while len(requests) > self.state.rules.requests_kept:
            ended = (known for known in requests.values() if known.state is not RequestState.OPEN)
            oldest = next(ended, record)
            if oldest is record:
                break
            del requests[oldest.request]

    def close_request(self, request: str, outcome: RequestState) -> None:
        """Give an accepted request its one outcome."""
        known = self.state.requests.get(request)
        if known is None or known.state is not RequestState.OPEN:
            return
        closed = replace(known, state=outcome)
        self.state.requests[request] = closed
        self.records.append(closed)

    def finish(self) -> None:
        """Add the session's own row when it changed or anything else is to be written."""
        if self.records or self.changed:
            self.state.count_share()
            self.state.active_ms = max(self.state.active_ms, self.now_ms)
            self.records.append(self.state.record())


def revive(
    image: SessionImage,
    rules: Rules,
    beat: dict[str, Any],
    chats: Iterable[Chat],
    totals: Totals | None = None,
) -> State:
    """Build the state that was persisted; `goals.recover` and `turn.begin_chat` then go on with it.

    `beat` is the parsed `extra` of the session's row, `chats` the messages still unanswered, `totals`
    what waits in all awake sessions together; this one's part is added by `count_share`.
    """
    row = image.session
    tasks: dict[int, list[TaskRecord]] = {}
    for task in image.tasks:
        tasks.setdefault(task.goal_id, []).append(task)
    return State(
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
        chats=deque(chats),
        goals={goal.goal_id: Goal.restore(goal, tasks.get(goal.goal_id, ())) for goal in image.goals},
        beat=beat,
        share=Share(totals or Totals()),
    )


def as_object(value: object) -> dict[str, Any]:
    """Return a parsed JSON object, or an empty one when it is anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
