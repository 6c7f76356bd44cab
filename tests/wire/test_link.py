"""One websocket link, over memory streams so that time and stalls are exact."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
import trio.abc
import trio.testing

from spiderwebd.core.codes import Close
from spiderwebd.wire.carrier import link_on
from spiderwebd.wire.framing import FrameLimits
from spiderwebd.wire.head import upgrade_head
from spiderwebd.wire.link import EndedBy, Link, LinkEnd, LinkLimits
from spiderwebd.wire.listen import Peer
from tests.wire.loopback import BINARY, CLOSE, KEY, PING, PONG, TEXT, Path, RawClient, frame, on_path

CONTINUATION = 0x0
Receive = Callable[[str], Awaitable[None] | None]


@pytest.fixture(params=["fast", "plain"], scope="module", autouse=True)
def path(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run every test over our own codec and over trio-websocket's."""
    Path.fast = request.param == "fast"
    yield
    Path.fast = True


@dataclass
class Wire:
    """A link that runs, its client, and what came of it."""

    link: Link
    client: RawClient
    scope: trio.CancelScope
    texts: list[str] = field(default_factory=list)
    ends: list[LinkEnd] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    over: trio.Event = field(default_factory=trio.Event)

    async def end(self) -> LinkEnd:
        """Wait for the link's end and return it."""
        with trio.fail_after(100):
            await self.over.wait()
        return self.ends[0]


@asynccontextmanager
async def open_wire(
    receive: Receive | None = None,
    limits: LinkLimits | None = None,
    *,
    lockstep: bool = False,
    first: bytes = upgrade_head(KEY),
    answered: bool = True,
) -> AsyncIterator[Wire]:
    """Run a link that notes each text; a lockstep stream takes nothing until the client reads."""
    pair = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair
    near, far = pair()
    link = link_on(near, Peer("tcp", "memory"), on_path(limits))
    wire = Wire(link, RawClient(far), trio.CancelScope())

    async def note(text: str) -> None:
        wire.texts.append(text)
        await trio.lowlevel.checkpoint()

    async def run() -> None:
        await trio.lowlevel.checkpoint()
        try:
            with wire.scope:
                wire.ends.append(await link.run(receive or note))
        except Exception as fault:
            wire.faults.append(fault)
        wire.over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        if first:
            await wire.client.send(first)
        if answered:
            assert (await wire.client.read_head()).startswith(b"HTTP/1.1 101 ")
        yield wire
        await trio.aclose_forcefully(far)
        nursery.cancel_scope.cancel()


async def test_texts_arrive_in_order_and_whole() -> None:
    """Single frames, fragments and a multi-byte character cut in two arrive as they were sent."""
    euro = "\u20ac".encode()
    async with open_wire() as wire:
        await wire.client.send(
            frame(TEXT, b"one") + frame(TEXT, b"tw", final=False) + frame(CONTINUATION, b"o")
        )
        await wire.client.send(frame(TEXT, euro[:1], final=False) + frame(CONTINUATION, euro[1:]))
        await wire.client.send(frame(CLOSE, b"\x03\xe8bye"))
        assert await wire.client.read_close() == 1000
        assert await wire.end() == LinkEnd(1000, "bye", EndedBy.PEER)
        assert wire.texts == ["one", "two", "\u20ac"]
        assert wire.link.frames_received == 6


async def test_frames_pipelined_behind_the_head_are_not_lost() -> None:
    """What came in the same packet as the upgrade request is received."""
    async with open_wire(first=upgrade_head(KEY) + frame(TEXT, b"early") + frame(CLOSE, b"\x03\xe8")) as wire:
        assert (await wire.end()).code == 1000
        assert wire.texts == ["early"]


async def test_a_stream_cut_into_single_bytes_is_the_same() -> None:
    """Head and frames may come byte by byte."""
    data = upgrade_head(KEY) + frame(TEXT, b"x" * 200) + frame(CLOSE, b"\x03\xe8")
    async with open_wire(first=b"", answered=False) as wire:
        for position in range(len(data)):
            await wire.client.send(data[position : position + 1])
            await trio.testing.wait_all_tasks_blocked()
        assert (await wire.end()).code == 1000
        assert wire.texts == ["x" * 200]


async def test_sent_texts_come_out_in_order() -> None:
    """Frames sent before and after the upgrade leave in the order of sending."""
    async with open_wire() as wire:
        assert all(wire.link.send(f"frame {number}") for number in range(100))
        assert [await wire.client.read_frame() for _ in range(100)] == [
            (TEXT, b"frame %d" % number) for number in range(100)
        ]
        assert await wire.link.drained()


async def test_close_sends_what_waits_and_then_says_why() -> None:
    """A graceful end flushes the outbox, and only the first reason counts."""
    async with open_wire() as wire:
        wire.link.send("last words")
        wire.link.close(Close.GOING_AWAY, "stopping")
        wire.link.close(Close.POLICY, "too late")
        assert not wire.link.send("later still")
        assert await wire.client.read_frame() == (TEXT, b"last words")
        assert await wire.client.read_frame() == (CLOSE, b"\x03\xe9stopping")
        await wire.client.send(frame(CLOSE, b"\x03\xe9"))
        assert await wire.end() == LinkEnd(1001, "stopping", EndedBy.DAEMON)
        assert not await wire.link.drained()


async def test_a_peer_that_never_answers_the_close_is_left(autojump_clock: trio.testing.MockClock) -> None:
    """From asking for the end to the closed socket take close_seconds at most."""
    async with open_wire() as wire:
        start = autojump_clock.current_time()
        wire.link.close(Close.NORMAL)
        assert await wire.end() == LinkEnd(1000, "The client asked to disconnect.", EndedBy.DAEMON)
        assert trio.current_time() - start == pytest.approx(2.0)
        assert await wire.client.read_close() == 1000


async def test_a_full_outbox_ends_the_link_as_a_slow_consumer() -> None:
    """The frame that does not fit is refused, nothing is skipped, and the client may resume."""
    limits = LinkLimits(outbox_frames=3)
    async with open_wire(limits=limits) as wire:
        assert [wire.link.send("x") for _ in range(5)] == [True, True, True, False, False]
        opcode, payload = await wire.client.read_frame()
        assert (opcode, payload[:2]) == (CLOSE, b"\x11\x3d")
        await wire.client.send(frame(CLOSE, b"\x11\x3d"))
        assert (await wire.end()).code == 4413


async def test_a_write_past_its_deadline_ends_the_link(autojump_clock: trio.testing.MockClock) -> None:
    """A peer that stops reading is cut at the deadline; the outbox keeps its bound meanwhile."""
    limits = LinkLimits(write_seconds=20, outbox_frames=4)
    async with open_wire(limits=limits, lockstep=True) as wire:
        start = autojump_clock.current_time()
        assert wire.link.send("never read")
        await trio.testing.wait_all_tasks_blocked()
        assert [wire.link.send("waits") for _ in range(3)] == [True] * 3
        assert len(wire.link.outbox) == 4
        end = await wire.end()
        assert (end.code, end.by) == (4413, EndedBy.DAEMON)
        assert 20 <= trio.current_time() - start <= 22


async def test_an_end_without_flush_finishes_the_frame_in_hand_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Of a batch being written the rest is dropped, and the close frame follows whole."""
    async with open_wire(lockstep=True) as wire:
        for number in range(10):
            wire.link.send(f"frame {number}")
        await trio.testing.wait_all_tasks_blocked()
        wire.link.close(Close.REVOKED, flush=False)
        assert await wire.client.read_frame() == (TEXT, b"frame 0")
        opcode, payload = await wire.client.read_frame()
        assert (opcode, payload[:2]) == (CLOSE, b"\x11\x33")
        assert autojump_clock.current_time() < 2


@pytest.mark.parametrize("before_the_upgrade", [True, False])
async def test_a_stalled_peer_does_not_hold_up_a_graceful_end(
    before_the_upgrade: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """Flushing is bounded by close_seconds, not by the deadline of a write."""
    async with open_wire(lockstep=True, answered=not before_the_upgrade) as wire:
        wire.link.send("never read")
        if not before_the_upgrade:
            await trio.testing.wait_all_tasks_blocked()
        start = autojump_clock.current_time()
        wire.link.close(Close.GOING_AWAY)
        if before_the_upgrade:
            await wire.client.read_head()
        await wire.end()
        assert trio.current_time() - start == pytest.approx(2.0)


async def test_a_peer_that_pings_but_never_reads_is_cut_as_well(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Pongs are written under the same deadline, though the link has nothing to say."""
    async with open_wire(lockstep=True) as wire:
        start = autojump_clock.current_time()
        await wire.client.send(frame(PING, b"?"))
        assert (await wire.end()).code == 4413
        assert trio.current_time() - start <= 22


async def test_cancelled_the_link_says_going_away(autojump_clock: trio.testing.MockClock) -> None:
    """A daemon that stops hard still sends 1001, and waits for nobody's answer."""
    async with open_wire() as wire:
        await trio.testing.wait_all_tasks_blocked()
        start = autojump_clock.current_time()
        wire.scope.cancel()
        assert await wire.client.read_close() == 1001
        await wire.client.stream.aclose()
        await wire.over.wait()
        assert trio.current_time() - start < 0.1
        assert wire.link.end is not None
        assert wire.link.end.code == 1001


async def test_nothing_is_written_into_a_torn_frame(autojump_clock: trio.testing.MockClock) -> None:
    """Cancelled in the middle of a frame, the stream ends there: no close frame inside the payload."""
    async with open_wire(lockstep=True) as wire:
        wire.link.send("x" * 1000)
        part = await wire.client.stream.receive_some(100)
        assert part == b"\x81\x7e\x03\xe8" + b"x" * 96
        wire.scope.cancel()
        await wire.over.wait()
        rest = await wire.client.read_to_end()
        assert set(rest) <= {ord("x")}
        assert autojump_clock.current_time() >= 0


async def test_a_fault_in_receive_closes_with_1011_and_is_raised() -> None:
    """The peer is told, the wall outside gets the exception itself."""

    async def broken(text: str) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError(f"planted for {text}")

    async with open_wire(broken) as wire:
        await wire.client.send(frame(TEXT, b"me"))
        assert await wire.client.read_close() == 1011
        await wire.client.send(frame(CLOSE, b"\x03\xf3"))
        await wire.over.wait()
        assert [str(fault) for fault in wire.faults] == ["planted for me"]


async def test_a_frame_that_cannot_be_encoded_is_a_fault_of_ours() -> None:
    """A lone surrogate from the renderer ends this link with 1011, and does not raise at the sender."""
    async with open_wire() as wire:
        assert wire.link.send("\ud800")
        assert await wire.client.read_close() == 1011
        await wire.client.send(frame(CLOSE, b"\x03\xf3"))
        await wire.over.wait()
        assert isinstance(wire.faults[0], UnicodeEncodeError)


SMALL = LinkLimits(frames=FrameLimits(message_bytes=1000, fragments=50, frames_per_second=5, burst=100))


BREACHES: dict[str, tuple[bytes, int]] = {
    "binary": (frame(BINARY, b"\x00"), 1003),
    "oversize": (frame(TEXT, b"x" * 1001), 1009),
    "oversize in bytes, not in characters": (frame(TEXT, "\u20ac".encode() * 400), 1009),
    "oversize in fragments": (frame(TEXT, b"x" * 600, final=False) + frame(CONTINUATION, b"x" * 600), 1009),
    "length 2**64-1": (b"\x81\xff" + b"\xff" * 8 + b"mask", 1009),
    "invalid UTF-8": (frame(TEXT, b"caf\xe9"), 1007),
    "surrogate in UTF-8": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "unmasked": (frame(TEXT, b"x", masked=False), 1002),
    "reserved opcode": (frame(0x3, b"x"), 1002),
    "reserved bit": (frame(TEXT, b"x", rsv=0x40), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "fragmented ping": (frame(PING, b"x", final=False), 1002),
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "close with 1005": (frame(CLOSE, b"\x03\xed"), 1002),
    "empty continuations": (frame(TEXT, final=False) + frame(CONTINUATION, final=False) * 50, 1008),
    "ping flood": (frame(PING) * 101, 1008),
    "text flood": (frame(TEXT, b"x") * 101, 1008),
}


@pytest.mark.parametrize("name", BREACHES)
async def test_a_peer_that_breaks_a_rule_is_told_which(name: str) -> None:
    """What was sent before is received, then the close frame names the breach."""
    data, code = BREACHES[name]
    async with open_wire(limits=SMALL) as wire:
        await wire.client.send(frame(TEXT, b"honest") + data)
        assert await wire.client.read_close() == code
        await wire.client.stream.aclose()
        end = await wire.end()
        assert end.code == code
        assert wire.texts[0] == "honest"
        assert wire.faults == []


async def test_pings_are_answered_while_a_text_is_being_received() -> None:
    """A handler that takes its time does not make the link look dead."""
    go_on = trio.Event()

    async def slow(_text: str) -> None:
        await go_on.wait()

    async with open_wire(slow) as wire:
        await wire.client.send(frame(TEXT, b"work") + frame(PING, b"still there?"))
        assert await wire.client.read_frame() == (PONG, b"still there?")
        go_on.set()


async def test_ping_reaches_the_peer_and_its_pong_is_heard(autojump_clock: trio.testing.MockClock) -> None:
    """The sweep asks without waiting; the answer moves heard_at."""
    async with open_wire() as wire:
        await trio.testing.wait_all_tasks_blocked()
        autojump_clock.jump(30)
        wire.link.ping()
        assert wire.link.pinged_at == trio.current_time() >= wire.link.heard_at + 30
        assert await wire.client.read_frame() == (PING, b"")
        await wire.client.send(frame(PONG))
        await trio.testing.wait_all_tasks_blocked()
        assert wire.link.heard_at >= wire.link.pinged_at


async def test_a_vanished_peer_ends_the_link() -> None:
    """A connection that just goes is reported as 1006, after the texts that came before."""
    async with open_wire() as wire:
        await wire.client.send(frame(TEXT, b"last"))
        await wire.client.stream.aclose()
        assert await wire.end() == LinkEnd(1006, "the connection was lost", EndedBy.NETWORK)
        assert wire.texts == ["last"]


async def test_a_link_that_ends_stops_its_receive() -> None:
    """A handler that would wait for ever is cancelled when the link is closed from outside."""
    stopped = trio.Event()

    async def stuck(_text: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            stopped.set()

    async with open_wire(stuck) as wire:
        await wire.client.send(frame(TEXT, b"work"))
        await trio.testing.wait_all_tasks_blocked()
        wire.link.close(Close.REVOKED)
        assert await wire.client.read_close() == 4403
        await wire.client.send(frame(CLOSE, b"\x11\x33"))
        await wire.end()
        assert stopped.is_set()


async def test_an_upgrade_that_never_comes_ends_in_time(autojump_clock: trio.testing.MockClock) -> None:
    """Even without the door in front a silent peer costs open_seconds."""
    async with open_wire(first=b"GET / HTTP/1.1\r\n", answered=False) as wire:
        start = autojump_clock.current_time()
        assert (await wire.end()).by == EndedBy.NETWORK
        assert trio.current_time() - start <= 5 + 2


async def test_closed_before_the_upgrade() -> None:
    """A link may be told to end before it ever spoke; its client still learns why."""
    near, far = trio.testing.memory_stream_pair()
    link = link_on(near, Peer("tcp", "memory"), on_path(None))
    client = RawClient(far)
    link.send("hello")
    link.close(Close.TRY_AGAIN)

    async def nothing(_text: str) -> None:
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run, nothing)
        await client.send(upgrade_head(KEY))
        await client.read_head()
        assert await client.read_frame() == (TEXT, b"hello")
        assert await client.read_close() == 1013
        await client.send(frame(CLOSE, b"\x03\xf5"))


async def test_a_receive_that_needs_not_wait_takes_texts_at_once() -> None:
    """A callback may be a plain function; its answers come back in order."""
    links: list[Link] = []

    def echo(text: str) -> None:
        links[0].send(f"re {text}")

    async with open_wire(echo) as wire:
        links.append(wire.link)
        await wire.client.send(frame(TEXT, b"one") + frame(TEXT, b"two"))
        assert [await wire.client.read_frame() for _ in range(2)] == [(TEXT, b"re one"), (TEXT, b"re two")]


async def test_a_link_runs_once() -> None:
    """A second run would read a stream that is gone."""
    async with open_wire() as wire:
        await wire.client.send(frame(CLOSE, b"\x03\xe8"))
        await wire.end()
        with pytest.raises(RuntimeError, match="ran before"):
            await wire.link.run(wire.texts.append)
