"""The inbox: order, bound, room."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from spiderwebd.session.inbox import Inbox


async def test_everything_is_taken_in_order() -> None:
    """What clients sent and what the session put come out in one order, all at once."""
    inbox: Inbox[int] = Inbox(2)
    assert inbox.offer(1)
    inbox.put(2)
    assert inbox.offer(3)
    assert len(inbox) == 3
    assert await inbox.take() == [1, 2, 3]
    assert len(inbox) == 0


async def test_the_bound_holds_for_clients_alone() -> None:
    """A full inbox refuses what clients offer, never what the session itself started."""
    inbox: Inbox[int] = Inbox(1)
    assert inbox.offer(1)
    assert not inbox.offer(2)
    inbox.put(3)
    assert await inbox.take() == [1, 3]
    assert inbox.offer(4)


async def test_a_waiting_taker_is_woken() -> None:
    """take waits for the first item and returns it."""
    inbox: Inbox[str] = Inbox(1)
    taken: list[list[str]] = []

    async def take() -> None:
        taken.append(await inbox.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        assert taken == []
        inbox.put("late")
    assert taken == [["late"]]


async def test_room_comes_when_the_loop_takes(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever waits for room is woken by the taker, and not before; the deadline is the caller's."""
    inbox: Inbox[int] = Inbox(1)
    inbox.offer(1)
    with pytest.raises(trio.TooSlowError), trio.fail_after(5):
        await inbox.room()
    got: list[bool] = []

    async def press() -> None:
        await inbox.room()
        got.append(inbox.offer(2))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(press)
        await trio.testing.wait_all_tasks_blocked()
        assert await inbox.take() == [1]
    assert got == [True]


async def test_the_oldest_has_an_age(autojump_clock: trio.testing.MockClock) -> None:
    """Counted from the first that nobody has taken, whatever came after it; 0 when nothing waits."""
    inbox: Inbox[int] = Inbox(2)
    assert inbox.oldest_seconds == 0
    inbox.put(1)
    await trio.sleep(3)
    inbox.put(2)
    await trio.sleep(1)
    assert inbox.oldest_seconds == pytest.approx(4)
    await inbox.take()
    await trio.sleep(1)
    assert inbox.oldest_seconds == 0
    inbox.put(3)
    await trio.sleep(2)
    assert inbox.oldest_seconds == pytest.approx(2)


async def test_a_cancelled_taker_loses_nothing() -> None:
    """What comes after a cancelled take is there for the next one."""
    inbox: Inbox[int] = Inbox(1)
    with trio.move_on_after(0):
        await inbox.take()
    inbox.put(7)
    assert await inbox.take() == [7]


async def test_a_closed_inbox_holds_nothing() -> None:
    """Once closed it forgets what waits and takes in nothing more."""
    inbox: Inbox[int] = Inbox(1)
    inbox.put(1)
    inbox.close()
    inbox.put(2)
    assert len(inbox) == 0
    assert inbox.oldest_seconds == 0
    await trio.lowlevel.checkpoint()
