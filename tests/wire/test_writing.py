"""The sender of an open link, over real sockets whose buffers are small enough to fill."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from spiderwebd.wire.framing import close_frame, text_frame
from spiderwebd.wire.outbox import BATCH_FRAMES, Outbox
from spiderwebd.wire.writing import FrameWriter
from tests.wire.loopback import CLOSE, PING, PONG, TEXT, RawClient

LONG = "x" * 5_000


@dataclass
class Pair:
    """A writer, the other end of its socket, and what the writer said of itself."""

    writer: FrameWriter
    outbox: Outbox
    client: RawClient
    socket: trio.socket.SocketType
    finished: trio.Event = field(default_factory=trio.Event)
    faults: list[Exception] = field(default_factory=list)

    def arrived(self) -> bytes:
        """Return what can be read at this moment, without any task taking a step."""
        try:
            return os.read(self.socket.fileno(), 1_000_000)
        except BlockingIOError:
            return b""

    def fill(self) -> int:
        """Send until the peer's buffers are full and the writer waits; return the number of texts."""
        count = 0
        while len(self.outbox) < 5:
            assert self.writer.send(f"{count} {LONG}")
            count += 1
        return count


@asynccontextmanager
async def open_pair(*, opened: bool = True, write_seconds: float = 20.0) -> AsyncIterator[Pair]:
    """Connect a writer to a client over a unix socket with the smallest buffers."""
    near, far = trio.socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    stream = trio.SocketStream(near)
    outbox = Outbox(max_frames=1_000, max_bytes=1_000_000)
    finished, faults = trio.Event(), list[Exception]()
    writer = FrameWriter(
        stream, outbox, write_seconds=write_seconds, finished=finished.set, fault=faults.append
    )
    pair = Pair(writer, outbox, RawClient(trio.SocketStream(far)), far, finished, faults)
    async with stream, pair.client.stream, trio.open_nursery() as nursery:
        if opened:
            writer.open(nursery)
        yield pair
        nursery.cancel_scope.cancel()
        writer.shut()


async def test_a_text_is_on_the_socket_before_send_returns() -> None:
    """With nothing waiting, no task has to run between a reply and its peer."""
    async with open_pair() as pair:
        assert pair.writer.send("at once")
        assert pair.arrived() == text_frame("at once")
        assert (len(pair.outbox), pair.outbox.bytes) == (0, 0)
        assert await pair.outbox.drained()


async def test_what_the_socket_does_not_take_follows_in_order() -> None:
    """Texts cut by a full buffer come out whole and in order, and count until they are written."""
    async with open_pair() as pair:
        count = pair.fill()
        assert pair.writer.torn
        assert all(pair.writer.send(f"short {number}") for number in range(200))
        got = [await pair.client.read_frame() for _ in range(count + 200)]
        assert got == [(TEXT, f"{number} {LONG}".encode()) for number in range(count)] + [
            (TEXT, b"short %d" % number) for number in range(200)
        ]
        assert await pair.outbox.drained()
        assert (len(pair.outbox), pair.outbox.bytes, pair.writer.torn) == (0, 0, False)
        pair.writer.send("at once again")
        assert pair.arrived() == text_frame("at once again")


async def test_nothing_is_written_before_the_opening() -> None:
    """What was sent before waits, and is written first."""
    async with open_pair(opened=False) as pair:
        pair.writer.send("early")
        pair.writer.ping()
        assert pair.arrived() == b""
        async with trio.open_nursery() as nursery:
            pair.writer.open(nursery)
            assert [await pair.client.read_frame() for _ in range(2)] == [(PING, b""), (TEXT, b"early")]
        pair.writer.shut()
        pair.writer.send("late")
        assert pair.arrived() == b""


async def test_held_frames_go_out_together() -> None:
    """Nothing is written while frames are held, unless more wait than one write takes."""
    async with open_pair() as pair:
        pair.writer.hold()
        for number in range(3):
            pair.writer.send(str(number))
        assert pair.arrived() == b""
        pair.writer.release()
        assert pair.arrived() == b"".join(text_frame(str(number)) for number in range(3))
        pair.writer.hold()
        for number in range(BATCH_FRAMES):
            pair.writer.send(str(number))
        assert len(pair.outbox) == 0
        pair.writer.release()


async def test_frames_that_are_held_twice_wait_for_both() -> None:
    """What a session joins inside of what the reader joins goes out with the rest."""
    async with open_pair() as pair:
        pair.writer.hold()
        pair.writer.hold()
        pair.writer.send("inner")
        pair.writer.release()
        pair.writer.send("outer")
        assert pair.arrived() == b""
        pair.writer.release()
        assert pair.arrived() == text_frame("inner") + text_frame("outer")


async def test_a_peer_that_takes_nothing_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """The deadline runs from the write that the socket did not take, and ends the writing for good."""
    async with open_pair(write_seconds=20) as pair:
        pair.fill()
        await pair.finished.wait()
        assert (pair.writer.stalled, pair.writer.torn) == (True, True)
        assert autojump_clock.current_time() == pytest.approx(20.0)
        with pytest.raises(trio.BrokenResourceError, match="not finished"):
            await pair.writer.say(close_frame(1001, ""))


async def test_a_peer_that_takes_little_by_little_is_served(autojump_clock: trio.testing.MockClock) -> None:
    """Each batch has a deadline of its own."""
    async with open_pair(write_seconds=20) as pair:
        count = pair.fill()
        for number in range(count):
            assert await pair.client.read_frame() == (TEXT, f"{number} {LONG}".encode())
            autojump_clock.jump(15 if number % 30 == 0 else 0)
        assert await pair.outbox.drained()
        assert not pair.writer.stalled


async def test_cut_off_the_frame_in_hand_is_finished() -> None:
    """An end without flush writes no other frame of the batch, and the close frame follows whole."""
    async with open_pair() as pair:
        count = pair.fill()
        pair.outbox.close(discard=True)
        pair.writer.cut()
        frames = []
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                await pair.finished.wait()
                await pair.writer.say(close_frame(1008, "no"))

            nursery.start_soon(end)
            while not frames or frames[-1][0] != CLOSE:
                frames.append(await pair.client.read_frame())
        assert frames[-1] == (CLOSE, b"\x03\xf0no")
        assert frames[:-1] == [(TEXT, f"{number} {LONG}".encode()) for number in range(len(frames) - 1)]
        assert len(frames) - 1 < count


async def test_cut_off_at_a_frame_boundary_nothing_more_is_written() -> None:
    """Between frames there is none to finish."""
    async with open_pair() as pair:
        pair.writer.hold()
        pair.writer.send("dropped")
        pair.outbox.close(discard=True)
        pair.writer.cut()
        pair.writer.release()
        assert pair.finished.is_set()
        assert not pair.writer.torn
        assert pair.arrived() == b""


async def test_pongs_pass_by_what_waits_and_only_the_last_counts() -> None:
    """A peer that pings without reading keeps one pong in memory, not one a ping."""
    async with open_pair() as pair:
        count = pair.fill()
        for number in range(1_000):
            pair.writer.pong(b"%d" % number)
        assert pair.writer.send("behind")
        frames = [await pair.client.read_frame() for _ in range(count + 2)]
        assert [frame for frame in frames if frame[0] == PONG] == [(PONG, b"999")]
        assert frames[-1] == (TEXT, b"behind")


async def test_a_peer_that_has_gone_breaks_the_writer() -> None:
    """The text is accepted, and the loss is told apart from a stall."""
    async with open_pair() as pair:
        await pair.client.stream.aclose()
        assert pair.writer.send("to nobody")
        with trio.fail_after(5):
            await pair.finished.wait()
        assert (pair.writer.broken, pair.writer.stalled) == (True, False)


async def test_a_text_that_cannot_be_encoded_is_reported() -> None:
    """A lone surrogate does not raise in whoever sent it."""
    async with open_pair() as pair:
        assert pair.writer.send("\ud800")
        assert isinstance(pair.faults[0], UnicodeEncodeError)


async def test_closed_the_writer_finishes_when_all_is_written() -> None:
    """With nothing waiting that is at once; with a batch in hand, behind it."""
    async with open_pair() as pair:
        count = pair.fill()
        pair.outbox.close()
        pair.writer.flush()
        assert not pair.finished.is_set()
        for _ in range(count):
            await pair.client.read_frame()
        with trio.fail_after(5):
            await pair.finished.wait()
        assert not pair.writer.broken


async def test_any_other_stream_gets_one_frame_a_write() -> None:
    """Where no partial write is seen, an end still finds a boundary."""
    near, far = trio.testing.lockstep_stream_pair()
    outbox = Outbox(max_frames=10, max_bytes=1_000)
    finished = trio.Event()
    faults: list[Exception] = []
    writer = FrameWriter(near, outbox, write_seconds=5, finished=finished.set, fault=faults.append)
    async with trio.open_nursery() as nursery:
        writer.open(nursery)
        writer.send("one")
        writer.send("two")
        await trio.testing.wait_all_tasks_blocked()
        assert writer.torn
        outbox.close(discard=True)
        writer.cut()
        assert await far.receive_some() == text_frame("one")
        await finished.wait()
        assert not writer.torn
    assert faults == []
