"""A rate is kept over any time, with a burst and not more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.core.rate import BURST_SECONDS, Bucket

ASKS = st.lists(st.tuples(st.floats(0, 3), st.integers(1, 50)), min_size=1, max_size=60)


@given(ASKS, st.floats(0.5, 100))
def test_no_more_comes_in_than_the_rate_and_one_burst(asks: list[tuple[float, int]], rate: float) -> None:
    """Over any time at most rate x (time + burst) tokens were taken when the next ask is let in."""
    bucket, now, taken = Bucket(), 100.0, 0.0
    for pause, amount in asks:
        now += pause
        if bucket.take(now, amount, rate) == 0.0:
            assert taken <= rate * (now - 100.0 + BURST_SECONDS) + 1e-6
            taken += amount


@given(ASKS, st.floats(0.5, 100))
def test_waiting_as_long_as_told_is_enough(asks: list[tuple[float, int]], rate: float) -> None:
    """Who is refused and comes again after the seconds it was told is let in; a refusal costs nothing."""
    bucket, now = Bucket(), 5.0
    for pause, amount in asks:
        now += pause
        wait = bucket.take(now, amount, rate)
        if wait:
            assert bucket.take(now, amount, rate) == wait
            now += wait * (1 + 1e-9) + 1e-9
            assert bucket.take(now, amount, rate) == 0.0


def test_a_clock_that_stands_or_a_rate_that_changes_is_met() -> None:
    """No time pays nothing back; a lower rate holds from the next ask."""
    bucket = Bucket()
    assert [bucket.take(1.0, 1, 1) for _ in range(3)] == [0.0, 0.0, 1.0]
    assert bucket.take(1.0, 1, 0.5) == 2.0
    assert bucket.take(101.0, 1, 0.5) == 0.0
    assert bucket.take(101.0, 1, 0.5) == 2.0
