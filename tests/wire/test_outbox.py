"""The outbox of a link."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from spiderwebd.wire.outbox import BATCH_FRAMES, Outbox


async def test_frames_come_out_in_order_and_whole() -> None:
    """What was pushed is taken once, in order."""
    outbox = Outbox(max_frames=1000, max_bytes=100_000)
    pushed = [f"frame {number}" for number in range(BATCH_FRAMES + 10)]
    assert all(outbox.push(text) for text in pushed)
    first, second = await outbox.next_batch(), await outbox.next_batch()
    assert len(first) == BATCH_FRAMES
    assert first + second == pushed


async def test_the_batch_being_written_counts_until_it_is_written() -> None:
    """A taken batch still fills the outbox; asking for the next one makes room."""
    outbox = Outbox(max_frames=2, max_bytes=100)
    assert outbox.push("a")
    assert outbox.push("b")
    assert await outbox.next_batch() == ["a", "b"]
    assert not outbox.push("c")
    outbox.wake()
    with trio.move_on_after(0):
        await outbox.next_batch()
    assert outbox.push("c")
    assert (len(outbox), outbox.bytes) == (1, 1)


def test_bytes_are_counted_as_utf8() -> None:
    """A text of three characters and nine bytes does not fit into eight bytes."""
    outbox = Outbox(max_frames=10, max_bytes=8)
    assert not outbox.push("\u20ac\u20ac\u20ac")
    assert outbox.bytes == 0
    assert outbox.push("\u20ac\u20ac")
    assert outbox.bytes == 6


async def test_a_push_wakes_the_writer(autojump_clock: trio.testing.MockClock) -> None:
    """A waiting writer gets the frame, without any time passing."""
    outbox = Outbox(max_frames=10, max_bytes=100)
    batches: list[list[str]] = []

    async def writer() -> None:
        batches.append(await outbox.next_batch())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer)
        await trio.testing.wait_all_tasks_blocked()
        outbox.push("now")
    assert batches == [["now"]]
    assert trio.current_time() == autojump_clock.current_time()


async def test_closed_keeps_what_waits_unless_discarding() -> None:
    """After close nothing can be pushed; what waited is still taken, then nothing for good."""
    outbox = Outbox(max_frames=10, max_bytes=100)
    outbox.push("last")
    outbox.close()
    assert not outbox.push("too late")
    assert await outbox.next_batch() == ["last"]
    assert await outbox.next_batch() == []
    assert await outbox.next_batch() == []

    dropped = Outbox(max_frames=10, max_bytes=100)
    dropped.push("gone")
    dropped.close(discard=True)
    assert await dropped.next_batch() == []
    assert (len(dropped), dropped.bytes) == (0, 0)


async def test_drained_waits_for_what_was_pushed_before_and_no_more() -> None:
    """A replay waits for its own page even while others keep the outbox full."""
    outbox = Outbox(max_frames=10, max_bytes=100)
    outbox.push("page")
    results: list[bool] = []

    async def replay() -> None:
        results.append(await outbox.drained())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(replay)
        await trio.testing.wait_all_tasks_blocked()
        assert await outbox.next_batch() == ["page"]
        outbox.push("live")
        await trio.testing.wait_all_tasks_blocked()
        assert results == []
        assert await outbox.next_batch() == ["live"]
    assert results == [True]


async def test_drained_is_false_when_the_link_ends() -> None:
    """Nobody waits for an outbox that will never be written."""
    outbox = Outbox(max_frames=10, max_bytes=100)
    outbox.push("page")
    results: list[bool] = []

    async def replay() -> None:
        results.append(await outbox.drained())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(replay)
        await trio.testing.wait_all_tasks_blocked()
        outbox.close(discard=True)
    assert results == [False]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.text(max_size=6), st.none()), max_size=60), st.integers(1, 8), st.integers(1, 20)
)
async def test_bounds_hold_and_nothing_is_lost(
    steps: list[str | None], max_frames: int, max_bytes: int
) -> None:
    """For any pushes and takes: never beyond the bounds, every accepted frame once, in order."""
    outbox = Outbox(max_frames=max_frames, max_bytes=max_bytes)
    accepted: list[str] = []
    taken: list[str] = []
    for step in steps:
        if step is None:
            outbox.wake()
            if len(outbox) and len(accepted) > len(taken):
                taken += await outbox.next_batch()
        else:
            fits = len(outbox) < max_frames and outbox.bytes + len(step.encode()) <= max_bytes
            assert outbox.push(step) is fits
            if fits:
                accepted.append(step)
        assert len(outbox) <= max_frames
        assert 0 <= outbox.bytes <= max_bytes
    outbox.close()
    while batch := await outbox.next_batch():
        taken += batch
    assert taken == accepted
    assert (len(outbox), outbox.bytes) == (0, 0)


def test_taking_without_waiting_keeps_both_bounds() -> None:
    """A batch has one frame at least, and no more frames or bytes than asked for."""
    outbox = Outbox(max_frames=10, max_bytes=1_000)
    for text in ("long" * 10, "a", "b", "c"):
        assert outbox.push(text)
    assert outbox.take(10, 5) == ["long" * 10]
    assert (len(outbox), outbox.bytes) == (4, 43)
    assert outbox.take(2, 5) == ["a", "b"]
    assert outbox.take(2, 5) == ["c"]
    assert outbox.take(2, 5) == []
    assert (len(outbox), outbox.bytes) == (0, 0)
