"""Verdicts and the table: what is met, missed, and how it is written."""

from __future__ import annotations

from tests.bench.figures import Figure, Target, table


def test_a_verdict_is_of_the_median_ratio_when_the_target_is_a_ratio() -> None:
    """One bad round of three does not miss a target, and a good value does not hide a bad ratio."""
    target = Target("at most 0.8 of the echo", 0.8)
    assert Figure("cpu", "us", [1.0, 1.0, 1.0], [0.7, 0.75, 3.0], target).verdict == "met"
    assert Figure("cpu", "us", [1.0, 1.0, 1.0], [0.9, 0.75, 0.95], target).verdict == "missed"


def test_a_verdict_is_of_the_median_value_when_the_target_is_absolute() -> None:
    """Bounds from below and from above."""
    rate = Target("at least 400/s", 400.0, at_least=True, of_ratio=False)
    wall = Target("under 2 s", 2.0, of_ratio=False)
    assert Figure("goals", "/s", [390.0, 410.0, 420.0], target=rate).verdict == "met"
    assert Figure("goals", "/s", [390.0, 399.0, 420.0], target=rate).verdict == "missed"
    assert Figure("stop", "s", [1.9, 2.0, 9.0], target=wall).verdict == "met"
    assert Figure("stop", "s", [1.9, 2.1, 2.2], target=wall).verdict == "missed"


def test_the_table_shows_median_spread_ratio_and_note() -> None:
    """Every figure is one row of Markdown with all that was measured."""
    measured = Figure(
        "ping", "us", [80.0, 90.0, 100.0], [1.5, 1.6, 1.7], Target("at most 0.8", 0.8), "disturbed"
    )
    plain = Figure("ack", "B", [1234.0])
    lines = table([measured, plain]).splitlines()
    assert lines[2] == "| ping | at most 0.8 | 90 us (80 to 100) | 1.6 (1.5 to 1.7) | missed (disturbed) |"
    assert lines[3] == "| ack | - | 1,234 B | - | - |"
