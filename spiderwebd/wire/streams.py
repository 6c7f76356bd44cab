"""Streams between the socket and trio-websocket: bytes given back, bounds kept, an end that arrives."""

from __future__ import annotations

import trio
import trio.abc
from typing_extensions import override

from spiderwebd.wire.framing import PING_FRAME, FrameLimits, FrameMeter, close_frame

LINGER_BYTES = 262_144
"""Read and thrown away at most while closing; a peer that sends more is cut off."""

_CLOSE_BYTE = 0x88


class ReplayStream(trio.abc.Stream):
    """A stream whose first bytes were already read by the door and are read again from here."""

    def __init__(self, transport: trio.abc.Stream, replay: bytes) -> None:
        """Give back `replay`, then read on from `transport`."""
        self.transport = transport
        self._replay = replay

    def bare(self) -> trio.abc.Stream:
        """Return the transport itself once all was given back, else this stream."""
        return self if self._replay else self.transport

    @override
    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._replay:
            # No checkpoint, though trio's own streams have one: this is read once, for what cannot be more.
            size = len(self._replay) if max_bytes is None else max_bytes
            chunk, self._replay = self._replay[:size], self._replay[size:]
            return chunk
        return await self.transport.receive_some(max_bytes)

    @override
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.transport.send_all(data)

    @override
    async def wait_send_all_might_not_block(self) -> None:
        await self.transport.wait_send_all_might_not_block()

    @override
    async def aclose(self) -> None:
        await self.transport.aclose()


class LinkStream(trio.abc.Stream):
    """What trio-websocket takes for its socket; the link keeps the real one in hand.

    * Frames that came with the head wait until the upgrade is answered: wsproto would lose them.
    * Incoming frames pass the meter. After a verdict the stream reads as ended.
    * Every write, whoever makes it, has a deadline. One that did not finish leaves a torn frame
      behind, so nothing may be written after it.
    * `aclose` by trio-websocket only ends its part; the link still says goodbye, then closes.
    """

    def __init__(self, transport: trio.abc.Stream, limits: FrameLimits, *, write_seconds: float) -> None:
        """Wrap a stream that stands before its HTTP head; must be called inside trio."""
        now = trio.current_time()
        self.transport = transport
        self.meter = FrameMeter(limits, now)
        self.heard_at = now
        """When the peer last sent anything (seconds, trio's clock)."""
        self.torn = False
        """Whether a write was begun and not finished."""
        self.stalled = False
        """Whether a write ran into its deadline."""
        self.peer_gone = False
        """Whether the peer's end of the stream was seen."""
        self.close_sent = False
        """Whether a close frame was written."""
        self._write_seconds = write_seconds
        self._lock = trio.Lock()
        self._upgraded = trio.Event()
        self._head: bytes | None = b""
        self._held: bytes | bytearray = b""
        self._shut = False

    def upgraded(self) -> None:
        """Say that the upgrade was answered: from now on frames flow."""
        self._upgraded.set()

    def hand_over(self) -> tuple[trio.abc.Stream, bytes]:
        """Give up the stream behind the answered head: the transport, and what came with the head.

        To be called instead of `upgraded`, when nobody reads here any more.
        """
        transport = self.transport
        held, self._held = bytes(self._held), b""
        return transport.bare() if isinstance(transport, ReplayStream) else transport, held

    async def read_head(self) -> bytes:
        """Return the whole HTTP head; empty when the peer's end came first. What is behind it is kept."""
        head = b""
        while self._head is not None:
            data = await self._receive_head(None)
            if not data:
                return b""
            head += data
        return head

    @override
    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._shut:
            raise trio.ClosedResourceError("trio-websocket has closed this stream")
        if self._head is not None:
            return await self._receive_head(max_bytes)
        if not self._upgraded.is_set():
            await self._upgraded.wait()
        if self.meter.verdict is not None:
            await trio.lowlevel.checkpoint()
            return b""
        if self._held:
            await trio.lowlevel.checkpoint()
            data, self._held = self._held, b""
        else:
            data = await self._receive(max_bytes)
        passed = self.meter.pass_on(data, self.heard_at)
        return data if passed == len(data) else data[:passed]

    async def _receive(self, max_bytes: int | None) -> bytes | bytearray:
        try:
            data = await self.transport.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self.peer_gone = True
            raise
        if not data:
            self.peer_gone = True
        self.heard_at = trio.current_time()
        return data

    async def _receive_head(self, max_bytes: int | None) -> bytes:
        """Return the bytes up to the end of the HTTP head and keep the rest back."""
        data = bytes(await self._receive(max_bytes))
        seen = len(self._head or b"")
        head, blank, rest = ((self._head or b"") + data).partition(b"\r\n\r\n")
        if not blank:
            self._head = head
            return data
        self._head = None
        self._held = rest
        return (head + blank)[seen:]

    @override
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._shut:
            raise trio.ClosedResourceError("trio-websocket has closed this stream")
        # Each call of trio-websocket is one whole frame; before the upgrade it is the HTTP answer.
        if self._upgraded.is_set() and data[0] == _CLOSE_BYTE:
            self.close_sent = True
        await self._write(data)

    async def send_ping(self) -> None:
        """Write an empty ping. Raises trio.BrokenResourceError."""
        await self._write(PING_FRAME)

    async def send_close(self, code: int, reason: str) -> None:
        """Write a close frame that trio-websocket would not. Raises trio.BrokenResourceError."""
        self.close_sent = True
        await self._write(close_frame(code, reason))

    async def _write(self, data: bytes | bytearray | memoryview) -> None:
        # Taken without a checkpoint when free, which is nearly always.
        if self._lock.locked():
            await self._lock.acquire()
        else:
            self._lock.acquire_nowait()
        try:
            if self.torn:
                raise trio.BrokenResourceError("a frame before this one was not finished")
            self.torn = True
            with trio.move_on_after(self._write_seconds) as deadline:
                await self.transport.send_all(data)
                self.torn = False
            if deadline.cancelled_caught:
                self.stalled = True
                raise trio.BrokenResourceError(f"nothing was taken for {self._write_seconds:g} seconds")
        finally:
            self._lock.release()

    @override
    async def wait_send_all_might_not_block(self) -> None:
        await self.transport.wait_send_all_might_not_block()

    @override
    async def aclose(self) -> None:
        self._shut = True
        await trio.lowlevel.checkpoint()


async def close_lingering(stream: trio.abc.Stream) -> None:
    """Close a stream so that what was written last arrives: end our side, read theirs to its end.

    Closing a socket with unread bytes makes the kernel reset it, and a reset can overtake the
    answer (RFC 9112 section 9.6). The caller brings the deadline; cancelled, it still closes, at
    once. At most LINGER_BYTES are read. Never raises for a peer that has gone. Not to be called
    while another task reads from the stream.
    """
    transport = stream.transport if isinstance(stream, ReplayStream) else stream
    try:
        if isinstance(transport, trio.SSLStream):
            # TLS has no half close: say close_notify, which its aclose does.
            await transport.aclose()
            return
        if isinstance(transport, trio.abc.HalfCloseableStream):
            await transport.send_eof()
        dropped = 0
        while dropped < LINGER_BYTES:
            data = await transport.receive_some(16_384)
            if not data:
                break
            dropped += len(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # Gone already, which is what was wanted.
    finally:
        await trio.aclose_forcefully(transport)
