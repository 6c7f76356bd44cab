"""Sweeps look at sessions with something under way, and at no others.

That nothing is overlooked is an invariant of test_session_stateful.py; here is what idleness means.
"""

from __future__ import annotations

from dataclasses import replace

from spiderwebd.core.attention import needs_attention
from spiderwebd.core.compaction import Thresholds
from spiderwebd.core.ram import Budget
from spiderwebd.core.upkeep import keep_within_budget
from tests.core.life import Life


def test_an_idle_session_needs_none() -> None:
    """Neither a new session nor one whose work is done."""
    life = Life()
    assert not needs_attention(life.state)
    life.chat("k-1", "one")
    assert needs_attention(life.state)
    life.answer("an answer")
    assert not needs_attention(life.state)


def test_a_goal_needs_it_until_its_end() -> None:
    """Also while it is paused: its deadline comes all the same."""
    life = Life()
    life.goal("k-1", "find a")
    assert needs_attention(life.state)
    life.end(1)
    assert not needs_attention(life.state)


def test_a_memory_above_its_threshold_needs_it() -> None:
    """As when a reload has lowered the threshold."""
    life = Life(budget=Budget(max_entries=16))
    for number in range(10):
        life.send({"type": "memory.create", "id": f"m-{number}", "content": f"memory {number}"})
    state = life.state
    assert not needs_attention(state)
    life.rules = state.rules = replace(state.rules, thresholds=Thresholds(entry_ratio=0.25))
    assert needs_attention(state)
    while needs_attention(state):
        before = state.ram.active_count
        life.do(lambda step: keep_within_budget(step, "memory-manager", "sweep"))
        assert state.ram.active_count < before
