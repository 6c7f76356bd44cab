"""Citations."""

from spiderwebd.work.hits import cited
from tests.work.workbench import StoredHit


def test_ids_of_other_sessions_say_so() -> None:
    """An id that means nothing in this session is not shown as if it did."""
    assert cited(StoredHit(12, "x")) == "#12"
    assert cited(StoredHit(12, "x", own=False)) == "#12 of another session"
