"""The totals of all sessions are the sum of what each has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.core.shares import Share, Totals


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 32), st.integers(0, 99)), max_size=40))
def test_totals_are_the_sum_of_the_shares(changes: list[tuple[int, int, int]]) -> None:
    """Whatever order sessions speak in, the totals are what they said last, and asking changes nothing."""
    totals = Totals()
    shares = [Share(totals) for _ in range(4)]
    for place, goals, tasks in changes:
        share = shares[place]
        others = totals.goals - share.goals, totals.tasks - share.tasks
        assert (share.goals_with(goals), share.tasks_with(tasks)) == (others[0] + goals, others[1] + tasks)
        share.set(goals, tasks)
        assert totals.goals == sum(each.goals for each in shares)
        assert totals.tasks == sum(each.tasks for each in shares)
    for share in shares:
        share.set(0, 0)
    assert totals == Totals()
