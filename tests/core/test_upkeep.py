"""The memory manager: compatibility 7 and its trace (12.10), corrected so that nothing is ever lost."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from spiderwebd.core.compaction import Thresholds
from spiderwebd.core.memory_events import remember
from spiderwebd.core.ram import Budget
from spiderwebd.core.upkeep import SNAPSHOT_REASON, fit_budget, keep_within_budget
from tests.core.life import KEY, Frame, Life, told


def talk(life: Life, turns: int, first: int = 1) -> None:
    for turn in range(first, first + turns):
        life.chat(f"k-{turn}", f"question {turn}")
        life.answer(f"answer {turn}")


def compactions(life: Life) -> list[Frame]:
    return [frame for frame in life.frames if frame["type"] == "memory.event"]


def test_12_10_the_first_summary_is_at_the_49th_active_entry() -> None:
    """Compatibility 7 and 12.10: threshold 48 of 64; the 25th user message is the 49th entry."""
    life = Life()
    talk(life, 24)
    assert compactions(life) == []
    assert life.state.ram.active_count == 48
    frames = life.chat("k-25", "question 25")
    assert told(frames) == [("session.accepted",), ("memory.event", "summarize", "snapshot")]
    event = frames[1]
    assert list(event.items())[:7] == [
        ("type", "memory.event"),
        ("request", "k-25"),
        ("sessionKey", KEY),
        ("event", "summarize"),
        ("status", "snapshot"),
        ("count", 1),
        ("message", "summarized 1 stale RAM entries and persisted snapshot"),
    ]
    assert (event["trigger"], event["memoryIds"], event["summaryIds"]) == ("turn", [1], [50])
    assert (event["before"]["entries"], event["after"]["entries"]) == (49, 48)
    archive = life.rows.archives[-1]
    assert (archive.reason, archive.cleared) == (SNAPSHOT_REASON, False)


def test_12_10_at_most_two_a_run() -> None:
    """Compatibility 7: up to two summaries a run, oldest first."""
    life = Life()
    talk(life, 24)
    for number in range(3):
        life.do(partial(remember, role="user", content=f"fact {number}"))
    life.do(partial(keep_within_budget, request="sweep", trigger="sweep"))
    (event,) = compactions(life)
    assert event["message"] == "summarized 2 stale RAM entries and persisted snapshot"
    assert (event["count"], event["memoryIds"], event["trigger"]) == (2, [1, 2], "sweep")
    life.do(partial(keep_within_budget, request="sweep", trigger="sweep"))
    assert compactions(life)[-1]["count"] == 1
    seq = life.state.seq
    life.do(partial(keep_within_budget, request="sweep", trigger="sweep"))
    assert life.state.seq == seq


def test_12_10_the_context_stays_full_and_every_turn_is_kept() -> None:
    """Correction of 2.6: at turns 33, 3,000 and 3,300 the context is full, and every turn is in the LTM."""
    life = Life()
    talk(life, 33)
    assert life.state.ram.active_count == 48
    talk(life, 2967, first=34)
    assert life.state.ram.active_count == 48
    contents = [content for role, content in life.state.ram.turns() if role != "system"]
    assert contents[-2:] == ["question 3000", "answer 3000"]
    talk(life, 300, first=3001)
    assert life.state.ram.active_count == 48
    texts = {row.content for row in life.rows.entries.values()}
    for turn in range(1, 3301):
        assert {f"question {turn}", f"answer {turn}"} <= texts
    assert sum(row.in_ram for row in life.rows.entries.values()) <= 48 + 64 + 64


def test_it_runs_after_replies_too() -> None:
    """Issue 3: the reply that crosses the threshold is followed by the run, before the next turn."""
    life = Life()
    talk(life, 24)
    life.send({"type": "memory.create", "content": "a fact"})
    life.chat("k-25", "question 25")
    assert told(life.answer("answer 25")) == [
        ("session.receive",),
        ("memory.event", "summarize", "snapshot"),
    ]


def test_it_never_runs_during_a_turn() -> None:
    """While an answer is being made nothing is summarized, by no sweep and by no other request."""
    life = Life()
    talk(life, 24)
    life.chat("k-25", "question 25")
    seen = len(compactions(life))
    for number in range(3):
        life.send({"type": "memory.create", "content": f"fact {number}"})
    life.do(partial(keep_within_budget, request="sweep", trigger="sweep"))
    assert len(compactions(life)) == seen
    life.answer("answer 25")
    assert len(compactions(life)) == seen + 1


def test_it_runs_between_turns_that_wait() -> None:
    """A client that keeps several messages waiting does not keep the memory manager from its work."""
    life = Life(budget=Budget(max_entries=8))
    for turn in range(20):
        life.chat(f"k-{turn}", f"question {turn}")
    for turn in range(20):
        life.answer(f"answer {turn}")
    assert life.state.ram.active_count <= 8
    assert any(event["event"] == "summarize" for event in compactions(life)[:-1])


def test_a_reload_s_budget_holds_at_once() -> None:
    """What no longer fits leaves for the LTM and is told; thresholds follow."""
    life = Life()
    talk(life, 10)
    life.rules = replace(life.rules, budget=Budget(max_entries=5), thresholds=Thresholds(entry_ratio=1.0))
    life.do(partial(keep_within_budget, request="sweep", trigger="sweep"))
    (event,) = compactions(life)
    assert (event["event"], event["count"], event["memoryIds"]) == ("evict", 15, list(range(1, 16)))
    assert life.state.ram.active_count == 5


def test_a_single_entry_that_no_longer_fits_is_told() -> None:
    """One eviction is told like many."""
    life = Life()
    life.do(partial(remember, role="user", content="x" * 50))
    life.rules = replace(life.rules, budget=Budget(max_bytes=10))
    life.do(partial(keep_within_budget, request="sweep", trigger="sweep"))
    assert [event["memoryIds"] for event in compactions(life)] == [[1]]


def test_fitting_what_fits_changes_nothing() -> None:
    """A session that wakes within its budget has nothing to write."""
    life = Life()
    talk(life, 2)
    assert life.do(fit_budget).records == []
