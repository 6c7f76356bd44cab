"""The reading side of an open link: bytes from the socket, decoded and handed on at once.

No queue stands between a socket and the callback that takes its messages, and no task is woken: all plain
sockets are read by one task for all links (`readiness`), other streams (TLS) by the link's own. Only while
the callback has to wait does another task wait with it, so that pings are answered meanwhile.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

import trio
import trio.abc

from spiderwebd.wire.codec import FrameDecoder, FrameEvent, PeerClose, PeerPing
from spiderwebd.wire.framing import FrameLimits
from spiderwebd.wire.readiness import link_readiness
from spiderwebd.wire.turn import loop_turn
from spiderwebd.wire.writing import FrameWriter

RECEIVE_BYTES = 65_536
"""At 4096 messages of 100 KB cost two to three times the CPU; small ones cost the same."""

SMALL_BYTES = 16_384
"""Read at once between messages, so that what waits for its turn is little."""

READ_AHEAD = 16
"""Messages kept while the callback waits; then the peer is held back by TCP."""

Receive = Callable[[str], Awaitable[None] | None]
"""Takes one text message: at once, or by an awaitable when it has to wait."""


async def _others_first() -> None:
    await trio.lowlevel.checkpoint()


class MessageReader:
    """One link's incoming messages, in order, one at a time."""

    __slots__ = (
        "_backlog",
        "_caught_up",
        "_fault",
        "_going_on",
        "_held",
        "_nursery",
        "_paused",
        "_receive",
        "_socket",
        "_transport",
        "_turn",
        "_writer",
        "close",
        "heard_at",
        "meter",
        "peer_gone",
    )

    def __init__(
        self,
        transport: trio.abc.Stream,
        held: bytes,
        limits: FrameLimits,
        writer: FrameWriter,
        *,
        receive: Receive,
        going_on: Callable[[], bool],
        fault: Callable[[Exception], None],
    ) -> None:
        """Read `held` first, then from `transport`; must be called inside trio.

        Messages go to `receive` as long as `going_on()`, pings are answered through `writer`. What
        `receive` raises goes to `fault(error)`, which must see to it that nothing goes on.
        """
        self.heard_at = trio.current_time()
        """When the peer last sent anything (seconds, trio's clock)."""
        self.meter = FrameDecoder(limits, self.heard_at)
        self.close: PeerClose | None = None
        """The peer's close frame."""
        self.peer_gone = False
        """Whether the peer's end of the stream was seen."""
        self._transport = transport
        self._socket = transport.socket if isinstance(transport, trio.SocketStream) else None
        self._held = held
        self._nursery: trio.Nursery | None = None
        self._paused = trio.Event()
        self._turn = loop_turn()
        self._writer = writer
        self._receive = receive
        self._going_on = going_on
        self._fault = fault
        self._backlog: deque[str] | None = None
        self._caught_up: trio.Event | None = None

    @property
    def ended(self) -> bool:
        """Whether the peer has said its last, by a close frame, a breach (`meter.verdict`) or its end."""
        return self.close is not None or self.meter.verdict is not None or self.peer_gone

    async def run(self, nursery: trio.Nursery) -> None:
        """Hand on messages until the peer has said its last and all of it was taken.

        `nursery` gets a task while `receive` waits.
        """
        await trio.lowlevel.checkpoint()
        self._nursery = nursery
        if self._held:
            held, self._held = self._held, b""
            self._hand_on(self.meter.feed(held, self.heard_at))
        while self._going_on():
            if self._backlog is not None and (self.ended or self._full):
                self._caught_up = trio.Event()
                await self._caught_up.wait()
            if self.ended:
                break
            if self._socket is None:
                self._hand_on(await self._next_events())
            else:
                await self._read_on(self._socket)

    @property
    def _full(self) -> bool:
        """Whether so much waits for the callback that the peer has to be held back."""
        return self._backlog is not None and len(self._backlog) >= READ_AHEAD

    async def _read_on(self, socket: trio.socket.SocketType) -> None:
        """Let the task of all links read, until there is something to decide."""
        self._paused = trio.Event()
        descriptor = socket.fileno()
        with link_readiness().watching(descriptor, partial(self._readable, descriptor)):
            await self._paused.wait()  # without a deadline: the keepalive ends a link that stays silent

    def _readable(self, descriptor: int) -> None:
        if self._paused.is_set():
            return  # the link's own task has not come to it yet
        try:
            data = os.read(descriptor, self._room)
        except BlockingIOError:
            return  # woken for nothing
        except OSError:
            data = b""
        try:
            self._hand_on(self._take(data))
        except Exception as fault:  # nobody but this link is to pay for it
            self._fault(fault)
        if self.ended or self._full or not self._going_on():
            self._paused.set()

    def shut(self) -> None:
        """Hand on nothing more, because `run` has ended.

        To keep the callbacks would keep their link until the collector comes, which is rarely.
        """
        self._receive, self._going_on, self._fault = _drop, _over, _ignore

    async def await_close(self) -> None:
        """Read and throw away until the peer's close frame; the caller owns the deadline."""
        await trio.lowlevel.checkpoint()
        while not self.ended:
            for event in await self._next_events():
                if isinstance(event, PeerClose):
                    self.close = event

    async def _next_events(self) -> list[FrameEvent]:
        try:
            data = await self._read()
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            data = b""
        return self._take(data)

    def _take(self, data: bytes) -> list[FrameEvent]:
        self.heard_at = trio.current_time()
        self.peer_gone = not data
        return self.meter.feed(data, self.heard_at)

    @property
    def _room(self) -> int:
        return RECEIVE_BYTES if self.meter.inside else SMALL_BYTES

    async def _read(self) -> bytes:
        if self._socket is None:
            return bytes(await self._transport.receive_some(RECEIVE_BYTES))
        while True:
            # To try first, as a SocketStream does, would fail nearly always: a call for nothing.
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return os.read(self._socket.fileno(), self._room)
            except BlockingIOError:
                continue  # woken for nothing

    def _hand_on(self, events: list[FrameEvent]) -> None:
        if len(events) < 2:
            self._hand_on_each(events)
            return
        self._writer.hold()  # so that the answers go out in one write
        try:
            self._hand_on_each(events)
        finally:
            self._writer.release()

    def _hand_on_each(self, events: list[FrameEvent]) -> None:
        handed = 0
        for event in events:
            if isinstance(event, PeerPing):
                self._writer.pong(event.payload)
            elif isinstance(event, PeerClose):
                self.close = event
            elif self._backlog is not None:
                self._backlog.append(event)
            elif self._going_on():
                try:
                    waiting = self._receive(event)
                except Exception as fault:
                    self._fault(fault)
                    return
                handed += 1
                if waiting is None and event is not events[-1] and handed >= self._turn.burst:
                    waiting = _others_first()
                if waiting is not None and self._nursery is not None:
                    self._backlog = deque()
                    self._nursery.start_soon(self._receive_waiting, waiting, name="link receive")

    async def _receive_waiting(self, waiting: Awaitable[None]) -> None:
        """Wait with the callback, and hand on what came meanwhile."""
        # No checkpoint first: cancelled there, what is to be awaited never would be.
        backlog = self._backlog
        try:
            await waiting
            while backlog and self._going_on():
                following = self._receive_burst(backlog)
                if following is None:
                    await trio.lowlevel.checkpoint()
                else:
                    await following
        except Exception as fault:
            self._fault(fault)
        finally:
            self._backlog = None
            if self._caught_up is not None:
                self._caught_up.set()

    def _receive_burst(self, backlog: deque[str]) -> Awaitable[None] | None:
        """Hand on a few messages; return what has to be awaited before the next."""
        self._writer.hold()
        try:
            handed = 0
            while backlog and (not handed or handed < self._turn.burst):
                waiting = self._receive(backlog.popleft())
                handed += 1
                if waiting is not None or not self._going_on():
                    return waiting
        finally:
            self._writer.release()
        return None


def _drop(text: str) -> None:
    """Nobody takes messages of a link that has ended."""


def _over() -> bool:
    return False


def _ignore(fault: Exception) -> None:
    """Nobody is told of faults of a link that has ended."""
