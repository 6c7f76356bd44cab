"""The gate holds while it is closed and lets all through when it opens."""

import trio
import trio.testing

from spiderwebd.work.gate import Gate


async def test_open_gate_is_a_checkpoint_and_no_wait() -> None:
    """An open gate lets a step through, giving other tasks their turn."""
    gate = Gate()
    with trio.testing.assert_checkpoints(), trio.fail_after(1):
        await gate.wait()
    assert not gate.paused


async def test_closed_gate_holds_all_until_it_opens(nursery: trio.Nursery) -> None:
    """Everyone who comes while it is closed waits, and one resume frees them all."""
    gate = Gate()
    passed: list[int] = []

    async def step(number: int) -> None:
        await gate.wait()
        passed.append(number)

    gate.pause()
    gate.pause()
    for number in range(3):
        nursery.start_soon(step, number)
    await trio.testing.wait_all_tasks_blocked()
    assert not passed
    gate.resume()
    gate.resume()
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(passed) == [0, 1, 2]


async def test_closed_again_before_the_wakened_have_run(nursery: trio.Nursery) -> None:
    """A pause right after a resume holds those who had not gone on yet."""
    gate = Gate()
    passed = trio.Event()

    async def step() -> None:
        await gate.wait()
        passed.set()

    gate.pause()
    nursery.start_soon(step)
    await trio.testing.wait_all_tasks_blocked()
    gate.resume()
    gate.pause()
    await trio.testing.wait_all_tasks_blocked()
    assert not passed.is_set()
    gate.resume()
    with trio.fail_after(1):
        await passed.wait()
