"""Streams between the socket and trio-websocket."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing

from spiderwebd.core.codes import Close
from spiderwebd.wire.framing import FrameLimits
from spiderwebd.wire.head import upgrade_head
from spiderwebd.wire.streams import LINGER_BYTES, LinkStream, ReplayStream, close_lingering
from tests.wire.loopback import BINARY, KEY, TEXT, frame

HEAD = upgrade_head(KEY)


async def test_replayed_bytes_come_first() -> None:
    """What the door read is read again, in pieces as asked for, and then the socket goes on."""
    near, far = trio.testing.memory_stream_pair()
    stream = ReplayStream(near, b"replayed")
    await far.send_all(b"fresh")
    assert [await stream.receive_some(5), await stream.receive_some(), await stream.receive_some()] == [
        b"repla",
        b"yed",
        b"fresh",
    ]
    await stream.send_all(b"back")
    assert await far.receive_some() == b"back"
    await stream.aclose()
    assert await far.receive_some() == b""


async def test_frames_wait_for_the_upgrade() -> None:
    """The head is read alone; what came with it follows only once the upgrade is answered."""
    near, far = trio.testing.memory_stream_pair()
    stream = LinkStream(near, FrameLimits(), write_seconds=5)
    early = frame(TEXT, b"early")
    await far.send_all(HEAD + early)
    assert await stream.receive_some() == HEAD
    with trio.move_on_after(0) as waiting:
        await stream.receive_some()
    assert waiting.cancelled_caught
    stream.upgraded()
    assert await stream.receive_some() == early


async def test_after_a_verdict_the_stream_reads_as_ended() -> None:
    """Bytes before the offending frame pass, then the end."""
    near, far = trio.testing.memory_stream_pair()
    stream = LinkStream(near, FrameLimits(), write_seconds=5)
    await far.send_all(HEAD + frame(TEXT, b"good") + frame(BINARY, b"bad"))
    await stream.receive_some()
    stream.upgraded()
    assert await stream.receive_some() == frame(TEXT, b"good")
    assert await stream.receive_some() == b""
    assert stream.meter.verdict is not None
    assert stream.meter.verdict.code == Close.UNSUPPORTED_DATA
    assert not stream.peer_gone


async def test_nothing_follows_a_torn_frame() -> None:
    """After a write that was cancelled half-way, every further write fails, a close frame too."""
    near, _far = trio.testing.lockstep_stream_pair()
    stream = LinkStream(near, FrameLimits(), write_seconds=5)
    with trio.move_on_after(0):
        await stream.send_all(b"\x81\x05hello")
    assert stream.torn
    with pytest.raises(trio.BrokenResourceError, match="not finished"):
        await stream.send_all(b"\x81\x00")
    with pytest.raises(trio.BrokenResourceError, match="not finished"):
        await stream.send_close(1001, "")


async def test_writes_of_two_tasks_do_not_mix(autojump_clock: trio.testing.MockClock) -> None:
    """A ping from the writer and a pong from the library's reader come out whole, one after the other."""
    near, far = trio.testing.lockstep_stream_pair()
    stream = LinkStream(near, FrameLimits(), write_seconds=5)
    got = bytearray()

    async def read_slowly() -> None:
        await trio.lowlevel.checkpoint()
        while len(got) < 14:
            got.extend(await far.receive_some(3))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"\x8a\x0aaaaaaaaaaa")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(stream.send_ping)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(read_slowly)
    assert bytes(got) == b"\x8a\x0aaaaaaaaaaa\x89\x00"
    assert autojump_clock.current_time() < 5


async def test_closed_by_the_library_the_transport_stays_open() -> None:
    """trio-websocket closes its stream; the link can still say goodbye on the real one."""
    near, far = trio.testing.memory_stream_pair()
    stream = LinkStream(near, FrameLimits(), write_seconds=5)
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"\x81\x00")
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()
    await stream.send_close(1002, "no")
    assert await far.receive_some() == b"\x88\x04\x03\xeano"


async def test_lingering_reads_no_more_than_its_bound() -> None:
    """A peer that goes on sending while we close is cut off, not read for ever."""
    near, far = trio.testing.lockstep_stream_pair()
    sent = 0

    async def flood() -> None:
        nonlocal sent
        await trio.lowlevel.checkpoint()
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await far.send_all(b"x" * 16_384)
                sent += 16_384

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        with trio.fail_after(5):
            await close_lingering(near)
    assert sent <= LINGER_BYTES


async def test_lingering_under_a_deadline_still_closes(autojump_clock: trio.testing.MockClock) -> None:
    """A peer that neither sends nor closes is left when the caller's time is over."""
    near, far = trio.testing.memory_stream_pair()
    with trio.move_on_after(2):
        await close_lingering(near)
    assert autojump_clock.current_time() == pytest.approx(2.0)
    with pytest.raises(trio.BrokenResourceError):
        await far.send_all(b"x")


async def test_the_stream_is_handed_over_behind_the_head() -> None:
    """Whoever takes over gets the transport itself and the frames that came with the head."""
    near, far = trio.testing.memory_stream_pair()
    early = frame(TEXT, b"early")
    replay = ReplayStream(near, HEAD + early)
    assert replay.bare() is replay
    stream = LinkStream(replay, FrameLimits(), write_seconds=5)
    assert await stream.receive_some(65_536) == HEAD
    assert stream.hand_over() == (near, early)
    await far.send_all(b"fresh")
    assert await near.receive_some() == b"fresh"
