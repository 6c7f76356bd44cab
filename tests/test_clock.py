"""One clock: wall and monotonic time move together, and only the wall steps."""

from __future__ import annotations

import time

import trio
from trio.testing import MockClock

from spiderwebd.clock import SteppedClock, SystemClock


async def test_the_system_clock_reads_wall_and_loop() -> None:
    """Wall time is the epoch's milliseconds, monotonic time is the loop's."""
    clock = SystemClock()
    await trio.lowlevel.checkpoint()
    before = time.time_ns() // 1_000_000
    wall = clock.wall_ms()
    after = time.time_ns() // 1_000_000
    assert before - 50 <= wall <= after + 50
    assert abs(clock.stepped()) < 0.05
    start = trio.current_time()
    assert start <= clock.monotonic() <= trio.current_time()


def test_the_system_clock_goes_on_evenly_when_the_system_s_is_set() -> None:
    """Set forwards or back, the wall goes on as before until it is told to follow."""
    system, even = 1_000_000_000_000, 5_000_000_000
    clock = SystemClock(lambda: system, lambda: even)
    assert clock.wall_ms() == 1_000_000
    for step in (3_600, -7_200):
        system += step * 1_000_000_000
        system, even = system + 2_000_000_000, even + 2_000_000_000
        before = clock.wall_ms()
        assert clock.stepped() == step
        clock.follow()
        assert clock.stepped() == 0
        assert clock.wall_ms() == before + step * 1000
        assert clock.wall_ms() == system // 1_000_000


async def test_the_stepped_clock_moves_with_the_mock_clock(mock_clock: MockClock) -> None:
    """Jumping trio's clock by a second moves wall and monotonic time by a second."""
    clock = SteppedClock()
    wall, monotonic = clock.wall_ms(), clock.monotonic()
    mock_clock.jump(1.5)
    await trio.lowlevel.checkpoint()
    assert clock.wall_ms() == wall + 1500
    assert clock.monotonic() == monotonic + 1.5


async def test_a_step_moves_the_wall_alone(mock_clock: MockClock) -> None:
    """An administrator's step, also backwards, leaves deadlines where they are."""
    clock = SteppedClock(base_ms=10_000)
    monotonic = clock.monotonic()
    clock.step(-4_000)
    await trio.lowlevel.checkpoint()
    assert clock.wall_ms() == 6_000 + round(monotonic * 1000)
    clock.step(5_000)
    assert clock.wall_ms() == 11_000 + round(monotonic * 1000)
    assert clock.monotonic() == monotonic
