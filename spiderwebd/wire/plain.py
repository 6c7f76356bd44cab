"""A link that trio-websocket carries, and the only module that knows it; imported when one is asked for.

What 0.12.2 gets wrong is met here and in `streams`: its reader lives in an outer nursery, so that a close
handshake can finish while our tasks end, and a peer that breaks the protocol is told so by a close frame.
"""

from __future__ import annotations

import math
from typing import Any

import trio
import trio_websocket
from typing_extensions import override

from spiderwebd.core.codes import Close
from spiderwebd.wire.ending import GONE, LATE, LOST, EndedBy, LinkEnd, by_daemon
from spiderwebd.wire.link import Link
from spiderwebd.wire.reading import READ_AHEAD, RECEIVE_BYTES, Receive
from spiderwebd.wire.streams import LinkStream

_CLOSED = (trio_websocket.ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError)


class PlainLink(Link):
    """A link that trio-websocket carries throughout."""

    __slots__ = ()

    @override
    async def _carry(self, stream: LinkStream, receive: Receive) -> LinkEnd:
        websocket = None
        async with trio.open_nursery() as reader:
            try:
                websocket = await self._open(reader, stream)
                if websocket is not None:
                    stream.upgraded()
                    await self._talk(websocket, stream, receive)
            finally:
                # Cancelled from outside, the library's reader is gone and waits for nobody.
                alone = trio.current_effective_deadline() == -math.inf
                end = self._begin_end(by_daemon(Close.GOING_AWAY), flush=False)
                with trio.move_on_at(self._close_by, shield=True):
                    await self._say_goodbye(websocket, stream, end, alone=alone)
                reader.cancel_scope.cancel(reason=f"{self.id} has ended")
        return end

    async def _open(self, reader: trio.Nursery, stream: LinkStream) -> Any:
        """Answer the upgrade; None when the peer went away or the answer took too long."""
        websocket = None
        with trio.move_on_after(self._limits.open_seconds) as deadline:
            request = await trio_websocket.wrap_server_stream(
                reader,
                stream,
                message_queue_size=READ_AHEAD,
                max_message_size=self._limits.frames.message_bytes,
                receive_buffer_size=RECEIVE_BYTES,
            )
            try:
                websocket = await request.accept()
            except _CLOSED:
                self._begin_end(GONE, flush=False)
        if deadline.cancelled_caught:
            self._begin_end(LATE, flush=False)
            return None
        return websocket

    async def _talk(self, websocket: Any, stream: LinkStream, receive: Receive) -> None:
        """Run both directions. The writer's end is the end: it finishes the frame in hand first."""
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            self._scope.deadline = self._close_by
            nursery.start_soon(self._write, websocket, stream, nursery.cancel_scope, name=f"{self.id} writer")
            await self._read(websocket, stream, receive)

    async def _read(self, websocket: Any, stream: LinkStream, receive: Receive) -> None:
        await trio.lowlevel.checkpoint()
        try:
            while self.end is None:
                try:
                    message = await websocket.get_message()
                except trio_websocket.ConnectionClosed:
                    self._begin_end(_how_it_ended(websocket, stream), flush=False)
                    return
                waiting = receive(message)
                if waiting is not None:
                    await waiting
        except Exception as fault:
            self.fail(fault)

    async def _write(self, websocket: Any, stream: LinkStream, talk: trio.CancelScope) -> None:
        outbox = self.outbox
        await trio.lowlevel.checkpoint()
        try:
            while not self._cut_short():
                batch = await outbox.next_batch()
                if self._ping_due:
                    self._ping_due = False
                    await stream.send_ping()
                for text in batch:
                    await websocket.send_message(text)
                    if self._cut_short():
                        break
                if outbox.closed and not batch:
                    break
        except _CLOSED:
            self._begin_end(_how_it_ended(websocket, stream), flush=False)
        except Exception as fault:
            self.fail(fault)
        talk.cancel(reason=f"{self.id} has nothing left to send")

    def _cut_short(self) -> bool:
        # A method, since it changes while a frame is being sent: a type checker would take a field as it was.
        return self._discarding

    async def _say_goodbye(self, websocket: Any, stream: LinkStream, end: LinkEnd, *, alone: bool) -> None:
        """Send the close frame if the stream is whole and none was sent, and await the answer."""
        await trio.lowlevel.checkpoint()
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


def _how_it_ended(websocket: Any, stream: LinkStream) -> LinkEnd:
    """Say how the stream ended when nobody here asked for it."""
    if stream.stalled:
        return by_daemon(Close.SLOW_CONSUMER)
    if stream.meter.verdict is not None:
        return by_daemon(stream.meter.verdict.code, stream.meter.verdict.reason)
    closed = websocket.closed
    if closed is None or stream.peer_gone:
        return LOST
    by = EndedBy.PEER if stream.meter.close_seen else EndedBy.DAEMON
    return LinkEnd(closed.code, closed.reason or "", by)
