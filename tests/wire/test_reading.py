"""The reading side of an open link, over real sockets and memory streams."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
import trio.abc
import trio.testing

from spiderwebd.wire.codec import PeerClose
from spiderwebd.wire.framing import FrameLimits, text_frame
from spiderwebd.wire.outbox import Outbox
from spiderwebd.wire.reading import READ_AHEAD, MessageReader, Receive
from spiderwebd.wire.turn import BURST, TURN_SECONDS
from spiderwebd.wire.writing import FrameWriter
from tests.wire.loopback import CLOSE, PING, PONG, TEXT, RawClient, frame


@dataclass
class Side:
    """A reader that runs, its peer, and what it handed on."""

    reader: MessageReader
    writer: FrameWriter
    client: RawClient
    texts: list[str]
    faults: list[Exception]
    done: trio.Event = field(default_factory=trio.Event)


@asynccontextmanager
async def open_side(
    receive: Receive | None = None, *, held: bytes = b"", lockstep: bool = False
) -> AsyncIterator[Side]:
    """Run a reader that notes texts at once, over a socket unless lockstep."""
    near: trio.abc.Stream
    far: trio.abc.Stream
    if lockstep:
        near, far = trio.testing.lockstep_stream_pair()
    else:
        one, other = trio.socket.socketpair()
        near, far = trio.SocketStream(one), trio.SocketStream(other)
    texts: list[str] = []
    faults: list[Exception] = []
    outbox = Outbox(max_frames=5_000, max_bytes=1_000_000)
    writer = FrameWriter(near, outbox, write_seconds=5, finished=lambda: None, fault=faults.append)
    reader = MessageReader(
        near,
        held,
        FrameLimits(),
        writer,
        receive=receive or texts.append,
        going_on=lambda: not faults,
        fault=faults.append,
    )
    side = Side(reader, writer, RawClient(far), texts, faults)

    async def run(nursery: trio.Nursery) -> None:
        await reader.run(nursery)
        side.done.set()

    async with near, far, trio.open_nursery() as nursery:
        writer.open(nursery)
        nursery.start_soon(run, nursery)
        yield side
        nursery.cancel_scope.cancel()
        writer.shut()


async def test_messages_are_handed_on_by_the_one_task_that_reads() -> None:
    """No task has to wake up for a message: that which reads for all links hands it on."""
    tasks = set()

    def receive(_text: str) -> None:
        tasks.add(trio.lowlevel.current_task().name)

    async with open_side(receive) as side:
        await side.client.send(frame(TEXT, b"one") + frame(TEXT, b"two") + frame(CLOSE, b"\x03\xe8bye"))
        await side.done.wait()
        assert tasks == {"link readiness"}
        assert side.reader.close == PeerClose(1000, "bye")


async def flood(messages: int, cost: Callable[[], None] = lambda: None) -> int:
    """Send many messages at once; return the most that were handed on between two turns of another task."""
    turns: list[int] = []
    seen: list[str] = []
    done = trio.Event()

    def receive(text: str) -> None:
        seen.append(text)
        cost()
        if len(seen) == messages:
            done.set()

    async def bystander() -> None:
        while True:
            turns.append(len(seen))
            await trio.lowlevel.checkpoint()

    async with open_side(receive) as side, trio.open_nursery() as nursery:
        await side.client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(messages)))
        nursery.start_soon(bystander)
        await done.wait()
        nursery.cancel_scope.cancel()
    assert seen == [str(number) for number in range(messages)]
    return max(after - before for before, after in itertools.pairwise(turns))


async def test_a_flood_gives_way_to_others_every_few_messages() -> None:
    """However much one read brings, all other tasks have their turn after a burst of it."""
    with trio.fail_after(5):
        most = await flood(200)
    # Two bursts, when the first comes late in one turn of the loop and the second early in the next.
    assert most <= 2 * BURST


async def test_late_in_a_turn_a_flood_gives_way_after_each_message(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Once a turn of the loop has lasted long enough, a flood has one message of it."""
    # Two, when one comes late in one turn of the loop and one early in the next.
    assert await flood(100, lambda: mock_clock.jump(1.5 * TURN_SECONDS)) <= 2


async def test_what_came_with_the_head_is_first() -> None:
    """Held bytes are read before the socket is, also when a frame is cut between the two."""
    data = frame(TEXT, b"first") + frame(TEXT, b"second")
    async with open_side(held=data[:-3]) as side:
        await side.client.send(data[-3:])
        await side.client.stream.aclose()
        await side.done.wait()
        assert side.texts == ["first", "second"]
        assert side.reader.peer_gone


async def test_long_messages_pass_whole() -> None:
    """A message of many reads is one message."""
    async with open_side() as side:
        await side.client.send(frame(TEXT, b"x" * 250_000) + frame(CLOSE))
        await side.done.wait()
        assert side.texts == ["x" * 250_000]
        assert side.reader.close == PeerClose(1005, "")


async def test_answers_to_one_chunk_go_out_together() -> None:
    """What the messages of one read are answered is joined."""
    sides: list[Side] = []

    def receive(text: str) -> None:
        sides[0].writer.send(f"re {text}")

    async with open_side(receive) as side:
        sides.append(side)
        await side.client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(BURST)))
        expected = b"".join(text_frame(f"re {number}") for number in range(BURST))
        assert await side.client.stream.receive_some() == expected


async def test_a_callback_that_waits_keeps_the_order() -> None:
    """Messages behind one that waits wait too, whether they would be taken at once or not."""
    go_on = trio.Event()
    order: list[str] = []

    def receive(text: str) -> Awaitable[None] | None:
        if text.startswith("wait"):
            return later(text)
        order.append(text)
        return None

    async def later(text: str) -> None:
        await go_on.wait()
        order.append(text)

    async with open_side(receive) as side:
        for text in (b"a", b"wait b", b"c", b"wait d", b"e"):
            await side.client.send(frame(TEXT, text))
        await side.client.send(frame(PING, b"meanwhile"))
        assert await side.client.read_frame() == (PONG, b"meanwhile")
        assert order == ["a"]
        go_on.set()
        await side.client.send(frame(CLOSE))
        await side.done.wait()
        assert order == ["a", "wait b", "c", "wait d", "e"]


async def test_the_last_messages_are_taken_before_the_end_is_told() -> None:
    """A close frame, or a breach, waits for what was sent before it."""
    taken: list[str] = []
    go_on = trio.Event()

    async def receive(text: str) -> None:
        await go_on.wait()
        taken.append(text)

    async with open_side(receive) as side:
        await side.client.send(frame(TEXT, b"one") + frame(TEXT, b"two") + frame(3))
        await trio.testing.wait_all_tasks_blocked()
        assert not side.done.is_set()
        go_on.set()
        await side.done.wait()
        assert taken == ["one", "two"]
        assert side.reader.meter.verdict is not None


async def test_a_callback_that_waits_holds_the_peer_back() -> None:
    """No more than READ_AHEAD messages are kept; the next is not read until there is room."""
    go_on = trio.Event()

    async def receive(_text: str) -> None:
        await go_on.wait()

    async with open_side(receive, lockstep=True) as side:
        for _ in range(READ_AHEAD + 1):
            await side.client.send(frame(TEXT, b"x"))
        with trio.move_on_after(0.01) as blocked:
            await side.client.send(frame(TEXT, b"one too many"))
        assert blocked.cancelled_caught
        assert side.reader.meter.frames == READ_AHEAD + 1
        go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        await side.client.send(frame(TEXT, b"x"))


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_fault_of_the_callback_is_reported_and_ends_the_reading(waiting: bool) -> None:
    """Raised at once or after waiting, it goes to the link, and no message follows."""

    def at_once(text: str) -> None:
        raise RuntimeError(text)

    async def later(text: str) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError(text)

    async with open_side(later if waiting else at_once) as side:
        await side.client.send(frame(TEXT, b"first") + frame(TEXT, b"second"))
        await side.client.stream.aclose()
        await side.done.wait()
        assert [str(fault) for fault in side.faults] == ["first"]


async def test_waiting_for_the_answer_to_a_close() -> None:
    """What still comes is thrown away up to the peer's close frame."""
    near, far = trio.testing.memory_stream_pair()
    texts: list[str] = []
    faults: list[Exception] = []
    outbox = Outbox(max_frames=10, max_bytes=1_000)
    writer = FrameWriter(near, outbox, write_seconds=5, finished=lambda: None, fault=faults.append)
    reader = MessageReader(
        near, b"", FrameLimits(), writer, receive=texts.append, going_on=lambda: False, fault=faults.append
    )
    await far.send_all(frame(TEXT, b"late") + frame(CLOSE, b"\x03\xe9"))
    await reader.await_close()
    assert (texts, reader.close) == ([], PeerClose(1001, ""))
