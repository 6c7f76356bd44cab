"""One websocket link, and the only module that knows trio-websocket.

What trio-websocket 0.12.2 gets wrong is met here and in `streams`: its reader lives in an outer
nursery of its own, so that a close handshake can finish while our tasks end; one task is the only
sender of messages; a write that misses its deadline ends the link, never skips a frame; a peer that
breaks the protocol is told so by a close frame.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import trio
import trio.abc
import trio_websocket

from spiderwebd.core.codes import CLOSE_MEANINGS, Close
from spiderwebd.wire.framing import FrameLimits, cut_reason
from spiderwebd.wire.listen import Peer
from spiderwebd.wire.outbox import Outbox
from spiderwebd.wire.streams import LinkStream, close_lingering

ABNORMAL = 1006
"""RFC 6455 section 7.4.1: no close frame came. Never sent, only reported."""

MESSAGES_READ_AHEAD = 16
RECEIVE_BYTES = 65_536
"""At 4096, the default, messages of 100 KB cost two to three times the CPU; small ones cost the same."""

_NUMBERS = itertools.count(1)
_CLOSED = (trio_websocket.ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Bounds of one link; times in seconds."""

    frames: FrameLimits = field(default_factory=FrameLimits)
    outbox_frames: int = 1_024
    outbox_bytes: int = 4_194_304
    open_seconds: float = 5.0
    """For answering the upgrade."""
    write_seconds: float = 20.0
    """For one frame; a peer that takes longer has stopped reading."""
    close_seconds: float = 2.0
    """From asking for the end to the closed socket: last frames, close handshake, linger."""


class EndedBy(StrEnum):
    """Who brought a link's end about."""

    DAEMON = "daemon"
    PEER = "peer"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """How a link ended, for the log and the metrics."""

    code: int
    """Websocket close code; 1006 when the socket just went."""
    reason: str
    by: EndedBy


class Link:
    """A websocket connection after the door: texts in by a callback, texts out by an outbox."""

    def __init__(self, stream: trio.abc.Stream, peer: Peer, limits: LinkLimits) -> None:
        """Prepare a link on a stream that stands before its checked upgrade request.

        Must be called inside trio. Frames may be sent from now on; they wait for the upgrade.
        """
        self.id = f"link-{next(_NUMBERS)}"
        self.peer = peer
        self.outbox = Outbox(max_frames=limits.outbox_frames, max_bytes=limits.outbox_bytes)
        self.end: LinkEnd | None = None
        """Set when the end begins; the socket closes within close_seconds after."""
        self.pinged_at = -math.inf
        """When a ping was last asked for (seconds, trio's clock)."""
        self._limits = limits
        self._stream = LinkStream(stream, limits.frames, write_seconds=limits.write_seconds)
        self._close_by = math.inf
        self._scope: trio.CancelScope | None = None
        self._ping_due = False
        self._discarding = False
        self._fault: Exception | None = None

    @property
    def heard_at(self) -> float:
        """When the peer last sent anything, pongs included (seconds, trio's clock)."""
        return self._stream.heard_at

    @property
    def frames_received(self) -> int:
        """Frames the peer sent, control frames included."""
        return self._stream.meter.frames

    def send(self, text: str) -> bool:
        """Queue one text message; never waits.

        False when the link takes no more: it has ended, or it was too far behind and ends now
        with 4413, to be resumed by its client.
        """
        if self.outbox.push(text):
            return True
        self.close(Close.SLOW_CONSUMER, flush=False)
        return False

    def ping(self) -> None:
        """Ask for a websocket ping; never waits. An answer shows in `heard_at`."""
        self.pinged_at = trio.current_time()
        self._ping_due = True
        self.outbox.wake()

    def close(self, code: Close, reason: str = "", *, flush: bool = True) -> None:
        """Begin the end of the link; never waits, and only the first call counts.

        With `flush`, what waits in the outbox is sent before the close frame, as far as
        close_seconds allow; without, only the frame being written is finished.
        """
        self._begin_end(_by_daemon(code, reason), flush=flush)

    async def drained(self) -> bool:
        """Wait until all that was sent so far is written; False when the link has ended instead."""
        return await self.outbox.drained()

    async def run(self, receive: Callable[[str], Awaitable[None]]) -> LinkEnd:
        """Serve the link until either side ends it; the stream is closed then.

        `receive` gets each text message, in order, one at a time; while it waits, the peer is held
        back by TCP, and it is cancelled when the link ends meanwhile. An exception from it closes
        the link with 1011 and is raised here afterwards.

        Cancelled, the link says 1001 if it still can, and closes within close_seconds.
        """
        websocket = None
        try:
            async with trio.open_nursery() as reader:
                try:
                    websocket = await self._open(reader)
                    if websocket is not None:
                        await self._talk(websocket, receive)
                finally:
                    # Cancelled from outside, the library's reader is gone and waits for nobody.
                    alone = trio.current_effective_deadline() == -math.inf
                    end = self._begin_end(_by_daemon(Close.GOING_AWAY), flush=False)
                    with trio.move_on_at(self._close_by, shield=True):
                        await self._say_goodbye(websocket, end, alone=alone)
                    reader.cancel_scope.cancel(reason=f"{self.id} has ended")
        finally:
            with trio.move_on_at(self._close_by, shield=True), contextlib.suppress(*_CLOSED):
                if self._stream.meter.close_seen:
                    # The peer has nothing more to say, and the server closes first (RFC 6455 7.1.1).
                    await self._stream.transport.aclose()
                else:
                    await close_lingering(self._stream.transport)
        if self._fault is not None:
            raise self._fault
        return end

    async def _open(self, reader: trio.Nursery) -> Any:
        """Answer the upgrade; None when the peer went away or the answer took too long."""
        websocket = None
        with trio.move_on_after(self._limits.open_seconds) as deadline:
            request = await trio_websocket.wrap_server_stream(
                reader,
                self._stream,
                message_queue_size=MESSAGES_READ_AHEAD,
                max_message_size=self._limits.frames.message_bytes,
                receive_buffer_size=RECEIVE_BYTES,
            )
            try:
                websocket = await request.accept()
            except _CLOSED:
                self._begin_end(LinkEnd(ABNORMAL, "gone before the upgrade", EndedBy.NETWORK), flush=False)
        if deadline.cancelled_caught:
            self._begin_end(LinkEnd(ABNORMAL, "no upgrade in time", EndedBy.NETWORK), flush=False)
            return None
        self._stream.upgraded()
        return websocket

    async def _talk(self, websocket: Any, receive: Callable[[str], Awaitable[None]]) -> None:
        """Run both directions. The writer's end is the end: it finishes the frame in hand first."""
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            self._scope.deadline = self._close_by
            nursery.start_soon(self._write, websocket, nursery.cancel_scope, name=f"{self.id} writer")
            await self._read(websocket, receive)

    async def _read(self, websocket: Any, receive: Callable[[str], Awaitable[None]]) -> None:
        await trio.lowlevel.checkpoint()
        try:
            while self.end is None:
                try:
                    message = await websocket.get_message()
                except trio_websocket.ConnectionClosed:
                    self._begin_end(self._how_it_ended(websocket), flush=False)
                    return
                await receive(message)
        except Exception as fault:
            self._fail(fault)

    async def _write(self, websocket: Any, talk: trio.CancelScope) -> None:
        outbox = self.outbox
        await trio.lowlevel.checkpoint()
        try:
            while not self._cut_short():
                batch = await outbox.next_batch()
                if self._ping_due:
                    self._ping_due = False
                    await self._stream.send_ping()
                for text in batch:
                    await websocket.send_message(text)
                    if self._cut_short():
                        break
                if outbox.closed and not batch:
                    break
        except _CLOSED:
            self._begin_end(self._how_it_ended(websocket), flush=False)
        except Exception as fault:
            self._fail(fault)
        talk.cancel(reason=f"{self.id} has nothing left to send")

    def _cut_short(self) -> bool:
        """Whether what waits is not to be sent any more."""
        return self._discarding

    def _fail(self, fault: Exception) -> None:
        if self._fault is None:
            self._fault = fault
        self.close(Close.INTERNAL, flush=False)

    def _begin_end(self, end: LinkEnd, *, flush: bool) -> LinkEnd:
        if self.end is not None:
            return self.end
        self.end = end
        self._discarding = not flush
        self._close_by = trio.current_time() + self._limits.close_seconds
        self.outbox.close(discard=not flush)
        if self._scope is not None:
            self._scope.deadline = self._close_by
        return end

    def _how_it_ended(self, websocket: Any) -> LinkEnd:
        """Say how the stream ended when nobody here asked for it."""
        stream = self._stream
        if stream.stalled:
            return _by_daemon(Close.SLOW_CONSUMER)
        if stream.meter.verdict is not None:
            return _by_daemon(stream.meter.verdict.code, stream.meter.verdict.reason)
        closed = websocket.closed
        if closed is None or stream.peer_gone:
            return LinkEnd(ABNORMAL, "the connection was lost", EndedBy.NETWORK)
        by = EndedBy.PEER if stream.meter.close_seen else EndedBy.DAEMON
        return LinkEnd(closed.code, closed.reason or "", by)

    async def _say_goodbye(self, websocket: Any, end: LinkEnd, *, alone: bool) -> None:
        """Send the close frame if the stream is whole and none was sent, and await the answer."""
        await trio.lowlevel.checkpoint()
        stream = self._stream
        if websocket is None or stream.peer_gone or stream.close_sent:
            return
        try:
            if websocket.closed is None and not alone:
                await websocket.aclose(end.code, end.reason)
            else:
                # After a breach trio-websocket only drops the connection; the peer is told why.
                await stream.send_close(end.code, end.reason)
        except _CLOSED:
            pass  # It left meanwhile, or a torn frame lets nothing follow.


def _by_daemon(code: Close, reason: str = "") -> LinkEnd:
    return LinkEnd(int(code), cut_reason(reason or CLOSE_MEANINGS[code]), EndedBy.DAEMON)
