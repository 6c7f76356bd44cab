"""Which sessions are awake: attaching, waking, hibernating, draining.

A session is awake while it has a link, an open request or a goal; else it hibernates after
`hibernate_seconds`: its nursery closes and only its rows remain. A key is never adopted: one that
is unknown, or belongs to another principal or agent, is answered with a new session.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from functools import partial

import trio
from pydantic_core import from_json

from spiderwebd.core.codes import Close, Code, Refused
from spiderwebd.core.ram import Ram
from spiderwebd.core.records import RequestState, SessionImage
from spiderwebd.core.state import Chat, State, as_object, revive
from spiderwebd.session.ports import Client, House
from spiderwebd.session.session import Session
from spiderwebd.session.welcome import welcome

KEY_ALPHABET = string.ascii_letters + string.digits
KEY_CHARACTERS = 32


def fresh_key() -> str:
    """Return a new session key: 32 of [A-Za-z0-9], about 190 bits from the system's generator."""
    return "".join(secrets.choice(KEY_ALPHABET) for _ in range(KEY_CHARACTERS))


def fresh_id() -> str:
    """Return a request id for a client that gave none: 16 of [A-Za-z0-9]."""
    return "".join(secrets.choice(KEY_ALPHABET) for _ in range(16))


@dataclass(slots=True)
class Registry:
    """Every awake session by key, inside one nursery that the daemon owns."""

    house: House
    limit: int
    hibernate_seconds: float
    awake: dict[str, Session] = field(default_factory=dict)
    draining: bool = False
    _nursery: trio.Nursery | None = None
    _next_sid: int = 1
    _waking: dict[str, trio.Lock] = field(default_factory=dict)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the sessions until cancelled; wakes those with unfinished work before it reports ready."""
        self._next_sid = await self.house.reader.highest_sid() + 1
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for key in await self.house.reader.unfinished():
                await self._wake(key)
            task_status.started()
            await trio.sleep_forever()

    async def attach(
        self, principal: str, agent: str, key: str | None, after: int | None, client: Client
    ) -> Session:
        """Attach a link to the session with this key, or to a new one.

        Raises:
            Refused: DRAINING when the daemon stops, QUEUE_FULL when too many sessions are awake.
        """
        session = None if key is None else await self._find(key, principal, agent)
        restored = session is not None
        if session is None:
            session = await self._create(principal, agent)
        session.attach(client, partial(welcome, restored=restored, house=self.house), after if restored else None)
        return session

    async def _find(self, key: str, principal: str, agent: str) -> Session | None:
        session = self.awake.get(key) or await self._wake(key, principal, agent)
        if session is None or session.state.principal != principal or session.state.agent != agent:
            return None
        return session

    async def _wake(
        self, key: str, principal: str | None = None, agent: str | None = None
    ) -> Session | None:
        lock = self._waking.setdefault(key, trio.Lock())
        try:
            async with lock:
                session = self.awake.get(key)
                if session is not None and not session.closing:
                    return session
                if session is not None:
                    await session.ended.wait()
                # What the last life of this session submitted must be on disk before it is read.
                await self.house.writer.settled()
                image = await self.house.reader.session(key)
                if image is None:
                    return None
                if principal is not None and (image.session.principal, image.session.agent) != (
                    principal,
                    agent,
                ):
                    return None
                return await self._start(await self._revive(image))
        finally:
            if not lock.locked():
                self._waking.pop(key, None)

    async def _revive(self, image: SessionImage) -> State:
        chats = []
        for record in image.requests:
            if record.state is RequestState.OPEN and record.goal_id is None and record.memory_id is not None:
                stored = await self.house.reader.memory(image.session.sid, record.memory_id)
                text = stored.content if stored is not None else ""
                chats.append(Chat(record.request, record.memory_id, text, record.created_ms))
        return revive(image, self.house.rules, as_object(from_json(image.session.extra)), chats)

    async def _create(self, principal: str, agent: str) -> Session:
        now = self.house.clock.wall_ms()
        sid, self._next_sid = self._next_sid, self._next_sid + 1
        state = State(
            sid=sid,
            key=fresh_key(),
            principal=principal,
            agent=agent,
            created_ms=now,
            active_ms=now,
            rules=self.house.rules,
            ram=Ram(self.house.rules.budget),
        )
        committed = trio.Event()
        # The key is about to be told to a client: it must be on disk first.
        await self.house.writer.submit([state.record()], lambda durable: committed.set())
        await committed.wait()
        return await self._start(state)

    async def _start(self, state: State) -> Session:
        nursery = self._nursery
        if nursery is None or self.draining:
            raise Refused("The daemon is stopping; connect again soon.", Code.DRAINING, 1000)
        if len(self.awake) >= self.limit:
            raise Refused(f"{self.limit} sessions are awake; try again later.", Code.QUEUE_FULL, 5000)
        session = Session(state, self.house)
        self.awake[state.key] = session
        await nursery.start(self._live, session, name=f"session:{state.sid}")
        return session

    async def _live(
        self, session: Session, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """The wall: a bug inside a session costs that session and its links, nothing else."""
        try:
            await session.run(task_status)
        except* Exception as group:
            self.house.on_fault("session", group, session.key)
        finally:
            if self.awake.get(session.key) is session:
                del self.awake[session.key]
            for client in list(session.links):
                client.close(Close.INTERNAL, "the session failed; connect again and resume")
            session.links.clear()

    def hibernate(self) -> None:
        """Close the sessions that have been quiet long enough; called by a sweep."""
        now = self.house.clock.monotonic()
        for session in list(self.awake.values()):
            if not session.closing and session.quiet and now - session.idle_since >= self.hibernate_seconds:
                session.close()

    async def drain(self, deadline: float) -> None:
        """Let what runs come to an end until `deadline` (trio time), then cancel every session.

        What is cancelled stays open in its rows, and goes on when the daemon starts again.
        """
        self.draining = True
        for session in self.awake.values():
            session.drain()
        with trio.move_on_at(deadline):
            for session in list(self.awake.values()):
                await session.at_rest()
        await self.house.writer.settled()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason="the daemon stops")
