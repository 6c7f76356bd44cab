"""What a principal may send is counted over all its links."""

from __future__ import annotations

from spiderwebd.core import limits
from spiderwebd.wire.quotas import PrincipalRates, Quota


def test_without_rates_nothing_is_bounded() -> None:
    """0 is no limit, and then no message has to be weighed."""
    quota, rates = Quota(), PrincipalRates()
    assert not rates.bounds_messages
    assert all(quota.attach(0.0, rates) is None for _ in range(1000))
    assert all(quota.message(0.0, 10**6, rates) is None for _ in range(1000))


def test_each_rate_is_kept_by_itself() -> None:
    """Attaches, messages and bytes have a burst of two seconds each, and say when to come again."""
    quota, rates = Quota(), PrincipalRates(attaches=1, messages=10, message_bytes=100)
    assert [quota.attach(0.0, rates) is None for _ in range(3)] == [True, True, False]
    excess = quota.attach(0.0, rates)
    assert excess is not None
    assert (excess.limit, excess.retry_after_ms) == (limits.ATTACHES, 1000)
    assert quota.message(0.0, 190, rates) is None
    excess = quota.message(0.0, 30, rates)
    assert excess is not None
    assert (excess.limit, excess.retry_after_ms) == (limits.PRINCIPAL_BYTES, 200)
    light = PrincipalRates(messages=1)
    excess = quota.message(0.0, 1, light) or quota.message(0.0, 1, light) or quota.message(0.0, 1, light)
    assert excess is not None
    assert excess.limit is limits.PRINCIPAL_FRAMES
    assert "messages a second" in excess.message
