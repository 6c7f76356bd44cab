"""A real daemon under more than it can carry: clear refusals, exact sums, and it goes on as before."""

from __future__ import annotations

from pathlib import Path

from tests.bench.saturation import saturate


def test_saturated_it_loses_nothing_and_says_no_clearly(tmp_path: Path) -> None:
    """Issue 5, the short run: floods, hostile links and a storm of 500 links.

    Every request that the clients sent was accepted, served or refused (with a delay and the limit's name),
    and every accepted one ended once, by the clients' count and by the daemon's own; goals of equal sessions
    took about as long; every link of the storm resumed exactly; no descriptor and no fault was left.
    """
    report = saturate(tmp_path, sessions=16, seconds=8, storm=500)
    assert report.failures == [], "\n".join([*report.failures, *report.lines])
    refused = next(line for line in report.lines if line.startswith("refused: "))
    assert "queue_full" in refused
