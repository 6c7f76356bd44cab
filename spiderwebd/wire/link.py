"""One websocket link, carried by our own codec or, as `plain`, by trio-websocket.

The upgrade is answered here (`upgrade`), and `reading` and `writing` carry the frames. On both paths there
is one sender of messages at a time, and a write that misses its deadline ends the link, never skips a frame.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from dataclasses import dataclass, field

import trio
import trio.abc

from spiderwebd.core.codes import Close
from spiderwebd.wire.ending import GONE, LATE, LOST, EndedBy, LinkEnd, by_daemon
from spiderwebd.wire.framing import FrameLimits, close_frame
from spiderwebd.wire.listen import Peer
from spiderwebd.wire.outbox import Outbox
from spiderwebd.wire.reading import MessageReader, Receive
from spiderwebd.wire.streams import LinkStream, close_lingering
from spiderwebd.wire.upgrade import upgrade_answer
from spiderwebd.wire.writing import FrameWriter

__all__ = ["EndedBy", "Link", "LinkEnd", "LinkLimits"]

_NUMBERS = itertools.count(1)
_CLOSED = (trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Bounds of one link; times in seconds."""

    frames: FrameLimits = field(default_factory=FrameLimits)
    outbox_frames: int = 1_024
    outbox_bytes: int = 4_194_304
    open_seconds: float = 5.0
    """For answering the upgrade."""
    write_seconds: float = 20.0
    """For one frame, or for 64 KiB of frames; a peer that takes longer has stopped reading."""
    close_seconds: float = 2.0
    """From asking for the end to the closed socket: last frames, close handshake, linger."""
    fast: bool = True
    """Carry frames by our own codec; False leaves them to trio-websocket."""


class Link:
    """A websocket connection after the door: texts in by a callback, texts out by an outbox."""

    __slots__ = (
        "_close_by",
        "_discarding",
        "_fault",
        "_incoming",
        "_limits",
        "_ping_due",
        "_ran",
        "_scope",
        "_transport",
        "_writer",
        "end",
        "id",
        "outbox",
        "peer",
        "pinged_at",
    )

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
        self._transport = stream
        self._incoming: LinkStream | MessageReader = LinkStream(
            stream, limits.frames, write_seconds=limits.write_seconds
        )
        self._writer: FrameWriter | None = None
        self._close_by = math.inf
        self._scope: trio.CancelScope | None = None
        self._ran = False
        self._ping_due = False
        self._discarding = False
        """Whether what waits is not to be sent any more."""
        self._fault: Exception | None = None

    @property
    def heard_at(self) -> float:
        """When the peer last sent anything, pongs included (seconds, trio's clock)."""
        return self._incoming.heard_at

    @property
    def frames_received(self) -> int:
        """Frames the peer sent, control frames included."""
        return self._incoming.meter.frames

    def send(self, text: str) -> bool:
        """Write one text message or queue it; never waits.

        False when the link takes no more: it has ended, or it was too far behind and ends now
        with 4413, to be resumed by its client.
        """
        writer = self._writer
        if self.outbox.push(text) if writer is None else writer.send(text):
            return True
        self.close(Close.SLOW_CONSUMER, flush=False)
        return False

    def hold(self) -> None:
        """Let what is sent wait for `release`, to go out in one write; the caller comes to it at once."""
        if self._writer is not None:
            self._writer.hold()

    def release(self) -> None:
        """Write what was held."""
        if self._writer is not None:
            self._writer.release()

    def ping(self) -> None:
        """Ask for a websocket ping; never waits. An answer shows in `heard_at`."""
        self.pinged_at = trio.current_time()
        if self._writer is not None:
            self._writer.ping()
            return
        self._ping_due = True
        self.outbox.wake()

    def close(self, code: Close, reason: str = "", *, flush: bool = True) -> None:
        """Begin the end of the link; never waits, and only the first call counts.

        With `flush`, what waits in the outbox is sent before the close frame, as far as
        close_seconds allow; without, only the frame being written is finished.
        """
        self._begin_end(by_daemon(code, reason), flush=flush)

    def fail(self, fault: Exception) -> None:
        """End the link for a bug, with 1011; `run` raises the first one."""
        if self._fault is None:
            self._fault = fault
        self.close(Close.INTERNAL, flush=False)

    async def drained(self) -> bool:
        """Wait until all that was sent so far is written; False when the link has ended instead."""
        return await self.outbox.drained()

    async def run(self, receive: Receive) -> LinkEnd:
        """Serve the link until either side ends it; the stream is closed then.

        `receive` gets each text message, in order, one at a time: it takes it at once and returns None,
        which is cheapest, or returns an awaitable. While that waits, the peer is held back by TCP; it is
        cancelled when the link ends meanwhile. An exception closes the link with 1011 and is raised here
        afterwards.

        Cancelled, the link says 1001 if it still can, and closes within close_seconds.
        """
        stream = self._incoming
        if self._ran or not isinstance(stream, LinkStream):
            raise RuntimeError(f"{self.id} ran before; a link runs once")
        self._ran = True
        try:
            end = await self._carry(stream, receive)
        finally:
            with trio.move_on_at(self._close_by, shield=True), contextlib.suppress(*_CLOSED):
                if self._incoming.meter.close_seen:
                    # The peer has nothing more to say, and the server closes first (RFC 6455 7.1.1).
                    await self._transport.aclose()
                else:
                    await close_lingering(self._transport)
        if self._fault is not None:
            raise self._fault
        return end

    async def _carry(self, stream: LinkStream, receive: Receive) -> LinkEnd:
        try:
            if await self._upgrade(stream):
                await self._converse(*stream.hand_over(), receive)
        finally:
            alone = trio.current_effective_deadline() == -math.inf
            end = self._begin_end(by_daemon(Close.GOING_AWAY), flush=False)
            with trio.move_on_at(self._close_by, shield=True), contextlib.suppress(*_CLOSED):
                await self._part(end, alone=alone)
        return end

    async def _upgrade(self, stream: LinkStream) -> bool:
        """Answer the upgrade; False when the peer went away or took too long to take the answer."""
        opened = False
        with trio.move_on_after(self._limits.open_seconds) as deadline:
            try:
                head = await stream.read_head()
                if head:
                    await stream.send_all(upgrade_answer(head))
                    opened = True
            except _CLOSED:
                pass
        if deadline.cancelled_caught:
            self._begin_end(LATE, flush=False)
        elif not opened:
            self._begin_end(GONE, flush=False)
        return opened

    async def _converse(self, transport: trio.abc.Stream, held: bytes, receive: Receive) -> None:
        """Run both directions over the stream itself."""
        self._transport = transport
        writer = FrameWriter(
            transport,
            self.outbox,
            write_seconds=self._limits.write_seconds,
            finished=self._all_written,
            fault=self.fail,
        )
        reader = MessageReader(
            transport,
            held,
            self._limits.frames,
            writer,
            receive=receive,
            going_on=self._going_on,
            fault=self.fail,
        )
        self._writer, self._incoming = writer, reader
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                self._scope.deadline = self._close_by
                writer.open(nursery)
                await reader.run(nursery)
                if self.end is None:
                    self._begin_end(_how_the_peer_ended(reader), flush=False)
        finally:
            reader.shut()
            writer.shut()

    def _going_on(self) -> bool:
        return self.end is None

    def _all_written(self) -> None:
        """Nothing is left to write, or it cannot be written."""
        if self._writer is not None and self._writer.stalled:
            self._begin_end(by_daemon(Close.SLOW_CONSUMER), flush=False)
        elif self._writer is not None and self._writer.broken:
            self._begin_end(LOST, flush=False)
        if self._scope is not None:
            self._scope.cancel(reason=f"{self.id} has nothing left to send")

    async def _part(self, end: LinkEnd, *, alone: bool) -> None:
        """Send the close frame if the stream is whole, and await the answer of an honest peer."""
        await trio.lowlevel.checkpoint()
        writer, reader = self._writer, self._incoming
        if writer is None or not isinstance(reader, MessageReader):
            return
        if reader.peer_gone or writer.broken or writer.torn:
            return
        await writer.say(close_frame(end.code, end.reason))
        if not alone:
            await reader.await_close()

    def _begin_end(self, end: LinkEnd, *, flush: bool) -> LinkEnd:
        if self.end is not None:
            return self.end
        self.end = end
        self._discarding = not flush
        self._close_by = trio.current_time() + self._limits.close_seconds
        self.outbox.close(discard=not flush)
        if self._scope is not None:
            self._scope.deadline = self._close_by
        if self._writer is not None:
            if not flush:
                self._writer.cut()
            self._writer.flush()
        return end


def _how_the_peer_ended(reader: MessageReader) -> LinkEnd:
    """Say how the stream ended when nobody here asked for it."""
    if reader.meter.verdict is not None:
        return by_daemon(reader.meter.verdict.code, reader.meter.verdict.reason)
    if reader.close is not None:
        return LinkEnd(reader.close.code, reader.close.reason, EndedBy.PEER)
    return LOST
