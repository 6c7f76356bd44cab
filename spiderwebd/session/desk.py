"""Who answers what a session asks for: chats from memory, tasks by workers, queries by the reader.

All of it runs beside the session's loop and returns values; nothing here changes a session.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from spiderwebd.core.change import Entry, row_of
from spiderwebd.core.codes import Code, Refused
from spiderwebd.core.effects import Ask, StartTask
from spiderwebd.core.kinds import choose
from spiderwebd.core.outcome import Outcome
from spiderwebd.core.pending import Chat
from spiderwebd.core.ranking import index_word, terms, words
from spiderwebd.core.records import EntryKind, TaskState
from spiderwebd.core.state import State
from spiderwebd.session.agents import AgentFolder
from spiderwebd.session.lookups import Lookups
from spiderwebd.store.reader import Reader
from spiderwebd.store.runner import READERS
from spiderwebd.store.search import Hit as StoredHit
from spiderwebd.store.search import Scope
from spiderwebd.store.writer import Writer
from spiderwebd.work.answer import QUOTED, answer
from spiderwebd.work.attempt import attempt
from spiderwebd.work.blocking import Result, RunBlocking
from spiderwebd.work.documents import DocumentFolders
from spiderwebd.work.execution import ExecutionWorker
from spiderwebd.work.files import SessionFiles
from spiderwebd.work.gate import Gate
from spiderwebd.work.hits import Hit
from spiderwebd.work.progress import Progress
from spiderwebd.work.research import ResearchWorker
from spiderwebd.work.slots import Seat, Slots
from spiderwebd.work.status import Snapshot, StatusWorker
from spiderwebd.work.task import PlannedTask
from spiderwebd.work.workers import Workers

SPOKEN = ("user", "tool", "tool_result")
"""Roles that an answer quotes; plans and earlier answers only repeat what is quoted anyway."""

TASK_READERS = READERS - 1

DOCUMENT_SEARCHES = 1
"""Searches of documents at once: they hold the interpreter lock nearly all the time, so that more of them
would take as long, and keep the loop from it."""

OVERFETCH = 4
"""How many times as many hits are asked for as are wanted, for those that are left out."""


@dataclass(frozen=True, slots=True)
class Found:
    """A hit as work sees it (work.hits.Hit)."""

    memory_id: int
    role: str
    content: str
    score: float
    own: bool


@dataclass(slots=True)
class HouseDesk:
    """The daemon's desk, shared by all sessions."""

    reader: Reader
    writer: Writer
    agents: AgentFolder
    files_root: Path
    documents: DocumentFolders
    blocking: RunBlocking
    slots: Slots
    task_seconds: Callable[[], float]
    on_fault: Callable[[str, BaseException, str], None]
    lookups: Lookups = field(init=False)
    task_reads: trio.CapacityLimiter = field(init=False)
    """Reads of the database by tasks at once: one reader is always left for attaches, chats and queries."""
    document_searches: trio.CapacityLimiter = field(init=False)

    def __post_init__(self) -> None:
        self.lookups = Lookups(self.reader, self.agents, self.blocking)
        self.task_reads = trio.CapacityLimiter(TASK_READERS)
        self.document_searches = trio.CapacityLimiter(DOCUMENT_SEARCHES)

    async def answer(self, state: State, chat: Chat) -> str:
        """Answer a message with what memory holds of it, quoted with ids."""
        scope = Scope.of_agent(state.principal, state.agent)
        hits = await self._search(state, scope, chat.text, QUOTED, leave_out={chat.memory_id})
        return answer(chat.text, hits)

    async def carry_out(
        self,
        state: State,
        task: StartTask,
        gate: Gate,
        began: Callable[[float], None],
        progress: Progress,
    ) -> Outcome:
        """Carry out one task in a slot of the daemon, within its time; pauses do not count."""
        planned = PlannedTask(task.task_id, task.title, choose(task.title), progress)
        workers = self._workers(state, task)
        seat, asked = Seat(state.key, self.slots), trio.current_time()
        try:
            await seat.take()
            began(trio.current_time() - asked)
            return await attempt(
                planned,
                worker=workers,
                seat=seat,
                gate=gate,
                seconds=self.task_seconds(),
                on_fault=lambda task, error: self.on_fault("task", error, state.key),
            )
        finally:
            seat.leave()

    async def look_up(self, state: State, ask: Ask) -> list[str]:
        """Answer a query with rendered frames."""
        return await self.lookups.answer(state, ask)

    def _workers(self, state: State, task: StartTask) -> Workers:
        scope = Scope.of_principal(state.principal)
        goal = state.goals.get(task.goal_id)
        own_words = set() if goal is None else {goal.memory_id, goal.memory_id + 1}

        async def search(text: str, limit: int) -> list[Hit]:
            async with self.task_reads:
                return await self._search(state, scope, text, limit, leave_out=own_words)

        async def lookup(memory_id: int) -> Entry | None:
            if (held := state.ram.load(memory_id)) is not None:
                return held
            async with self.task_reads:
                stored = await self.reader.memory(state.sid, memory_id)
            if stored is None or stored.kind is not EntryKind.ENTRY:
                return None
            row = row_of(stored)
            return row if isinstance(row, Entry) else None

        return Workers(
            ResearchWorker(search, self.documents, self._search_documents),
            ExecutionWorker(SessionFiles(self.files_root / str(state.sid)), lookup, self.blocking),
            StatusWorker(partial(self._snapshot, state, task.goal_id)),
        )

    async def _search_documents(self, function: Callable[[], Result]) -> Result:
        async with self.document_searches:
            return await self.blocking(function)

    async def _search(
        self, state: State, scope: Scope, text: str, limit: int, leave_out: set[int]
    ) -> list[Hit]:
        stored = await self.reader.search(text, scope, limit * OVERFETCH)
        asked = {index_word(term) for term in terms(text)}
        return [
            self._found(state, hit)
            for hit in stored
            if hit.role in SPOKEN
            and not (hit.sid == state.sid and hit.memory_id in leave_out)
            # Found only by the turns before it, an entry would be quoted for what it does not say.
            and not asked.isdisjoint(map(index_word, words(hit.content)))
        ][:limit]

    def _found(self, state: State, hit: StoredHit) -> Hit:
        return Found(hit.memory_id, hit.role, hit.content, hit.score, hit.sid == state.sid)

    def _snapshot(self, state: State, goal_id: int) -> Snapshot:
        goal, ram = state.goals.get(goal_id), state.ram
        if goal is None:
            raise Refused("its goal has ended meanwhile", Code.CANCELLED)
        return Snapshot(
            goal=goal.text,
            mode=state.mode,
            tasks=len(goal.tasks),
            complete=goal.count(TaskState.COMPLETE),
            blocked=goal.count(TaskState.BLOCKED),
            failed=goal.count(TaskState.FAILED),
            running=goal.count(TaskState.RUNNING),
            goals_waiting=len(state.goals) - 1,
            ram_entries=ram.active_count,
            ram_entries_limit=ram.budget.max_entries,
            ram_bytes=ram.active_bytes,
            ram_bytes_limit=ram.budget.max_bytes,
            memories=ram.next_id - 1,
            store_accepting=self.writer.accepting,
            store_waiting=self.writer.statistics.depth,
        )
