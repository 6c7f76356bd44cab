"""The front door: every accepted socket passes here before anything of websockets sees it.

It reads one HTTP head, bounded in bytes and time, answers health, metrics and refusals, and hands
a checked websocket upgrade on. Each connection runs inside a wall: a fault costs that connection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

import trio
import trio.abc

from spiderwebd.core import limits
from spiderwebd.core.codes import Code, Refused
from spiderwebd.core.limits import Limit
from spiderwebd.core.values import value
from spiderwebd.tokens import Principal, Role
from spiderwebd.wire.head import (
    Head,
    HeadReader,
    HttpRefused,
    bearer_token,
    check_method,
    check_origin,
    check_text,
    render_answer,
    render_refusal,
    stream_target,
    unauthorized,
    upgrade_head,
    websocket_key,
)
from spiderwebd.wire.listen import Peer, peer_of
from spiderwebd.wire.streams import ReplayStream, close_lingering

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format."""

OVERFLOW_UID = 65_534
"""What the kernel reports for every user that a namespace does not map (user_namespaces(7)).

It stands for many people at once, so it is nobody: such a peer needs a token.
"""

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass(frozen=True, slots=True)
class DoorRules:
    """Bounds of the door; times in seconds."""

    head_bytes: int = 16_384
    """The figure of h11, nginx and Apache, within a factor of two."""
    head_seconds: float = 5.0
    """From accept to the end of the head, TLS handshake included."""
    handshakes: int = 512
    """Heads being read at once; one more costs the oldest its place."""
    links: int = 10_000
    answer_seconds: float = 2.0
    """From the answer to the closed socket, whether or not the peer took it."""
    allowed_origins: frozenset[str] = frozenset()
    retry_after_ms: int = 1_000


@value(frozen=True, slots=True)
class Admitted:
    """A client that may become a link."""

    stream: trio.abc.Stream
    """Starts before a websocket request head; what the client sent beyond its own follows."""
    peer: Peer
    agent: str
    session_key: str | None
    """A secret: never in a log, a metric or an error."""
    after: int | None
    principal: Principal | None
    """None: a connect frame with a token must come first."""
    arrived: Callable[[], None] = lambda: None
    """To be called when the client is attached or refused, or has to speak first."""


class Door:
    """Handler for `trio.serve_listeners`, one call a connection; never raises an Exception."""

    def __init__(
        self,
        rules: DoorRules,
        *,
        serve_link: Callable[[Admitted], Awaitable[None]],
        verify: Callable[[str], Principal | None],
        readiness: Callable[[], Refused | None],
        metrics: Callable[[], bytes],
        may_read_metrics: Callable[[Principal | None, Peer], bool],
        on_fault: Callable[[str, BaseException], None],
        overload: Callable[[], str] = str,
    ) -> None:
        """Keep the rules and what to ask.

        `serve_link` runs a link to its end, `verify` finds whom a token stands for in constant
        time, `readiness` says why the daemon is not ready (None: it is), `on_fault` takes the
        place ("door" or "link") and the exceptions that a wall stopped, `overload` says why new
        links are shed (empty: they are not).
        """
        self._rules = rules
        self._serve_link = serve_link
        self._verify = verify
        self._readiness = readiness
        self._metrics = metrics
        self._may_read_metrics = may_read_metrics
        self._on_fault = on_fault
        self._overload = overload
        self._reading: dict[trio.CancelScope, None] = {}
        self.draining = False
        """Set by the daemon: health is still answered, new links are refused."""
        self._arriving = 0
        self._arrived = trio.Event()
        self.links = 0
        """Links being served now."""
        self.answers: Counter[int] = Counter()
        """HTTP answers given, by status; 101 counts the links handed on."""
        self.refused: Counter[str] = Counter()
        """Connections refused before they were a link, by stable code."""
        self.faults = 0
        """Connections that a fault of the daemon ended."""

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one accepted connection to its end and close it."""
        try:
            await self._serve(stream)
        except* _GONE:
            pass  # The peer left in the middle of its head or of the answer: nobody to tell.
        except* Exception as faults:
            self._fault("door", faults)
        finally:
            await trio.aclose_forcefully(stream)

    async def arrivals_done(self) -> None:
        """Wait until every connection that was accepted is answered, or attached to its session."""
        while self._arriving:
            self._arrived = trio.Event()
            await self._arrived.wait()

    def _arrival(self) -> Callable[[], None]:
        """Count a connection as arriving; what is returned ends that, however often it is called."""
        under_way = [True]
        self._arriving += 1

        def done() -> None:
            if under_way:
                under_way.clear()
                self._arriving -= 1
                if not self._arriving:
                    self._arrived.set()

        return done

    async def _serve(self, stream: trio.abc.Stream) -> None:
        try:
            peer = peer_of(stream)
        except OSError:
            await trio.lowlevel.checkpoint()
            return  # Reset between connect and accept.
        arrived = self._arrival()
        try:
            answer = await self._receive(stream, peer, arrived)
            if isinstance(answer, Admitted):
                await self._run_link(answer)
                return
            with trio.move_on_after(self._rules.answer_seconds):
                await stream.send_all(answer)
                arrived()
                await close_lingering(stream)
        finally:
            arrived()

    async def _receive(
        self, stream: trio.abc.Stream, peer: Peer, arrived: Callable[[], None]
    ) -> bytes | Admitted:
        """Read a head and decide. Apart from `_serve`, so that a link does not keep its head alive."""
        head = None
        try:
            head = await self._read_head(stream)
            return self._consider(head, peer, stream, arrived)
        except _GONE:
            raise
        except HttpRefused as refused:
            return self._refusal(refused, head)
        except Exception as fault:
            self._fault("door", fault)
            message = "A fault of the daemon; its log has the details."
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            return self._refusal(HttpRefused(status, Code.INTERNAL, message), head)

    async def _read_head(self, stream: trio.abc.Stream) -> Head:
        """Read one head. Raises HttpRefused, trio.BrokenResourceError."""
        if len(self._reading) >= self._rules.handshakes:
            # An honest client sends its head at once, so whoever takes longest gives way.
            oldest = next(iter(self._reading))
            del self._reading[oldest]
            oldest.cancel(reason="too many handshakes at once")
        reader = HeadReader(self._rules.head_bytes)
        with trio.move_on_after(self._rules.head_seconds) as deadline:
            self._reading[deadline] = None
            try:
                while True:
                    data = await stream.receive_some(reader.room)
                    if not data and reader.empty:
                        raise trio.BrokenResourceError("the peer closed without a request")
                    head = reader.feed(data)
                    if head is not None:
                        return head
            finally:
                evicted = deadline not in self._reading
                self._reading.pop(deadline, None)
        if evicted:
            raise self._full(limits.HANDSHAKES, "Too many handshakes at once.")
        message = f"No whole request head came within {self._rules.head_seconds:g} seconds."
        raise HttpRefused(HTTPStatus.REQUEST_TIMEOUT, Code.EXPIRED, message)

    def _consider(
        self, head: Head, peer: Peer, stream: trio.abc.Stream, arrived: Callable[[], None]
    ) -> bytes | Admitted:
        """Decide about a head: an answer to send, or a client to admit. Raises HttpRefused."""
        check_text(head)
        check_origin(head, self._rules.allowed_origins)
        if head.path == "/livez":
            return self._answer(head, b"alive\n", "text/plain; charset=utf-8")
        if head.path == "/readyz":
            return self._ready(head)
        if head.path == "/metrics":
            check_method(head, "GET", "HEAD")
            if not self._may_read_metrics(self._principal(head, peer), peer):
                raise unauthorized("Metrics need a valid token, or the unix socket.")
            return self._answer(head, self._metrics(), METRICS_TYPE)
        target = stream_target(head)
        if target is None:
            message = "Nothing is here; links are at /v1/agents/AGENT/stream."
            raise HttpRefused(HTTPStatus.NOT_FOUND, Code.BAD_FRAME, message)
        key = websocket_key(head)
        if self.draining:
            raise self._unavailable(Code.DRAINING, "The daemon is stopping; connect again.")
        overload = self._overload()
        if overload:
            raise self._unavailable(Code.QUEUE_FULL, f"The daemon is overloaded: {overload}.")
        principal = self._principal(head, peer)
        if self.links >= self._rules.links:
            raise self._full(limits.LINKS, f"All {self._rules.links} links are taken.")
        return Admitted(
            ReplayStream(stream, upgrade_head(key) + head.rest),
            peer,
            target.agent,
            target.session_key,
            target.after,
            principal,
            arrived,
        )

    def _ready(self, head: Head) -> bytes:
        check_method(head, "GET", "HEAD")
        if self.draining:
            raise self._unavailable(Code.DRAINING, "The daemon is stopping.")
        trouble = self._readiness()
        if trouble is not None:
            raise self._unavailable(trouble.code, trouble.message)
        return self._answer(head, b"ready\n", "text/plain; charset=utf-8")

    def _principal(self, head: Head, peer: Peer) -> Principal | None:
        """Say who asks: the token's principal, else the unix peer's, else nobody yet.

        Raises HttpRefused with 401 for a token that is not valid.
        """
        token = bearer_token(head)
        if token is not None:
            principal = self._verify(token)
            if principal is None:
                raise unauthorized("This token is not valid.")
            return principal
        if peer.uid is None or peer.uid == OVERFLOW_UID:
            return None
        # The mode of the socket file decides who may connect; only root is more than a user.
        return Principal(f"uid:{peer.uid}", Role.OPERATOR if peer.uid == 0 else Role.USER)

    async def _run_link(self, admitted: Admitted) -> None:
        self.links += 1
        self.answers[HTTPStatus.SWITCHING_PROTOCOLS] += 1
        try:
            await self._serve_link(admitted)
        except* Exception as faults:
            self._fault("link", faults)
        finally:
            self.links -= 1

    def _answer(self, head: Head, body: bytes, content_type: str) -> bytes:
        check_method(head, "GET", "HEAD")
        self.answers[HTTPStatus.OK] += 1
        return render_answer(HTTPStatus.OK, body, content_type, without_body=head.method == "HEAD")

    def _refusal(self, refused: HttpRefused, head: Head | None) -> bytes:
        self.answers[refused.status] += 1
        self.refused[refused.code.value] += 1
        return render_refusal(refused, without_body=head is not None and head.method == "HEAD")

    def _unavailable(self, code: Code, message: str) -> HttpRefused:
        return HttpRefused(
            HTTPStatus.SERVICE_UNAVAILABLE, code, message, retry_after_ms=self._rules.retry_after_ms
        )

    def _full(self, limit: Limit, message: str) -> HttpRefused:
        refused = self._unavailable(limit.code or Code.QUEUE_FULL, message)
        refused.scope, refused.limit = limit.scope.value, limit.key
        return refused

    def _fault(self, where: str, fault: BaseException) -> None:
        self.faults += 1
        while isinstance(fault, BaseExceptionGroup) and len(fault.exceptions) == 1:
            fault = fault.exceptions[0]
        self._on_fault(where, fault)
