"""How a link's end is described."""

from __future__ import annotations

from spiderwebd.core.codes import CLOSE_MEANINGS, Close
from spiderwebd.wire.ending import LOST, EndedBy, by_daemon


def test_an_end_of_ours_always_has_a_reason_that_fits() -> None:
    """Without a reason it is the meaning of the code; with a long one, what a close frame holds."""
    for code in Close:
        end = by_daemon(code)
        assert (end.code, end.by) == (code, EndedBy.DAEMON)
        assert CLOSE_MEANINGS[code].startswith(end.reason)
        assert end.reason
    assert len(by_daemon(Close.POLICY, "\u20ac" * 100).reason.encode()) <= 123


def test_a_lost_connection_is_not_the_peer_s_decision() -> None:
    """1006 is reported, never sent."""
    assert (LOST.code, LOST.by) == (1006, EndedBy.NETWORK)
