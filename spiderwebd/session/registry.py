"""Which sessions are awake: attaching, waking, hibernating, draining.

A session is awake while it has a link, an open request or a goal; else it hibernates after
`hibernate_seconds`: its nursery closes and only its rows remain. A key is never adopted: one that
is unknown, or belongs to another principal or agent, is answered with a new session.
"""

from __future__ import annotations

import secrets
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import trio
from pydantic_core import from_json

from spiderwebd import log
from spiderwebd.core import limits
from spiderwebd.core.codes import Close, Code, Refused, SpiderwebError
from spiderwebd.core.pending import Chat
from spiderwebd.core.ram import Ram
from spiderwebd.core.records import RequestState, SessionImage, SessionRecord
from spiderwebd.core.shares import Share
from spiderwebd.core.state import State, as_object, revive
from spiderwebd.core.suggestions import due_at
from spiderwebd.session.ports import Client, House
from spiderwebd.session.session import Session
from spiderwebd.session.welcome import welcome
from spiderwebd.store.retention import Removal

KEY_ALPHABET = string.ascii_letters + string.digits
KEY_CHARACTERS = 32
ID_CHARACTERS = 16
_LETTERS = bytes(ord(KEY_ALPHABET[byte % len(KEY_ALPHABET)]) for byte in range(256))
_SURPLUS = bytes(range(256 - 256 % len(KEY_ALPHABET), 256))
"""Bytes that would make some letters likelier than others."""
RETRY_MS = 1000
SPEAK_GRACE_MS = 60_000
"""How long past its time a session may still be kept awake for a heartbeat it has to give."""
FLUSH_SECONDS = 2.0
"""For the last commits of a drain whose grace is used up."""


def fresh_key() -> str:
    """Return a new session key: 32 of [A-Za-z0-9], about 190 bits from the system's generator."""
    return _random_letters(KEY_CHARACTERS)


def fresh_id() -> str:
    """Return a request id for a client that gave none: 16 of [A-Za-z0-9]."""
    return _random_letters(ID_CHARACTERS)


def _random_letters(count: int) -> str:
    """Return so many letters of KEY_ALPHABET, each as likely as any other.

    Mostly one question to the system's generator, where `secrets.choice` asks one for every letter.
    """
    letters = b""
    while len(letters) < count:
        letters += secrets.token_bytes(count + count // 4).translate(_LETTERS, _SURPLUS)
    return letters[:count].decode("ascii")


@dataclass(slots=True)
class Registry:
    """Every awake session by key, inside one nursery that the daemon owns."""

    house: House
    limit: int
    """Sessions awake at once."""
    hibernate_seconds: float
    awake: dict[str, Session] = field(default_factory=dict)
    draining: bool = False
    _nursery: trio.Nursery | None = None
    _next_sid: int = 1
    _waking: dict[str, trio.Lock] = field(default_factory=dict)
    _making: int = 0
    """Places given to sessions that are being read or written and are not awake yet."""
    _crowded: bool = False
    """Whether somebody was refused for want of a place; then quiet sessions hibernate at once."""
    _place_free: trio.Event = field(default_factory=trio.Event)
    _unfinished: dict[str, None] = field(default_factory=dict)
    """Keys of sessions that an earlier run left with open work, and that are not awake yet."""
    _unwritten: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Sessions that ended while the disk failed, key to owner: their rows are older than what was shown."""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the sessions until cancelled; those with unfinished work are woken behind its readiness."""
        self._next_sid = await self.house.reader.highest_sid() + 1
        self._unfinished = dict.fromkeys(await self.house.reader.unfinished())
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await self._take_up()
            await trio.sleep_forever()

    async def _take_up(self) -> None:
        """Wake what an earlier run left unfinished, as places come free; a bad one costs only itself."""
        for key in list(self._unfinished):
            while not self.draining and len(self.awake) + self._making >= self.limit:
                self._crowded = True
                self._place_free = trio.Event()
                await self._place_free.wait()
            if self.draining:
                return
            try:
                await self._wake(key)
            except Exception as error:
                self._fault(error, key)
            self._unfinished.pop(key, None)

    async def attach(
        self, principal: str, agent: str, key: str | None, after: int | None, client: Client
    ) -> Session:
        """Attach a link to the session with this key, or to a new one.

        Raises:
            Refused: DRAINING when the daemon stops, QUEUE_FULL when too many sessions are awake,
                INTERNAL when the session cannot be read.
            StorageUnavailable: the session cannot be read, or a new one not be written, now.
        """
        await self.house.personas.current(agent)
        session = None if key is None else await self._find(key, principal, agent)
        restored = session is not None
        if session is None:
            session = await self._create(principal, agent)
        # No other task runs between finding it and this: it cannot have ended meanwhile.
        opening = partial(welcome, restored=restored, house=self.house)
        session.attach(client, opening, after if restored else None)
        return session

    async def _find(self, key: str, principal: str, agent: str) -> Session | None:
        session = self.awake.get(key)
        if session is None or session.over:
            try:
                session = await self._wake(key, principal, agent)
            except SpiderwebError:
                raise
            except Exception as error:
                self._fault(error, key)
                message = "This session cannot be read; the daemon's log says why."
                raise Refused(message, Code.INTERNAL) from error
        if session is None or session.state.principal != principal or session.state.agent != agent:
            return None
        return session

    async def _wake(self, key: str, principal: str | None = None, agent: str | None = None) -> Session | None:
        lock = self._waking.setdefault(key, trio.Lock())
        try:
            async with lock:
                session = self.awake.get(key)
                if session is not None and not session.over:
                    return session
                if session is not None:
                    await session.ended.wait()
                # What the last life of this session submitted must be on disk before it is read.
                await self.house.writer.settled()
                self._refuse_if_unwritten(key, principal, agent)
                image = await self.house.reader.session(key, self.house.rules.requests_kept)
                if image is None:
                    return None
                owner = (image.session.principal, image.session.agent)
                if principal is not None and owner != (principal, agent):
                    return None
                self._take_place()
                try:
                    return self._start(await self._revive(image))
                finally:
                    self._give_back_place()
        finally:
            if not lock.locked():
                self._waking.pop(key, None)

    def _refuse_if_unwritten(self, key: str, principal: str | None, agent: str | None) -> None:
        owner = self._unwritten.get(key)
        if owner is None or (principal is not None and owner != (principal, agent)):
            return  # to anybody else it is as good as unknown
        if self.house.writer.degraded is not None:
            message = "What this session did last is not on disk yet; connect again later."
            raise Refused(message, Code.STORAGE_UNAVAILABLE, RETRY_MS)
        del self._unwritten[key]

    async def _revive(self, image: SessionImage) -> State:
        chats = []
        for record in image.requests:
            if record.state is RequestState.OPEN and record.goal_id is None and record.memory_id is not None:
                stored = await self.house.reader.memory(image.session.sid, record.memory_id)
                text = stored.content if stored is not None else ""
                chats.append(Chat(record.request, record.memory_id, text, record.created_ms))
        beat = as_object(from_json(image.session.extra))
        return revive(image, self.house.rules, beat, chats, self.house.totals)

    async def _create(self, principal: str, agent: str) -> Session:
        self._take_place()
        try:
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
                share=Share(self.house.totals),
            )
            committed = trio.Event()
            # The key is about to be told to a client: it must be on disk first.
            row = state.record()
            await self.house.writer.submit([row], lambda durable: committed.set())
            await committed.wait()
            return self._start(state, row)
        finally:
            self._give_back_place()

    def _take_place(self) -> None:
        """Hold a place for a session on its way, to be given back; raises Refused when there is none."""
        self._refuse_if_draining()
        if len(self.awake) + self._making >= self.limit:
            self._crowded = True
            message = f"{self.limit} sessions are awake; try again later."
            raise limits.SESSIONS.refused(message)
        self._making += 1

    def _give_back_place(self) -> None:
        self._making -= 1
        self._place_free.set()

    def _start(self, state: State, row: SessionRecord | None = None) -> Session:
        """Let a session live; `row` is the one of a session that has just been made."""
        nursery = self._refuse_if_draining()
        taken_over = state.key in self._unfinished
        self._unfinished.pop(state.key, None)
        session = Session(state, self.house, taken_over=taken_over, new_row=row)
        self.awake[state.key] = session
        nursery.start_soon(self._live, session, name=f"session:{state.sid}")
        return session

    def _refuse_if_draining(self) -> trio.Nursery:
        if self._nursery is None or self.draining:
            raise Refused("The daemon is stopping; connect again soon.", Code.DRAINING, RETRY_MS)
        return self._nursery

    async def _live(self, session: Session) -> None:
        """The wall: a bug inside a session costs that session and its links, nothing else."""
        code, reason = Close.GOING_AWAY, "the daemon stops; connect again and resume"
        try:
            with log.bound(session=session.key, agent=session.state.agent):
                await session.run()
        except* Exception as group:
            code, reason = Close.INTERNAL, "the session failed; connect again and resume"
            self._fault(group, session.key)
        finally:
            if self.house.writer.degraded is not None:
                self._unwritten[session.key] = (session.state.principal, session.state.agent)
            if self.awake.get(session.key) is session:
                del self.awake[session.key]
            session.links.close_all(code, reason)
            self._place_free.set()

    def _fault(self, error: BaseException, key: str) -> None:
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        self.house.on_fault("session", error, key)

    def hibernate(self) -> None:
        """Close the sessions that have been quiet long enough; called by a sweep.

        While the disk fails nobody goes to sleep: rows may be older than what was shown.
        """
        if self.house.writer.degraded is not None:
            return
        patience = 0.0 if self._crowded else self.hibernate_seconds
        self._crowded = False
        now = self.house.clock.monotonic()

        def look_at(session: Session) -> None:
            if session.closing or now - session.idle_since < patience:
                return
            if session.quiet and not self._has_to_speak(session.state):
                session.close()

        unattended = self.house.unattended
        _look((self.awake[key] for key in unattended if key in self.awake), look_at)

    def each(self, look_at: Callable[[Session], None]) -> None:
        """Do something for every awake session; a bug it meets in one ends that one, at its own wall."""
        _look(self.awake.values(), look_at)

    def each_attentive(self, look_at: Callable[[Session], None]) -> None:
        """As `each`, for those sessions that time alone may give something to do."""
        _look(self._attentive, look_at)

    @property
    def _attentive(self) -> Iterator[Session]:
        return (self.awake[key] for key in self.house.attentive if key in self.awake)

    def _has_to_speak(self, state: State) -> bool:
        due_ms = due_at(state)
        return due_ms is not None and self.house.clock.wall_ms() < due_ms + SPEAK_GRACE_MS

    @property
    def busy(self) -> bool:
        """Whether anything of an awake session waits or runs."""
        return any(session.state.busy for session in self._attentive)

    def note_storage(self) -> None:
        """Let sessions that are watched look at the disk."""
        self.each(Session.note_storage)

    def note_removals(self, removals: Iterable[Removal]) -> None:
        """Take in what retention removed: awake sessions say so, and know from where on they can replay.

        Sessions that are asleep are not woken for it; the store keeps a row for every removal.
        """
        removed: dict[int, Counter[str]] = {}
        for removal in removals:
            removed.setdefault(removal.sid, Counter())[removal.kind] += removal.count

        def tell(session: Session) -> None:
            for kind, count in removed.get(session.state.sid, Counter()).items():
                if kind == "event":
                    session.note_pruned(count)
                elif kind in ("memory", "archive"):
                    session.note_removed(kind, count)

        self.each(tell)

    async def drain(self, deadline: float) -> None:
        """Let what runs come to an end until `deadline` (trio time), then cancel every session.

        What is cancelled stays open in its rows, and goes on when the daemon starts again.
        """
        self.draining = True
        self._place_free.set()
        self.each(Session.drain)
        with trio.move_on_at(deadline):
            for session in list(self.awake.values()):
                await session.at_rest()
        with trio.move_on_at(max(deadline, trio.current_time() + FLUSH_SECONDS)):
            await self.house.writer.settled()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason="the daemon stops")


def _look(sessions: Iterable[Session], look_at: Callable[[Session], None]) -> None:
    for session in list(sessions):
        try:
            look_at(session)
        except Exception as error:
            session.fail(error)
