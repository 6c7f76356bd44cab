"""Blocking functions run in a thread within their limit, or inline."""

import threading

import pytest
import trio

from spiderwebd.work.blocking import InThreads, run_inline


def _fail() -> int:
    raise KeyError("x")


async def test_threads_run_elsewhere_within_the_limit() -> None:
    """The service's runner leaves the loop's thread, and never runs more at once than it may."""
    run = InThreads(trio.CapacityLimiter(2))
    together = threading.Barrier(2, timeout=10)
    lock = threading.Lock()
    now = peak = 0
    threads: set[int] = set()

    def work() -> None:
        nonlocal now, peak
        with lock:
            now += 1
            peak = max(peak, now)
            threads.add(threading.get_ident())
        together.wait()
        with lock:
            now -= 1

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(run, work)
    assert peak == 2
    assert threading.get_ident() not in threads


async def test_inline_runs_here() -> None:
    """The inline runner returns what the function returned, from the same thread."""
    assert await run_inline(threading.get_ident) == threading.get_ident()


@pytest.mark.parametrize("inline", [True, False])
async def test_what_is_raised_is_raised_here(inline: bool) -> None:
    """An exception of the function reaches the caller unchanged."""
    run = run_inline if inline else InThreads(trio.CapacityLimiter(1))
    with pytest.raises(KeyError):
        await run(_fail)
