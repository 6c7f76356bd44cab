"""A link and its session: who speaks, to which session, and every frame from one to the other.

A link whose door found a principal is attached before its first message is read; any other must
send `connect` with a token first, within a deadline, and hears session.ack only then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass, field

import trio

from spiderwebd.core import limits
from spiderwebd.core.codes import Close, Code, SpiderwebError
from spiderwebd.core.frames import Error, error_frame, pong_frame, refusal_frame, render
from spiderwebd.core.protocol import SIGNALS, AnyFrame, BadFrame, Connect, Ping, parse
from spiderwebd.metrics import Metrics
from spiderwebd.session.registry import Registry
from spiderwebd.session.session import Session
from spiderwebd.tokens import Principal
from spiderwebd.wire.carrier import link_on
from spiderwebd.wire.door import Admitted
from spiderwebd.wire.keepalive import KeepaliveSweep
from spiderwebd.wire.link import Link, LinkEnd, LinkLimits
from spiderwebd.wire.quotas import PrincipalRates, Quota

RETRY_MS = 1000
UNIX_USER = "uid:"
"""How the names of principals begin that the kernel vouches for; they have no token to revoke."""
CLOSED_WITH = {Code.DRAINING: Close.GOING_AWAY, Code.INTERNAL: Close.INTERNAL}
"""How a link that got no session is closed; any other reason may pass: 1013, try again."""


@dataclass(frozen=True, slots=True)
class Reception:
    """What every conversation shares; made once by the daemon."""

    registry: Registry
    keepalive: KeepaliveSweep
    verify: Callable[[str], Principal | None]
    limits: Callable[[], LinkLimits]
    connect_seconds: float
    """For the connect frame of a link whose door found no principal."""
    on_attach: Callable[[Principal, str, str, str], None]
    """(principal, agent, session key, peer): the audit record."""
    on_refused: Callable[[str], None]
    """(peer): a token that is not valid."""
    on_end: Callable[[LinkEnd, str], None]
    """(how the link ended, session key or empty)"""
    links_per_principal: Callable[[], int] = lambda: 20_000
    """Open links of one principal at once."""
    rates: Callable[[], PrincipalRates] = PrincipalRates
    """What one principal may send a second, over all its links."""
    attach_seconds: float = 20.0
    """For reading or writing the session's rows; a disk that takes longer is as good as none."""
    metrics: Metrics = field(default_factory=Metrics)
    open_links: dict[str, set[Conversation]] = field(default_factory=dict)
    """Attached links by principal."""
    quotas: dict[str, Quota] = field(default_factory=dict)
    """By principal; no more than tokens were made and users of this machine came."""

    def close_revoked(self, known: Container[str]) -> None:
        """End the links of every principal whose token is not `known` any more."""
        for name in [name for name in self.open_links if not name.startswith(UNIX_USER)]:
            if name not in known:
                for conversation in list(self.open_links[name]):
                    conversation.close(Close.REVOKED, "")

    async def serve_link(self, admitted: Admitted) -> None:
        """Run one link from its upgrade to its end."""
        link = link_on(admitted.stream, admitted.peer, self.limits())
        conversation = Conversation(self, admitted, link)
        self.keepalive.watch(link)
        try:
            if admitted.principal is None:
                await conversation.run_unknown()
            else:
                await conversation.run(admitted.principal)
        finally:
            self.keepalive.forget(link)
            conversation.leave()
            if link.end is not None:
                session = conversation.session
                self.on_end(link.end, "" if session is None else session.key)


class Conversation:
    """One link as its session sees it (session.ports.Client)."""

    __slots__ = ("_admitted", "_known", "_link", "_principal", "_quota", "_reception", "session")

    def __init__(self, reception: Reception, admitted: Admitted, link: Link) -> None:
        self.session: Session | None = None
        self._reception = reception
        self._admitted = admitted
        self._link = link
        self._known = trio.Event()
        self._principal: str | None = None
        self._quota: Quota | None = None

    def send(self, text: str) -> bool:
        """Queue one frame without waiting; False when the link is ending."""
        return self._link.send(text)

    def hold(self) -> None:
        """Let frames wait for `release`, to go out together."""
        self._link.hold()

    def release(self) -> None:
        """Write the frames that were held."""
        self._link.release()

    def close(self, code: Close, reason: str) -> None:
        """Begin the end of the link."""
        self._link.close(code, reason)

    async def drained(self) -> bool:
        """Wait until everything queued is written; False when the link has ended."""
        return await self._link.drained()

    async def run(self, principal: Principal) -> None:
        """Attach, then talk until the link ends; the upgrade is answered once it is attached."""
        fault: Exception | None = None
        self._reception.metrics.requests_received += 1
        try:
            await self._attach(principal, self._admitted.session_key, self._admitted.after)
        except Exception as error:  # the peer is told by a close frame before the wall takes it
            fault = error
            self._link.close(Close.INTERNAL)
        self._admitted.arrived()
        await self._link.run(self.receive)
        if fault is not None:
            raise fault

    async def run_unknown(self) -> None:
        """Talk to a peer that has to say first who it is."""
        self._admitted.arrived()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._await_connect, name="connect deadline")
            await self._link.run(self.receive)
            nursery.cancel_scope.cancel(reason="the link ended")

    async def _await_connect(self) -> None:
        seconds = self._reception.connect_seconds
        with trio.move_on_after(seconds) as deadline:
            await self._known.wait()
        if deadline.cancelled_caught:
            self._reception.metrics.requests_received += 1
            self._refuse(Code.UNAUTHORIZED, f"No connect frame with a token came within {seconds:g} seconds.")
            self._link.close(Close.CONNECT_TIMEOUT)

    def leave(self) -> None:
        """Let the session go; nothing of it is cancelled."""
        if self.session is not None:
            self.session.detach(self)
        if self._principal is not None:
            links = self._reception.open_links
            links[self._principal].discard(self)
            if not links[self._principal]:
                del links[self._principal]
            self._principal = None

    def receive(self, text: str) -> Awaitable[None] | None:
        """Take one text message from the peer; what is returned has to be awaited before the next."""
        try:
            frame = parse(text)
        except BadFrame as bad:
            self._reception.metrics.requests_received += 1
            self._refuse(bad.code, bad.message, bad.request)
            if self.session is None:
                self._link.close(Close.UNAUTHORIZED)
            return None
        session = self.session
        if session is None:
            self._reception.metrics.requests_received += 1
            return self._connect(frame)
        self._reception.metrics.requests_received += not isinstance(frame, SIGNALS)
        if self._exceeds(text, frame):
            return None
        if isinstance(frame, Ping) and not session.has_mail:
            # Answered here, ahead of commits under way, but never ahead of frames not yet looked at.
            self._link.send(render(pong_frame(frame.id, session.house.clock.wall_ms())))
            return None
        if session.receive(self, frame):
            return None
        return self._wait_for_room(session, frame)

    async def _wait_for_room(self, session: Session, frame: AnyFrame) -> None:
        taken = False
        try:
            with trio.move_on_after(session.house.inbox_seconds):
                while not taken:  # others wait for the same room
                    await session.room()
                    taken = session.receive(self, frame)
        finally:
            if not taken:  # also when the link ends meanwhile: then nobody hears it, but it is counted
                message = "Too many requests of this session wait; try again later."
                self._refuse_frame(frame, limits.INBOX.error(message, frame.id))

    def _exceeds(self, text: str, frame: AnyFrame) -> bool:
        """Refuse a message that is more than its principal may send now; False when it may."""
        rates = self._reception.rates()
        if self._quota is None or not rates.bounds_messages:
            return False
        size = len(text) if text.isascii() else len(text.encode())
        excess = self._quota.message(trio.current_time(), size, rates)
        if excess is None:
            return False
        self._refuse_frame(frame, excess.limit.error(excess.message, frame.id, excess.retry_after_ms))
        return True

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
        self._known.set()
        key, after = self._admitted.session_key, self._admitted.after
        if frame.resume is not None:
            key, after = frame.resume.sessionKey, frame.resume.after
        await self._attach(principal, key, after)

    async def _attach(self, principal: Principal, key: str | None, after: int | None) -> None:
        reception, agent = self._reception, self._admitted.agent
        decided = False
        try:
            self._take_place(principal)
            session = None
            with trio.move_on_after(reception.attach_seconds):
                session = await reception.registry.attach(principal.name, agent, key, after, self)
        except SpiderwebError as refused:
            decided = True
            self._say_refused(refusal_frame(refused, None))
            self._link.close(CLOSED_WITH.get(refused.code, Close.TRY_AGAIN))
        else:
            decided = True
            if session is None:
                message = f"The session could not be opened within {reception.attach_seconds:g} seconds."
                self._refuse(Code.STORAGE_UNAVAILABLE, message, None, RETRY_MS)
                self._link.close(Close.TRY_AGAIN)
                return
            self.session = session
            reception.metrics.requests_served += 1
            reception.on_attach(principal, agent, session.key, self._admitted.peer.address)
        finally:
            if not decided:  # the link ended meanwhile, or a bug came in between
                reception.metrics.requests_refused[Code.CANCELLED.value] += 1

    def _take_place(self, principal: Principal) -> None:
        """Count this link for its principal. Raises Refused when that has as many as it may."""
        links, limit = self._reception.open_links, self._reception.links_per_principal()
        if len(links.get(principal.name, ())) >= limit:
            message = f"{principal.name} has {limit} links open; close one, or try again later."
            raise limits.LINKS_PER_PRINCIPAL.refused(message)
        quota = self._reception.quotas.setdefault(principal.name, Quota())
        excess = quota.attach(trio.current_time(), self._reception.rates())
        if excess is not None:
            raise excess.limit.refused(excess.message, excess.retry_after_ms)
        self._quota = quota
        links.setdefault(principal.name, set()).add(self)
        self._principal = principal.name

    def _refuse(
        self, code: Code, message: str, request: str | None = None, retry_after_ms: int | None = None
    ) -> None:
        self._say_refused(error_frame(message, code, request=request, retry_after_ms=retry_after_ms))

    def _refuse_frame(self, frame: AnyFrame, error: Error) -> None:
        # A ping that is refused was a request after all: it has an answer that is counted.
        self._reception.metrics.requests_received += isinstance(frame, SIGNALS)
        self._say_refused(error)

    def _say_refused(self, error: Error) -> None:
        self._reception.metrics.requests_refused[error["code"]] += 1
        self._link.send(render(error))
