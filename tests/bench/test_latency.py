"""The latency histogram: percentiles are right to its bucket, and merging loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.latency import STEP, Latencies


@given(seconds=st.lists(st.floats(1e-5, 100.0), min_size=1, max_size=200), share=st.floats(0.01, 1.0))
def test_a_percentile_is_within_one_bucket_of_the_exact_one(seconds: list[float], share: float) -> None:
    """Against sorting all values, which is the definition."""
    found = Latencies()
    for value in seconds:
        found.add(value)
    exact = sorted(seconds)[max(0, -int(-share * len(seconds) // 1) - 1)]
    assert exact / STEP <= found.percentile(share) <= exact * STEP


def test_what_two_programs_counted_adds_up_through_json() -> None:
    """Merging two histograms is the same as counting everything in one."""
    first, second, both = Latencies(), Latencies(), Latencies()
    for place, value in enumerate([0.001, 0.002, 0.002, 0.5]):
        (first if place % 2 else second).add(value)
        both.add(value)
    first.merge(Latencies(second.as_json()))
    assert first.as_json() == both.as_json()
    assert first.total == 4


def test_no_answer_has_no_percentile() -> None:
    """A run in which nothing was answered is an error, not a zero."""
    with pytest.raises(ValueError, match="nothing was answered"):
        Latencies().percentile(0.5)
