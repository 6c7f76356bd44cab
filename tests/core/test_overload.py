"""Overload begins and ends once, only when sustained, and never flaps between."""

from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.core.overload import SUSTAINED_SECONDS, Limits, Measure, Overload

LIMITS = Limits(lag_seconds=0.5, store_seconds=2.0, memory_bytes=1000 << 20)
CALM = Measure(0.0, 0.0, 0)
LATE = Measure(0.6, 0.0, 0)


def test_a_single_late_wake_up_is_no_overload() -> None:
    """A measure above its limit must stay there before anything is said."""
    overload = Overload(LIMITS)
    assert not overload.observe(0.0, LATE)
    assert not overload.observe(0.25, CALM)
    assert not overload.observe(0.9, LATE)
    assert not overload.observe(1.8, LATE)
    assert overload.observe(2.0, LATE)
    assert overload.reason == "the loop is 0.60 s late"


def test_it_remembers_since_when_and_how_bad() -> None:
    """What the line at its end says: the largest of each measure between begin and end, and the begin."""
    overload = Overload(LIMITS)
    overload.observe(10.0, Measure(9.0, 9.0, 9))
    assert overload.observe(11.0, LATE)
    overload.observe(12.0, Measure(0.1, 1.5, 7))
    overload.observe(13.0, CALM)
    assert overload.observe(14.0, CALM)
    assert overload.began == 11.0
    assert overload.worst == Measure(0.6, 1.5, 7)
    assert not overload.observe(20.0, LATE)
    assert overload.observe(21.0, Measure(0.7, 0.0, 0))
    assert (overload.began, overload.worst) == (21.0, Measure(0.7, 0.0, 0))


def test_it_ends_only_after_a_while_well_below_the_limit() -> None:
    """Just under the limit is not calm; half of it, sustained, is."""
    overload = Overload(LIMITS)
    overload.observe(0.0, LATE)
    assert overload.observe(1.0, LATE)
    just_below = Measure(0.4, 0.0, 0)
    assert not any(overload.observe(1.0 + step, just_below) for step in range(10))
    assert not overload.observe(20.0, CALM)
    assert overload.observe(20.0 + SUSTAINED_SECONDS, CALM)
    assert overload.reason == ""


def test_every_measure_is_named_and_zero_switches_it_off() -> None:
    """The reason holds the figures of all that is too much; a limit of 0 is never passed."""
    overload = Overload(LIMITS)
    much = Measure(1.0, 3.0, 2000 << 20)
    overload.observe(0.0, much)
    assert overload.observe(1.0, much)
    assert overload.reason == (
        "the loop is 1.00 s late, the store is 3.00 s behind, 2000 MiB of memory are in use"
    )
    never = Overload(Limits(0, 0, 0))
    assert not any(never.observe(float(step), much) for step in range(10))


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 2)), max_size=50))
def test_it_tells_of_changes_and_only_of_changes(steps: list[tuple[float, float]]) -> None:
    """`observe` is true exactly when the state differs from before, and changes are apart in time."""
    overload, now, last_change = Overload(LIMITS), 0.0, -SUSTAINED_SECONDS
    for pause, lag in steps:
        now += pause
        before = bool(overload.reason)
        changed = overload.observe(now, Measure(lag, 0.0, 0))
        assert changed == (bool(overload.reason) != before)
        if changed:
            assert now - last_change >= SUSTAINED_SECONDS
            last_change = now
