"""Slots bound what runs; a seat takes several in order and gives all of them back."""

import trio
import trio.testing

from spiderwebd.work.slots import FairSlots, Seat


async def test_slots_are_bounded_and_handed_on_in_order(nursery: trio.Nursery) -> None:
    """Sessions take turns in the order of their coming, and nobody gets a slot before it is released."""
    slots = FairSlots(1)
    got: list[str] = []

    async def wait(session: str) -> None:
        await slots.acquire(session)
        got.append(session)

    await slots.acquire("a")
    for session in ("b", "c"):
        nursery.start_soon(wait, session)
        await trio.testing.wait_all_tasks_blocked()
    assert not got
    slots.release("a")
    await trio.testing.wait_all_tasks_blocked()
    assert got == ["b"]
    slots.release("b")
    await trio.testing.wait_all_tasks_blocked()
    assert got == ["b", "c"]
    slots.release("c")
    assert slots.free == 1


async def test_a_wait_that_is_cancelled_takes_no_slot(nursery: trio.Nursery) -> None:
    """Who gives up waiting leaves the line, and the slot goes to the next."""
    slots = FairSlots(1)
    scope = trio.CancelScope()
    got: list[str] = []

    async def impatient() -> None:
        with scope:
            await slots.acquire("b")

    async def patient() -> None:
        await slots.acquire("c")
        got.append("c")

    await slots.acquire("a")
    nursery.start_soon(impatient)
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(patient)
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel(reason="test")
    slots.release("a")
    await trio.testing.wait_all_tasks_blocked()
    assert got == ["c"]
    assert slots.free == 0


async def test_seat_takes_in_order_and_leaves_in_reverse() -> None:
    """The first bound is taken first everywhere; taking or leaving twice happens once."""
    calls: list[tuple[str, str]] = []

    class Recorded:
        def __init__(self, name: str) -> None:
            self.name = name

        async def acquire(self, session: str) -> None:
            await trio.lowlevel.checkpoint()
            calls.append(("acquire", self.name + session))

        def release(self, session: str) -> None:
            calls.append(("release", self.name + session))

    seat = Seat("S", Recorded("session:"), Recorded("daemon:"))
    await seat.take()
    await seat.take()
    seat.leave()
    seat.leave()
    assert calls == [
        ("acquire", "session:S"),
        ("acquire", "daemon:S"),
        ("release", "daemon:S"),
        ("release", "session:S"),
    ]


async def test_cancelled_halfway_a_seat_keeps_nothing(nursery: trio.Nursery) -> None:
    """A seat cancelled between its two slots gives the first one back by itself."""
    session, daemon = FairSlots(1), FairSlots(1)
    await daemon.acquire("other")
    seat = Seat("S", session, daemon)
    scope = trio.CancelScope()

    async def take() -> None:
        with scope:
            await seat.take()

    nursery.start_soon(take)
    await trio.testing.wait_all_tasks_blocked()
    assert session.free == 0
    scope.cancel(reason="test")
    await trio.testing.wait_all_tasks_blocked()
    assert scope.cancelled_caught
    assert (session.free, daemon.free) == (1, 0)


async def test_a_session_with_many_tasks_delays_another_by_one_turn(nursery: trio.Nursery) -> None:
    """A single task of one session gets the first slot that a crowd gives back, ahead of its waiting ones."""
    slots = FairSlots(1)
    got: list[str] = []

    async def work(session: str) -> None:
        await slots.acquire(session)
        got.append(session)
        slots.release(session)

    await slots.acquire("crowd")
    for _ in range(50):
        nursery.start_soon(work, "crowd")
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(work, "single")
    await trio.testing.wait_all_tasks_blocked()
    assert slots.waiting == 51
    slots.release("crowd")
    await trio.testing.wait_all_tasks_blocked()
    assert got.index("single") == 0
    assert len(got) == 51
    assert slots.free == 1
