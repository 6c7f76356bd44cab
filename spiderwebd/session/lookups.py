"""Queries: what a session remembers, which sessions and which agents there are. They change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from spiderwebd.core.codes import Code, Refused
from spiderwebd.core.effects import Ask
from spiderwebd.core.frames import AgentView, MemoryItem, SessionView, refusal_frame, render
from spiderwebd.core.protocol import (
    AgentGet,
    AgentList,
    MemoryQuery,
    MemoryRecall,
    SessionHistory,
    SessionList,
    SessionRestore,
)
from spiderwebd.core.records import EntryKind, EntryRecord
from spiderwebd.core.remembering import item_of
from spiderwebd.core.state import State
from spiderwebd.session.agents import AgentFolder, AgentInfo
from spiderwebd.store.reader import Query, Reader, SessionSummary
from spiderwebd.store.search import Hit, Scope
from spiderwebd.work.blocking import RunBlocking

NEWEST_SESSIONS = 128
"""Looked through for the newest session that a client could go on with."""


@dataclass(frozen=True, slots=True)
class Lookups:
    """Answers queries with rendered frames."""

    reader: Reader
    agents: AgentFolder
    blocking: RunBlocking

    async def answer(self, state: State, ask: Ask) -> list[str]:
        """Return the frames that answer a query; what is refused is an error frame."""
        try:
            return [render(await self._frame(state, ask))]
        except Refused as refused:
            return [render(refusal_frame(refused, ask.request))]

    async def _frame(self, state: State, ask: Ask) -> dict[str, object]:
        match ask.frame:
            case MemoryRecall() as frame:
                items = await self._recall(state, frame)
                return self._memory_answer(state, ask, "memory.recall", items)
            case MemoryQuery() as frame:
                items = await self._search(state, frame) if frame.search else await self._query(state, frame)
                return self._memory_answer(state, ask, "memory.query", items, topic=frame.topic)
            case SessionList() as frame:
                found = await self.reader.sessions(state.principal, frame.agent_id, frame.limit)
                views = [session_view(row) for row in found]
                return {"type": "session.list.response", "request": ask.request, "sessions": views}
            case SessionHistory() as frame:
                found = await self._used(state, frame.agent_id, frame.limit)
                history = [session_view(row, with_agent=False) for row in found]
                return {"type": "session.history.response", "request": ask.request, "sessions": history}
            case SessionRestore() as frame:
                return self._restore_answer(ask, await self._used(state, frame.agent_id, 1))
            case AgentList():
                agents = await self.blocking(self.agents.list)
                return {
                    "type": "agent.list.response",
                    "request": ask.request,
                    "agents": [agent_view(agent) for agent in agents],
                }
            case AgentGet() as frame:
                return {"type": "agent.info", "request": ask.request, "agent": await self._agent(frame)}
        raise AssertionError(ask.frame)

    def _memory_answer(
        self, state: State, ask: Ask, kind: str, items: list[MemoryItem], **more: object
    ) -> dict[str, object]:
        return {"type": kind, "request": ask.request, "sessionKey": state.key, **more, "items": items}

    async def _recall(self, state: State, frame: MemoryRecall) -> list[MemoryItem]:
        items = [*_summaries(state), *_active(state)][: frame.limit]
        if frame.include_archived and len(items) < frame.limit:
            kinds = (EntryKind.SUMMARY, EntryKind.ENTRY, EntryKind.TOMBSTONE)
            query = _beyond(state, kinds if frame.include_full else (EntryKind.SUMMARY,), items, frame.limit)
            items = _with_archive(items, await self.reader.memories(query), frame.limit)
        return items

    async def _query(self, state: State, frame: MemoryQuery) -> list[MemoryItem]:
        ids = set(frame.memoryIds) | ({frame.memoryId} if frame.memoryId is not None else set())
        topic = (frame.topic or "").encode()
        items: list[MemoryItem] = []
        kinds: tuple[EntryKind, ...] = ()
        if frame.kind != "entry":
            items.extend(_summaries(state))
            kinds += (EntryKind.SUMMARY,)
        if frame.kind != "summary":
            items.extend(_entries_and_tombstones(state))
            kinds += (EntryKind.ENTRY, EntryKind.TOMBSTONE)
        items = [
            item
            for item in items
            if (not ids or item["id"] in ids)
            and topic in (item.get("content") or item.get("text") or "").encode()
        ][: frame.limit]
        if frame.include_archived and len(items) < frame.limit:
            query = replace(
                _beyond(state, kinds, items, frame.limit), memory_ids=tuple(ids), topic=frame.topic
            )
            items = _with_archive(items, await self.reader.memories(query), frame.limit)
        return items

    async def _search(self, state: State, frame: MemoryQuery) -> list[MemoryItem]:
        match frame.scope:
            case "session":
                scope = Scope.session(state.sid)
            case "agent":
                scope = Scope.of_agent(state.principal, state.agent)
            case "all":
                scope = Scope.of_principal(state.principal)
        hits = await self.reader.search(frame.search or "", scope, frame.limit)
        return [_hit_item(state, hit) for hit in hits]

    async def _used(self, state: State, agent: str, limit: int) -> list[SessionSummary]:
        """Sessions in which something was said; one that was only opened is nothing to go back to."""
        rows = await self.reader.sessions(state.principal, agent, NEWEST_SESSIONS)
        return [row for row in rows if row.message_count][:limit]

    def _restore_answer(self, ask: Ask, found: list[SessionSummary]) -> dict[str, object]:
        answer: dict[str, object] = {
            "type": "session.restore.response",
            "request": ask.request,
            "found": bool(found),
        }
        if found:
            answer["session"] = session_view(found[0])
        return answer

    async def _agent(self, frame: AgentGet) -> AgentView:
        def look() -> AgentView:
            wanted = frame.agent_id
            if wanted is None:
                wanted = next((each.id for each in self.agents.list() if each.is_default), None)
            if wanted is None:
                raise Refused("No agents available", Code.AGENT_UNKNOWN)
            view = agent_view(self.agents.get(wanted))
            view["identity"] = self.agents.identity(wanted).digest
            return view

        return await self.blocking(look)


def session_view(row: SessionSummary, *, with_agent: bool = True) -> SessionView:
    """Return a session as clients see it; the summary is its last goal."""
    view: SessionView = {
        "session_key": row.key,
        "last_active_ms": row.active_ms,
        "message_count": row.message_count,
        "summary": row.last_goal,
    }
    if with_agent:
        view["agent_id"] = row.agent
    return view


def agent_view(agent: AgentInfo) -> AgentView:
    """Return an agent as clients see it."""
    return {
        "id": agent.id,
        "name": agent.name,
        "description": agent.description,
        "is_default": agent.is_default,
        "identity_loaded": agent.identity_loaded,
    }


def _summaries(state: State) -> list[MemoryItem]:
    rows = [summary.record(state.sid, in_ram=True) for summary in state.ram.summaries()]
    return [item_of(row, "ram") for row in reversed(rows)]


def _active(state: State) -> list[MemoryItem]:
    rows = [entry.record(state.sid, in_ram=True) for entry in state.ram.entries()]
    return [item_of(row, "ram") for row in reversed(rows)]


def _entries_and_tombstones(state: State) -> list[MemoryItem]:
    rows = [entry.record(state.sid, in_ram=True) for entry in state.ram.entries()]
    rows += [stone.record(state.sid, in_ram=True) for stone in state.ram.tombstones()]
    rows.sort(key=lambda row: row.memory_id, reverse=True)
    return [item_of(row, "ram") for row in rows]


def _beyond(state: State, kinds: tuple[EntryKind, ...], items: list[MemoryItem], limit: int) -> Query:
    """Ask for enough that `limit` are left when those listed from RAM are taken out.

    The rows in RAM are asked for too: one may have left it since, in a commit the read does not see.
    """
    return Query(state.sid, kinds=kinds, exclude_in_ram=False, limit=limit + len(items))


def _with_archive(items: list[MemoryItem], rows: Iterable[EntryRecord], limit: int) -> list[MemoryItem]:
    """Add what the LTM has beyond RAM; an item is listed once, as RAM has it (a correction)."""
    seen = {item["id"] for item in items}
    items = items + [item_of(row, "ltm") for row in rows if row.memory_id not in seen]
    return items[:limit]


def _hit_item(state: State, hit: Hit) -> MemoryItem:
    item: MemoryItem = {
        "kind": "entry",
        "source": hit.source,
        "id": hit.memory_id,
        "role": hit.role,
        "state": "active",
        "related_to": None,
        "content": hit.content,
        "created_at_ms": hit.created_ms,
        "version": hit.version,
        "score": round(hit.score, 4),
    }
    if hit.name is not None:
        item["name"] = hit.name
    if hit.sid != state.sid:
        item["session"] = hit.session_key
    return item
