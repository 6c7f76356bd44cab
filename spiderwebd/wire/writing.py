"""The one sender of an open link: writes at once what the socket takes, leaves the rest to a task.

A reply then needs no other task to wake up. The task exists only while the peer is behind, so that an
idle link has none. What waits is joined into one write.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from itertools import accumulate

import trio
import trio.abc

from spiderwebd.wire.framing import PING_FRAME, PONG, control_frame, text_frame
from spiderwebd.wire.outbox import BATCH_FRAMES, Outbox

BATCH_BYTES = 65_536
"""Joined into one write at most, a single longer frame aside; little enough for the deadline of one."""


class FrameWriter:
    """Frames of one link on their way out; all calls but `say` are made without waiting.

    On a plain socket a batch is many frames in one write, and where one ends is known, so that an end
    without flush stops behind the frame that was begun. On any other stream (TLS) it is one frame.
    """

    __slots__ = (
        "_batch",
        "_ends",
        "_fault",
        "_finished",
        "_held",
        "_nursery",
        "_outbox",
        "_ping_due",
        "_pong",
        "_sent",
        "_socket",
        "_transport",
        "_write_seconds",
        "_writing",
        "broken",
        "stalled",
        "torn",
    )

    def __init__(
        self,
        transport: trio.abc.Stream,
        outbox: Outbox,
        *,
        write_seconds: float,
        finished: Callable[[], None],
        fault: Callable[[Exception], None],
    ) -> None:
        """Write to `transport` what `outbox` holds; nothing is written before `open`.

        `finished()` is called when nothing is left after the outbox has closed, or when the stream has
        broken (`broken`) or taken nothing for `write_seconds` (`stalled`); `fault(error)` when a text
        cannot be encoded. Neither may wait.
        """
        self._transport = transport
        self._socket = transport.socket if isinstance(transport, trio.SocketStream) else None
        self._outbox = outbox
        self._write_seconds = write_seconds
        self._finished = finished
        self._fault = fault
        self._nursery: trio.Nursery | None = None
        self._writing = False
        self._held = 0
        self._pong: bytes | None = None
        self._ping_due = False
        self._batch = b""
        self._sent = 0
        self._ends: tuple[int, ...] = ()
        self.torn = False
        """Whether a frame was begun and not finished; nothing may follow it."""
        self.stalled = False
        self.broken = False

    def open(self, nursery: trio.Nursery) -> None:
        """Begin to write, what waits already first; `nursery` gets the task when there is need of one."""
        self._nursery = nursery
        self.flush()

    def send(self, text: str) -> bool:
        """Write or queue one text message; False when the outbox is full or closed."""
        if not self._outbox.push(text):
            return False
        if not self._held or len(self._outbox) >= BATCH_FRAMES:
            self.flush()
        return True

    def ping(self) -> None:
        """Write a ping, before any text that waits."""
        self._ping_due = True
        self.flush()

    def pong(self, payload: bytes) -> None:
        """Answer a ping, before any text that waits; of several only the last (RFC 6455 5.5.3)."""
        self._pong = payload
        if not self._held:
            self.flush()

    def hold(self) -> None:
        """Let frames wait for `release`, to be joined; the caller comes to it without waiting. It nests."""
        self._held += 1

    def release(self) -> None:
        """Write what was held, unless it is held otherwise too."""
        self._held -= 1
        if not self._held:
            self.flush()

    def cut(self) -> None:
        """Write no more than the frame that was begun."""
        ends = (0, *self._ends, len(self._batch))
        self._batch = self._batch[: next(end for end in ends if end >= self._sent)]
        self._pong = None
        self._ping_due = False

    def shut(self) -> None:
        """Write nothing more by itself, because the nursery of `open` has ended; call nobody any more."""
        self._nursery = None
        self._finished = _nobody_waits
        self._fault = _nobody_cares

    def flush(self) -> None:
        """Write what the socket takes at once, and see to the rest."""
        if self._writing or self._nursery is None:
            return
        while self._fill():
            if not self._write_now():
                self._writing = True
                self._nursery.start_soon(self._write_rest, name="link writer")
                return
        if self._outbox.closed:
            self._finished()

    async def say(self, frame: bytes) -> None:
        """Write a last frame, under the caller's deadline, when no task writes any more.

        Raises trio.BrokenResourceError, also when a torn frame lets nothing follow.
        """
        if self.torn:
            raise trio.BrokenResourceError("a frame before this one was not finished")
        self.torn = True
        await self._transport.send_all(frame)
        self.torn = False

    def _fill(self) -> bool:
        """Make sure that a batch is in hand; False when nothing waits."""
        if self._sent < len(self._batch):
            return True
        frames: list[bytes] = []
        if self._ping_due:
            self._ping_due = False
            frames.append(PING_FRAME)
        elif self._pong is not None:
            frames.append(control_frame(PONG, self._pong))
            self._pong = None
        try:
            if self._socket is not None:
                frames += [text_frame(text) for text in self._outbox.take(BATCH_FRAMES, BATCH_BYTES)]
            elif not frames:
                frames = [text_frame(text) for text in self._outbox.take(1, BATCH_BYTES)]
        except UnicodeEncodeError as fault:
            self._fault(fault)
            return False
        self._sent = 0
        if len(frames) == 1:
            self._batch, self._ends = frames[0], ()
        else:
            self._batch, self._ends = b"".join(frames), tuple(accumulate(map(len, frames)))
        return bool(frames)

    def _write_now(self) -> bool:
        """Try once; False when something is left. What went wrong, the task finds out again."""
        if self._socket is None:
            return False
        try:
            self._write_some(self._socket)
        except OSError:
            return False
        return self._sent == len(self._batch)

    def _write_some(self, socket: trio.socket.SocketType) -> None:
        rest = memoryview(self._batch)[self._sent :] if self._sent else self._batch
        # Asked for at each write: a number kept from before might name another link's socket by now.
        self._sent += os.write(socket.fileno(), rest)
        self.torn = self._sent < len(self._batch) and self._sent not in self._ends

    async def _write_rest(self) -> None:
        try:
            while self._fill():
                with trio.move_on_after(self._write_seconds) as deadline:
                    await self._finish_batch()
                if deadline.cancelled_caught:
                    self.stalled = self.torn = True
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            self.broken = True
        finally:
            self._writing = False
        if self.stalled or self.broken:
            self._nursery = None  # nothing more can be written
            self._finished()
        elif self._outbox.closed:
            self._finished()

    async def _finish_batch(self) -> None:
        if self._socket is None:
            self.torn = True
            await self._transport.send_all(self._batch)
            self.torn = False
            self._sent = len(self._batch)
            return
        while True:
            await trio.lowlevel.wait_writable(self._socket)
            with contextlib.suppress(BlockingIOError):
                self._write_some(self._socket)
            if self._sent == len(self._batch):
                return


def _nobody_waits() -> None:
    """The link has ended. To keep its methods would keep it until the collector comes, which is rarely."""


def _nobody_cares(fault: Exception) -> None:
    """As `_nobody_waits`."""
