"""The numbers themselves; test_exposition.py has what becomes of them."""

from __future__ import annotations

import pytest

from spiderwebd.metrics import Histogram


def test_a_value_on_a_bound_belongs_below_it() -> None:
    """Prometheus' `le` means less or equal."""
    histogram = Histogram((0.1, 1.0))
    for value in (0.1, 0.5, 1.0, 7.0):
        histogram.observe(value)
    assert histogram.buckets() == [("0.1", 1), ("1.0", 3), ("+Inf", 4)]
    assert histogram.total == pytest.approx(8.6)
