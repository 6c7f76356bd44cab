"""A goal's batch runs what is added until it is closed or its deadline passes."""

from functools import partial

import trio
import trio.testing

from spiderwebd.work.batch import Batch


async def test_runs_what_came_before_and_after_it_opened(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Tasks added before `run` and while it runs all start; closing lets it return."""
    batch = Batch(trio.current_time() + 60)
    done: list[int] = []
    names: list[str] = []
    results: list[bool] = []

    async def task(number: int) -> None:
        names.append(trio.lowlevel.current_task().name)
        done.append(number)
        await trio.lowlevel.checkpoint()

    async def run() -> None:
        results.append(await batch.run())

    batch.add(partial(task, 1), name="one")
    nursery.start_soon(run)
    await trio.testing.wait_all_tasks_blocked()
    batch.add(partial(task, 2), name="two")
    await trio.testing.wait_all_tasks_blocked()
    assert (done, names) == ([1, 2], ["one", "two"])
    batch.close("test")
    await trio.testing.wait_all_tasks_blocked()
    assert results == [False]


async def test_deadline_ends_it(autojump_clock: trio.testing.MockClock) -> None:
    """At the deadline everything is cancelled and `run` says that it was the deadline."""
    batch = Batch(trio.current_time() + 60)
    batch.add(trio.sleep_forever, name="forever")
    with trio.fail_after(61):
        assert await batch.run()
    assert trio.current_time() == 60


async def test_closing_cancels_what_runs(nursery: trio.Nursery) -> None:
    """Closing leaves no child, tells it the reason, and nothing starts afterwards."""
    batch = Batch(trio.current_time() + 60)
    reasons: list[str | None] = []

    async def task() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            reasons.append(cancelled.reason)
            raise

    async def never() -> None:
        await trio.lowlevel.checkpoint()
        raise AssertionError("started after the end")

    async def run() -> None:
        assert not await batch.run()

    batch.add(task, name="task")
    nursery.start_soon(run)
    await trio.testing.wait_all_tasks_blocked()
    batch.close("cancelled on request")
    batch.add(never, name="never")
    await trio.testing.wait_all_tasks_blocked()
    batch.add(never, name="never")
    await trio.testing.wait_all_tasks_blocked()
    assert reasons == ["cancelled on request"]
    assert nursery.child_tasks == frozenset()


async def test_closed_before_it_opened() -> None:
    """A batch closed before `run` returns at once and starts nothing."""
    batch = Batch(trio.current_time() + 60)
    started: list[int] = []

    async def task() -> None:
        await trio.lowlevel.checkpoint()
        started.append(1)

    batch.add(task, name="task")
    batch.close("test")
    with trio.fail_after(1):
        assert not await batch.run()
    assert not started
