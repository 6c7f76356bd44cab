"""The round over sessions is fair, keeps each session's order, and loses nobody."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.core.fairness import RoundRobin, WaitSpread


def test_a_crowd_delays_a_single_waiter_by_one_turn() -> None:
    """With a thousand waiters of one session ahead of it, another session's only waiter is second."""
    line: RoundRobin[str] = RoundRobin()
    for number in range(1000):
        line.add("crowd", f"crowd-{number}")
    line.add("single", "single-0")
    assert [line.next(), line.next(), line.next()] == ["crowd-0", "single-0", "crowd-1"]


def test_giving_up_leaves_the_others_in_order() -> None:
    """A waiter that gives up is never next; giving up twice is a mistake that shows."""
    line: RoundRobin[str] = RoundRobin()
    for waiter in ("a1", "a2", "a3"):
        line.add("a", waiter)
    line.give_up("a", "a2")
    with pytest.raises(KeyError):
        line.give_up("a", "a2")
    assert [line.next(), line.next(), line.next()] == ["a1", "a3", None]
    assert len(line) == 0


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=60))
def test_everybody_is_served_once_in_order_and_nobody_is_passed_over(steps: list[tuple[str, bool]]) -> None:
    """Between two turns of a session, every other session that waited throughout had its turn."""
    line: RoundRobin[tuple[str, int]] = RoundRobin()
    waiting: list[tuple[str, int]] = []
    passed_by: dict[str, Counter[str]] = {}
    for number, (session, serve) in enumerate(steps):
        line.add(session, (session, number))
        waiting.append((session, number))
        passed_by.setdefault(session, Counter())
        if serve:
            got = line.next()
            assert got is not None
            assert got == next(waiter for waiter in waiting if waiter[0] == got[0])
            waiting.remove(got)
            del passed_by[got[0]]
            for name in {name for name, _ in waiting}:
                turns = passed_by.setdefault(name, Counter())
                if name != got[0]:
                    turns[got[0]] += 1
                    assert turns[got[0]] == 1
        assert len(line) == len(waiting)


def test_the_spread_of_waits_is_max_over_median() -> None:
    """Sessions count alike, however many tasks each had; nobody, one, or no wait at all is even."""
    spread = WaitSpread()
    assert spread.ratio() == 1.0
    spread.note("a", 0.0)
    assert spread.ratio() == 1.0
    for session, seconds in (("a", 2.0), ("b", 2.0), ("b", 2.0), ("c", 8.0)):
        spread.note(session, seconds)
    assert spread.ratio() == 4.0


def test_only_the_last_waits_count() -> None:
    """What was long ago is forgotten."""
    spread = WaitSpread(kept=2)
    for session, seconds in (("a", 99.0), ("b", 1.0), ("c", 1.0)):
        spread.note(session, seconds)
    assert spread.ratio() == 1.0


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30))
def test_whoever_gave_back_stands_last(crowd: list[str]) -> None:
    """A session that comes when others hold every slot is next, unless another has waited without one."""
    line: RoundRobin[str] = RoundRobin()
    for number, session in enumerate(crowd):
        line.add(session, f"{session}{number}")
    line.add("new", "new")
    for session in set(crowd):
        line.had_its_turn(session)
    line.had_its_turn("nobody")
    assert line.next() == "new"
    taken = [line.next() for _ in crowd]
    assert sorted(map(str, taken)) == sorted(f"{session}{n}" for n, session in enumerate(crowd))
    assert line.next() is None
