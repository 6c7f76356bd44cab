"""A session's core without a daemon: steps are committed to rows in memory, starts are kept in hand.

Nothing happens by itself: a test ends tasks, answers chats and moves the time, or lets the daemon
crash, which leaves of a session what its records made of the rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from spiderwebd.core import goals, remembering, turn
from spiderwebd.core.effects import Fetch, Hold, Start, StartChat, StartTask, StopGoal
from spiderwebd.core.outcome import Outcome, complete
from spiderwebd.core.pending import Chat
from spiderwebd.core.protocol import parse
from spiderwebd.core.ram import Ram
from spiderwebd.core.records import (
    ArchiveRecord,
    EntryRecord,
    EventRecord,
    GoalRecord,
    LeaveRamRecord,
    Record,
    RequestRecord,
    RequestState,
    SessionImage,
    SessionRecord,
    TaskRecord,
    VersionRecord,
)
from spiderwebd.core.shares import Share, Totals
from spiderwebd.core.state import Rules, State, Step, as_object, revive

START_MS = 1_771_150_000_000
LINK = "link-1"
KEY = "Qm3vT7xLr9KcZp2WfYb8NdHs5JgAe6Uo"

Frame = dict[str, Any]


class Rows:
    """What the store makes of records, as far as a session can tell."""

    def __init__(self) -> None:
        self.session: SessionRecord | None = None
        self.entries: dict[int, EntryRecord] = {}
        self.versions: dict[tuple[int, int], str] = {}
        self.events: list[EventRecord] = []
        self.requests: dict[str, RequestRecord] = {}
        self.goals: dict[int, GoalRecord] = {}
        self.tasks: dict[tuple[int, int], TaskRecord] = {}
        self.archives: list[ArchiveRecord] = []

    def commit(self, records: list[Record]) -> None:
        for record in records:
            match record:
                case SessionRecord():
                    self.session = record
                case EntryRecord():
                    self.entries[record.memory_id] = record
                case LeaveRamRecord():
                    for memory_id in record.memory_ids:
                        self.entries[memory_id] = replace(self.entries[memory_id], in_ram=False)
                case VersionRecord():
                    assert (record.memory_id, record.version) not in self.versions
                    self.versions[record.memory_id, record.version] = record.content
                case EventRecord():
                    self.events.append(record)
                case RequestRecord():
                    self.requests[record.request] = record
                case GoalRecord():
                    self.goals[record.goal_id] = record
                case TaskRecord():
                    self.tasks[record.goal_id, record.task_id] = record
                case ArchiveRecord():
                    self.archives.append(record)
                case _:
                    raise AssertionError(record)

    def image(self) -> SessionImage:
        """What a session comes back from."""
        assert self.session is not None
        open_goals = tuple(goal for goal in self.goals.values() if not goal.state.ended)
        open_ids = {goal.goal_id for goal in open_goals}
        ram = sorted((row for row in self.entries.values() if row.in_ram), key=lambda row: row.memory_id)
        return SessionImage(
            session=self.session,
            ram=tuple(ram),
            goals=open_goals,
            tasks=tuple(task for (goal_id, _), task in sorted(self.tasks.items()) if goal_id in open_ids),
            requests=tuple(self.requests.values()),
            first_seq=1,
        )


class Life:
    """One session, its rows, and everything it asked for that has not been done."""

    def __init__(self, totals: Totals | None = None, **rules: Any) -> None:
        self.now = START_MS
        self.totals = totals or Totals()
        self.rules = Rules(**rules)
        self.rows = Rows()
        self.state = State(
            sid=1,
            key=KEY,
            principal="ann",
            agent="kim",
            created_ms=self.now,
            active_ms=self.now,
            rules=self.rules,
            ram=Ram(self.rules.budget),
            share=Share(self.totals),
        )
        self.rows.commit([self.state.record()])
        self.frames: list[Frame] = []
        """Journalled frames, in order."""
        self.replies: list[Frame] = []
        """Frames to LINK alone, in order."""
        self.starts: list[Start] = []
        """Every start there ever was."""
        self.running: dict[tuple[int, int], StartTask] = {}
        self.in_flight: list[Chat] = []
        """Chats whose answers are being made; a reset abandons one without stopping it."""
        self.fetches: list[tuple[Fetch, EntryRecord | None]] = []
        """What is to be read from the LTM, and what stood there when that was asked."""
        self.gate_closed = False
        self._ids = 0

    def do(self, event: Callable[[Step], None]) -> Step:
        """Handle one event as a session's loop does: commit its records, then show the rest."""
        self.state.rules = self.rules
        step = Step(self.state, self.now)
        event(step)
        step.finish()
        self.rows.commit(step.records)
        for out in step.outgoing:
            frame = json.loads(out.text)
            (self.replies if out.link is not None else self.frames).append(frame)
        for start in step.starts:
            self.begin(start)
        return step

    def begin(self, start: Start) -> None:
        self.starts.append(start)
        match start:
            case StartTask():
                assert (start.goal_id, start.task_id) not in self.running
                self.running[start.goal_id, start.task_id] = start
            case StopGoal():
                for place in [place for place in self.running if place[0] == start.goal_id]:
                    del self.running[place]
            case StartChat():
                self.in_flight.append(start.chat)
            case Fetch():
                self.fetches.append((start, self.rows.entries.get(start.memory_id)))
            case Hold():
                self.gate_closed = start.closed
            case _:
                pass

    def send(self, frame: Frame | str) -> list[Frame]:
        """Receive a frame from LINK; return every frame that came of it at once, in order."""
        journalled, replied = len(self.frames), len(self.replies)
        parsed = parse(frame if isinstance(frame, str) else json.dumps(frame))
        self.do(lambda step: turn.receive(step, LINK, parsed, self.fresh_id))
        return self.frames[journalled:] + self.replies[replied:]

    def fresh_id(self) -> str:
        self._ids += 1
        return f"fresh-{self._ids}"

    def chat(self, request: str, content: str) -> list[Frame]:
        return self.send({"type": "chat.send", "id": request, "content": content})

    def goal(self, request: str, text: str, **more: object) -> list[Frame]:
        return self.send({"type": "chat.send", "id": request, "content": f"/goal {text}", **more})

    def control(self, action: str, request: str = "k-c", **more: object) -> list[Frame]:
        return self.send({"type": "agent.control", "id": request, "action": action, **more})

    def answer(self, text: str) -> list[Frame]:
        """Answer the oldest chat that is being answered."""
        chat, told = self.in_flight.pop(0), len(self.frames)
        self.do(lambda step: turn.chat_answered(step, chat.request, text))
        return self.frames[told:]

    def end(self, task_id: int, outcome: Outcome | None = None, goal_id: int = 1) -> list[Frame]:
        """End a running task; complete with `done` when no outcome is given."""
        told = len(self.frames)
        kind = self.state.goals[goal_id].task(task_id).kind
        del self.running[goal_id, task_id]
        self.do(lambda step: goals.task_ended(step, goal_id, task_id, outcome or complete(f"{kind}: done")))
        return self.frames[told:]

    def fetch(self, *, early: bool = False) -> list[Frame]:
        """Do the oldest fetch; return every frame that came of it.

        `early`: it was read when it was asked for, and what happened since is not in it.
        """
        journalled, replied = len(self.frames), len(self.replies)
        fetch, found = self.fetches.pop(0)
        if not early:
            found = self.rows.entries.get(fetch.memory_id)
        self.do(
            lambda step: remembering.fetched(
                step, fetch.link, fetch.request, fetch.frame, fetch.payload, found
            )
        )
        return self.frames[journalled:] + self.replies[replied:]

    def crash(self) -> list[Frame]:
        """Lose everything but the rows, and start again; return what is told then."""
        told = len(self.frames)
        self.running.clear()
        self.fetches.clear()
        self.in_flight.clear()
        self.gate_closed = False
        image = self.rows.image()
        beat = as_object(from_json(image.session.extra))
        waiting = [
            Chat(row.request, row.memory_id, self.rows.entries[row.memory_id].content, row.created_ms)
            for row in image.requests
            if row.state is RequestState.OPEN and row.goal_id is None and row.memory_id is not None
        ]
        self.state.share.set(0, 0)
        self.state = revive(image, self.rules, beat, waiting, self.totals)
        self.state.count_share()
        self.do(goals.recover)
        self.do(turn.begin_chat)
        return self.frames[told:]


def told(frames: list[Frame]) -> list[tuple[str, ...]]:
    """Frames as short tuples: the type, and what tells frames of that type apart."""
    keys = {
        "agent.progress": ("phase", "status"),
        "agent.state": ("phase",),
        "agent.status": ("taskId", "status"),
        "memory.event": ("event", "status"),
        "error": ("code",),
    }
    return [(frame["type"], *(str(frame[key]) for key in keys.get(frame["type"], ()))) for frame in frames]
