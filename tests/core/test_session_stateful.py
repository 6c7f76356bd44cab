"""Whatever clients, workers and crashes do, a session keeps its promises; hypothesis picks the order."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from jsonschema import Draft202012Validator

from spiderwebd.core import deadlines, goals, suggestions, turn
from spiderwebd.core.attention import needs_attention
from spiderwebd.core.change import Entry, row_of
from spiderwebd.core.codes import Code
from spiderwebd.core.compaction import due
from spiderwebd.core.effects import Replay, StartChat, StartTask
from spiderwebd.core.outcome import NewMemory, Outcome, blocked, complete, failed
from spiderwebd.core.protocol import BadFrame
from spiderwebd.core.ram import Budget
from spiderwebd.core.records import EntryRecord, RequestState, TaskState
from spiderwebd.core.schema import wire_schema
from spiderwebd.core.state import State
from spiderwebd.core.state_frames import full_state_frame
from spiderwebd.core.upkeep import keep_within_budget
from tests.core.life import LINK, Frame, Life

SCHEMA = wire_schema()
SERVER = Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": "#/$defs/ServerFrame"}]})

TEXTS = st.text(max_size=40) | st.sampled_from(
    ["/new", "/goal", "/goal ", "/goal \u00a0", 'a "quoted" \\ text', "nul \0 and \x01", "é" * 36 + "x"]
)
TASKS = st.sampled_from(
    [
        "find the key",
        "search for x",
        "remember that y is 2",
        "write file a.txt: b",
        "append z to log.txt",
        "report status",
        "frobnicate",
    ]
)
GOALS = st.lists(TASKS, min_size=1, max_size=6).map("; ".join)
IDS = st.sampled_from([f"id-{number}" for number in range(12)])
MEMORY_IDS = st.integers(1, 60)
CONTROLS = ["pause", "resume", "resume", "cancel", "state", "watch", "heartbeat", "jump"]
PAUSES = st.none() | st.integers(1, 5)


class Session(RuleBasedStateMachine):
    """A Life, and what a careful client would check of it."""

    @initialize(
        goals_queued=st.integers(1, 3),
        chats_queued=st.integers(1, 3),
        max_tasks=st.integers(1, 4),
        parallel=st.integers(1, 3),
        entries=st.integers(4, 12),
        attempts=st.integers(1, 3),
    )
    def begin(
        self,
        goals_queued: int,
        chats_queued: int,
        max_tasks: int,
        parallel: int,
        entries: int,
        attempts: int,
    ) -> None:
        self.life = Life(
            goals_queued=goals_queued,
            chats_queued=chats_queued,
            max_tasks=max_tasks,
            parallel_tasks=parallel,
            attempts=attempts,
            goal_ms=100_000,
            chat_ms=90_000,
            queue_ms=60_000,
            requests_kept=40,
            message_bytes=200,
            budget=Budget(max_entries=entries, max_bytes=600, max_tombstones=4, max_summaries=3),
        )
        self.shapes: set[str] = set()
        self.texts: dict[EntryRecord, None] = {}
        self.checked = 0
        self.seen = 0
        self.revision = 0
        self.drained = False

    # Clients

    def send(self, frame: Frame) -> list[Frame]:
        """Send a frame: it is answered, or it starts something that will answer it."""
        begun = len(self.life.starts)
        came = self.life.send(frame)
        assert came or self.life.starts[begun:]
        return came

    @rule(request=IDS, content=TEXTS, alias=st.booleans())
    def chat(self, request: str, content: str, alias: bool) -> None:
        kind = "session.send" if alias else "chat.send"
        self.send({"type": kind, "id": request, "content": content})

    @rule(request=IDS, text=GOALS, pause=PAUSES)
    def goal(self, request: str, text: str, pause: int | None) -> None:
        self.send({"type": "chat.send", "id": request, "content": f"/goal {text}", "pauseBefore": pause})

    @rule(text=GOALS, pause=PAUSES)
    def control_goal(self, text: str, pause: int | None) -> None:
        self.send({"type": "agent.control", "goal": text, "pauseBefore": pause})

    @rule(action=st.sampled_from(CONTROLS))
    def control(self, action: str) -> None:
        self.send({"type": "agent.control", "action": action})

    @rule(goal_id=st.integers(1, 9))
    def cancel_one(self, goal_id: int) -> None:
        self.send({"type": "agent.control", "action": "cancel", "goalId": goal_id})
        assert goal_id not in self.life.state.goals

    @rule(archive=st.booleans())
    def reset(self, archive: bool) -> None:
        came = self.send({"type": "session.reset", "archive": archive})
        assert came[-1]["type"] == "session.reset"
        assert self.life.state.ram.active_count == 0
        assert not self.life.state.busy

    @rule(request=IDS, content=TEXTS)
    def create(self, request: str, content: str) -> None:
        self.send({"type": "memory.create", "id": request, "content": content})

    @rule(
        verb=st.sampled_from(["load", "update", "evict", "summarize"]),
        request=IDS,
        memory_id=MEMORY_IDS,
        content=TEXTS,
    )
    def by_id(self, verb: str, request: str, memory_id: int, content: str) -> None:
        frame = {"type": f"memory.{verb}", "id": request, "memoryId": memory_id, "content": content}
        self.send(frame)

    @rule(
        kind=st.sampled_from(["ping", "memory.recall", "memory.query", "agent.heartbeat", "session.list"]),
        extra=st.dictionaries(
            st.sampled_from(["limit", "topic", "kind", "id"]), st.none() | st.integers() | st.text(max_size=5)
        ),
    )
    def ask(self, kind: str, extra: dict[str, Any]) -> None:
        with suppress(BadFrame):
            self.send({"type": kind, **extra})

    @rule(after=st.integers(0, 50))
    def resume_link(self, after: int) -> None:
        key = self.life.state.key
        self.send({"type": "connect", "resume": {"sessionKey": key, "after": after}})
        assert self.life.starts[-1] == Replay(LINK, after)

    # Work

    @precondition(lambda self: self.life.in_flight)
    @rule(text=TEXTS, fails=st.integers(0, 5))
    def answer(self, text: str, fails: int) -> None:
        if fails:
            self.life.answer(text)
        else:
            chat = self.life.in_flight.pop(0)
            self.life.do(lambda step: turn.chat_failed(step, chat.request, "The answer failed"))

    @precondition(lambda self: self.life.fetches)
    @rule(early=st.booleans())
    def fetch(self, early: bool) -> None:
        assert self.life.fetch(early=early)

    @precondition(lambda self: self.life.running)
    @rule(data=st.data(), memory_id=MEMORY_IDS, text=TEXTS)
    def end_task(self, data: st.DataObject, memory_id: int, text: str) -> None:
        goal_id, task_id = data.draw(st.sampled_from(sorted(self.life.running)))
        # What the worker may have read of the memory: any text it has had since the task began.
        texts = [row for row in self.texts if row.memory_id == memory_id]
        entries = tuple(row for row in map(row_of, texts[-2:][:1]) if isinstance(row, Entry))
        outcomes = [
            complete("execution: done"),
            replace(complete("execution: remembered #?"), remember=(NewMemory("user", text),)),
            replace(complete("execution: gone"), evict=(memory_id,)),
            replace(complete("execution: here"), load=entries),
            replace(complete("execution: short"), summarize=entries),
            failed("execution: no such file"),
            blocked("execution: cannot", Code.NO_WORKER),
        ]
        outcome: Outcome = data.draw(st.sampled_from(outcomes))
        self.life.end(task_id, outcome, goal_id)

    # Time, the daemon, and chance

    @rule(seconds=st.sampled_from([1, 31, 99, -40]))
    def time_passes(self, seconds: int) -> None:
        self.life.now += seconds * 1000

    @rule()
    def sweep(self) -> None:
        life = self.life
        due_ms = suggestions.due_at(life.state)
        begun = len(life.frames)
        life.do(lambda step: suggestions.beat(step, suggestions.SWEEP_REQUEST, forced=False))
        if due_ms is None:
            assert len(life.frames) == begun
        life.do(lambda step: keep_within_budget(step, "memory-manager", "sweep"))
        if not life.state.answering:
            for _ in range(life.state.ram.active_count):
                life.do(lambda step: keep_within_budget(step, "memory-manager", "sweep"))
            assert not due(life.state.ram, life.rules.thresholds)

    @precondition(lambda self: self.life.state.goals)
    @rule()
    def deadline(self) -> None:
        goal_id = next(iter(self.life.state.goals))
        self.life.do(lambda step: goals.expire_goal(step, goal_id))
        assert goal_id not in self.life.state.goals

    @rule()
    def expire(self) -> None:
        life = self.life
        life.do(turn.expire_overdue)
        due_ms = deadlines.due_at(life.state)
        assert due_ms is None or due_ms > life.now

    @rule()
    def crash(self) -> None:
        before = self.life.state
        self.life.crash()
        self.drained = False
        self.compare(before, self.life.state)

    @rule()
    def drain(self) -> None:
        self.life.state.draining = self.drained = True

    @rule(entries=st.integers(4, 12))
    def reload(self, entries: int) -> None:
        budget = replace(self.life.rules.budget, max_entries=entries)
        self.life.rules = replace(self.life.rules, budget=budget)

    def compare(self, before: State, after: State) -> None:
        """Nothing acknowledged is lost by a crash."""
        assert after.ram.next_id >= before.ram.next_id
        assert after.seq >= before.seq
        assert after.next_goal_id == before.next_goal_id
        for name, known in before.requests.items():
            assert after.requests[name].digest == known.digest
        for memory_id, row in self.life.rows.entries.items():
            assert row.memory_id == memory_id < after.ram.next_id

    # Promises

    @invariant()
    def frames_are_numbered_valid_and_kept(self) -> None:
        """Seq is gap-free, each event is valid JSON with its own seq, as sent, and as the schema says."""
        life = self.life
        fresh = life.frames[self.checked :]
        assert [frame["seq"] for frame in fresh] == list(range(self.checked + 1, len(life.frames) + 1))
        for frame, event in zip(fresh, life.rows.events[self.checked :], strict=True):
            assert json.loads(event.frame) == frame
            assert (event.seq, event.type, event.request) == (frame["seq"], frame["type"], frame["request"])
        self.checked = len(life.frames)
        for frame in (*fresh, *life.replies):
            shape = f"{frame['type']} {sorted(frame)}"
            if shape not in self.shapes:
                self.shapes.add(shape)
                SERVER.validate(frame)
        for frame in life.replies:
            assert "seq" not in frame
            assert frame["type"] != "error" or frame["code"] in list(Code)
        life.replies.clear()

    @invariant()
    def counters_are_the_rows(self) -> None:
        """queuedTasks and activeTasks are what the task rows say; running rows are what was started."""
        state, rows = self.life.state, self.life.rows
        states = Counter(
            task.state for (goal_id, _), task in rows.tasks.items() if not rows.goals[goal_id].state.ended
        )
        assert state.queued_tasks == states[TaskState.QUEUED]
        queues = full_state_frame(state, "q", "p", self.life.now).get("queues", {})
        assert (queues["chats"], queues["goals"]) == (len(state.chats), len(state.goals))
        assert (queues["tasks"], queues["started"]) == (states[TaskState.QUEUED], len(self.life.running))
        totals = self.life.totals
        assert (totals.goals, totals.tasks) == (len(state.goals), states[TaskState.QUEUED])
        assert state.active_tasks == states[TaskState.RUNNING] == len(self.life.running)
        for (goal_id, _), task in rows.tasks.items():
            if rows.goals[goal_id].state.ended:
                assert task.state.ended

    @invariant()
    def sweeps_may_pass_by_who_needs_no_attention(self) -> None:
        """What no sweep looks at has no deadline, no heartbeat and no compaction to come."""
        state = self.life.state
        if not needs_attention(state):
            assert deadlines.due_at(state) is None
            assert suggestions.due_at(state) is None
            assert not due(state.ram, state.rules.thresholds)

    @invariant()
    def revisions_only_grow(self) -> None:
        """A client that compares revisions is never told an older state for a newer one, crashes included."""
        assert self.life.state.revision >= self.revision
        self.revision = self.life.state.revision

    @invariant()
    def every_request_has_one_outcome_or_is_open(self) -> None:
        """accepted = answered + running + queued + failed + cancelled + expired, at every step."""
        state, rows = self.life.state, self.life.rows
        open_requests = {row.request for row in rows.requests.values() if row.state is RequestState.OPEN}
        waiting = [chat.request for chat in state.chats]
        waiting += [goal.request for goal in state.goals.values()]
        assert sorted(waiting) == sorted(open_requests)
        accepted = [frame["request"] for frame in self.life.frames if frame["type"] == "session.accepted"]
        assert set(accepted) <= set(rows.requests)
        if not self.forgotten(accepted):
            assert len(accepted) == len(set(accepted))

    def forgotten(self, accepted: list[str]) -> bool:
        """Whether so much was asked that ids may have been forgotten and used again."""
        return len(accepted) >= self.life.rules.requests_kept

    @invariant()
    def answers_match_requests(self) -> None:
        """Every accepted chat or goal that is closed was told its end under its own id."""
        frames = self.life.frames
        ended = {
            frame["request"]
            for frame in frames
            if frame["type"] == "session.receive"
            or (frame["type"] == "agent.progress" and frame["status"] in ("failed", "cancelled", "expired"))
        }
        for row in self.life.rows.requests.values():
            if row.state is not RequestState.OPEN and row.type in ("chat.send", "agent.control"):
                assert row.request in ended or row.memory_id is None

    @invariant()
    def nothing_starts_while_it_may_not(self) -> None:
        """Tasks start in mode running only, no more than allowed, and each chat one after the other."""
        life, state = self.life, self.life.state
        fresh = life.starts[self.seen :]
        self.seen = len(life.starts)
        if state.mode != "running" or state.draining:
            assert not any(isinstance(start, StartTask) for start in fresh)
        if state.draining:
            assert not any(isinstance(start, StartChat) for start in fresh)
        assert len(life.running) <= life.rules.parallel_tasks
        assert life.gate_closed == (state.mode == "paused")
        if state.answering:
            assert life.in_flight[-1] is state.chats[0]

    @invariant()
    def what_can_go_on_goes_on(self) -> None:
        """An open goal has an open task; in mode running one of them runs, and a chat is being answered."""
        state = self.life.state
        for goal in state.goals.values():
            assert not goal.done
        if state.mode == "running" and not self.drained:
            assert bool(state.goals) == bool(self.life.running)
            assert bool(state.chats) == state.answering

    @invariant()
    def memory_is_bounded_and_whole(self) -> None:
        """RAM keeps its budget, its rows are exactly those on disk, and every id given out has a row."""
        state, rows = self.life.state, self.life.rows
        ram = state.ram
        assert ram.active_count <= max(ram.budget.max_entries, self.life.rules.budget.max_entries)
        assert ram.active_bytes <= ram.budget.byte_limit
        held = [*ram.entries(), *ram.tombstones(), *ram.summaries()]
        on_disk = {memory_id: row for memory_id, row in rows.entries.items() if row.in_ram}
        assert {row.id: row.record(1, in_ram=True) for row in held} == on_disk
        assert sorted(rows.entries) == list(range(1, ram.next_id))

    @invariant()
    def no_text_is_overwritten(self) -> None:
        """Every text a memory has had is kept as a version, without a gap."""
        kept: dict[int, set[int]] = {}
        for memory_id, version in self.life.rows.versions:
            kept.setdefault(memory_id, set()).add(version)
        for memory_id, row in self.life.rows.entries.items():
            assert kept.get(memory_id, set()) == set(range(1, row.version))
            self.texts.setdefault(row)


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
