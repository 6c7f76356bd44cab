"""The two sums of `spiderweb status`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.client.accounting import Accounts
from spiderwebd.exposition import render
from spiderwebd.metrics import Metrics

COUNTS = st.integers(0, 10**7)


@given(st.lists(COUNTS, min_size=12, max_size=12))
def test_the_figures_are_those_of_the_metrics(counts: list[int]) -> None:
    """What the daemon renders for Prometheus is read back figure by figure, refusals of all codes summed."""
    metrics = Metrics()
    names = ("received", "accepted", "served", "answered", "running", "queued", "failed")
    for name, count in zip(names, counts, strict=False):
        setattr(metrics, f"requests_{name}", count)
    metrics.requests_cancelled, metrics.requests_expired = counts[7:9]
    metrics.requests_refused.update(queue_full=counts[9], bad_json=counts[10])
    metrics.faults["session"] += counts[11]
    accounts = Accounts.read(render(metrics).decode())
    assert [getattr(accounts, name) for name in names] == counts[:7]
    assert (accounts.cancelled, accounts.expired) == tuple(counts[7:9])
    assert accounts.refused == counts[9] + counts[10]


def test_sums_that_add_up_are_told_plainly() -> None:
    """Two lines, each an equation."""
    accounts = Accounts(20, 8, 9, 3, answered=4, running=1, queued=1, failed=0, cancelled=1, expired=1)
    assert (accounts.undecided, accounts.lost) == (0, 0)
    assert accounts.lines() == [
        "requests: 20 sent = 8 accepted + 9 answered at once + 3 refused",
        "8 accepted = 4 answered + 1 running + 1 queued + 0 failed + 1 cancelled + 1 expired",
    ]


def test_what_is_missing_is_said() -> None:
    """A request without an outcome is LOST, one still in the inbox is not decided yet."""
    accounts = Accounts(received=10, accepted=5, served=2, refused=1, answered=3)
    assert (accounts.undecided, accounts.lost) == (2, 2)
    first, second = accounts.lines()
    assert first.endswith(" + 2 not decided yet")
    assert second.endswith("; 2 LOST")
    assert accounts.frame()["lost"] == 2
