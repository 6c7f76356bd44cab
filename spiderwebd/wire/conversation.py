"""A link and its session: who speaks, to which session, and every frame from one to the other.

A link whose door found a principal is attached before its first message is read; any other must
send `connect` with a token first, within a deadline, and hears session.ack only then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from spiderwebd.core.codes import Close, Code, Refused
from spiderwebd.core.frames import error_frame, render
from spiderwebd.core.protocol import BadFrame, Connect, parse
from spiderwebd.session.registry import Registry
from spiderwebd.session.session import Session
from spiderwebd.tokens import Principal
from spiderwebd.wire.door import Admitted
from spiderwebd.wire.keepalive import KeepaliveSweep
from spiderwebd.wire.link import Link, LinkEnd, LinkLimits

RETRY_MS = 1000


@dataclass(frozen=True, slots=True)
class Reception:
    """What every conversation shares; made once by the daemon."""

    registry: Registry
    keepalive: KeepaliveSweep
    verify: Callable[[str], Principal | None]
    limits: Callable[[], LinkLimits]
    connect_seconds: float
    inbox_seconds: float
    """How long a frame may wait for room in a full inbox before it is refused."""
    on_attach: Callable[[Principal, str, str, str], None]
    """(principal, agent, session key, peer): the audit record."""
    on_refused: Callable[[str], None]
    """(peer): a token that is not valid."""
    on_end: Callable[[LinkEnd, str], None]
    """(how the link ended, session key or empty)"""

    async def serve_link(self, admitted: Admitted) -> None:
        """Run one link from its upgrade to its end."""
        link = Link(admitted.stream, admitted.peer, self.limits())
        conversation = Conversation(self, admitted, link)
        try:
            with self.keepalive.watching(link):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(conversation.introduce, name="introduce")
                    await link.run(conversation.receive)
                    nursery.cancel_scope.cancel(reason="the link ended")
        finally:
            session = conversation.session
            if session is not None:
                session.detach(conversation)
            if link.end is not None:
                self.on_end(link.end, "" if session is None else session.key)


class Conversation:
    """One link as its session sees it (session.ports.Client)."""

    __slots__ = ("_admitted", "_attached", "_link", "_reception", "session")

    def __init__(self, reception: Reception, admitted: Admitted, link: Link) -> None:
        self.session: Session | None = None
        self._reception = reception
        self._admitted = admitted
        self._link = link
        self._attached = trio.Event()

    def send(self, text: str) -> bool:
        """Queue one frame without waiting; False when the link is ending."""
        return self._link.send(text)

    def close(self, code: Close, reason: str) -> None:
        """Begin the end of the link."""
        self._link.close(code, reason)

    async def drained(self) -> bool:
        """Wait until everything queued is written; False when the link has ended."""
        return await self._link.outbox.drained()

    async def introduce(self) -> None:
        """Attach a link whose principal is known; else wait for connect, within a deadline."""
        admitted = self._admitted
        if admitted.principal is not None:
            await self._attach(admitted.principal, admitted.session_key, admitted.after)
            return
        with trio.move_on_after(self._reception.connect_seconds):
            await self._attached.wait()
            return
        seconds = self._reception.connect_seconds
        self._refuse(Code.UNAUTHORIZED, f"No connect frame with a token came within {seconds:g} seconds.")
        self._link.close(Close.CONNECT_TIMEOUT)

    async def receive(self, text: str) -> None:
        """Take one text message from the peer."""
        try:
            frame = parse(text)
        except BadFrame as bad:
            self._refuse(bad.code, bad.message, bad.request)
            if self.session is None and self._admitted.principal is None:
                self._link.close(Close.UNAUTHORIZED)
            return
        session = self.session
        if session is None:
            if self._admitted.principal is None:
                await self._connect(frame)
                return
            await self._attached.wait()  # bounded: a failed attach closes the link
            session = self.session
            if session is None:
                return
        if not session.receive(self, frame):
            with trio.move_on_after(self._reception.inbox_seconds):
                await session.room()
            if not session.receive(self, frame):
                message = "Too many requests of this session wait; try again later."
                self._refuse(Code.QUEUE_FULL, message, frame.id, RETRY_MS)

    async def _connect(self, frame: object) -> None:
        if not isinstance(frame, Connect) or frame.token is None:
            self._refuse(Code.UNAUTHORIZED, "The first frame must be connect with a token.")
            self._link.close(Close.UNAUTHORIZED)
            return
        principal = self._reception.verify(frame.token)
        if principal is None:
            self._reception.on_refused(self._admitted.peer.address)
            self._refuse(Code.UNAUTHORIZED, "This token is not valid.")
            self._link.close(Close.UNAUTHORIZED)
            return
        key, after = self._admitted.session_key, self._admitted.after
        if frame.resume is not None:
            key, after = frame.resume.sessionKey, frame.resume.after
        await self._attach(principal, key, after)

    async def _attach(self, principal: Principal, key: str | None, after: int | None) -> None:
        agent = self._admitted.agent
        try:
            self.session = await self._reception.registry.attach(principal.name, agent, key, after, self)
        except Refused as refused:
            self._refuse(refused.code, refused.message, None, refused.retry_after_ms)
            self._link.close(Close.GOING_AWAY if refused.code is Code.DRAINING else Close.TRY_AGAIN)
        else:
            self._reception.on_attach(principal, agent, self.session.key, self._admitted.peer.address)
        finally:
            self._attached.set()

    def _refuse(
        self, code: Code, message: str, request: str | None = None, retry_after_ms: int | None = None
    ) -> None:
        frame = error_frame(message, code, request=request, retry_after_ms=retry_after_ms)
        self._link.send(render(frame))
