"""Every change of working memory is persisted and told by one memory.event (compatibility 1.4)."""

from __future__ import annotations

from functools import partial

from spiderwebd.core.change import Entry, row_of
from spiderwebd.core.memory_events import bring_back, evict, remember, revise, summarize, tell_evictions
from spiderwebd.core.ram import Budget
from spiderwebd.core.records import EntryKind
from spiderwebd.core.state import Step
from tests.core.life import KEY, Life


def life_with(*texts: str) -> Life:
    life = Life()
    for text in texts:
        life.do(partial(remember, role="user", content=text))
    return life


def entry(life: Life, memory_id: int) -> Entry:
    found = life.state.ram.load(memory_id)
    assert found is not None
    return found


def test_1_4_the_event_of_an_eviction() -> None:
    """The original's fields in its order, then trigger and ids; the text stays in the LTM."""
    life = life_with("one", "two")
    life.do(lambda step: evict(step, "k-1", entry(life, 1), "request"))
    assert list(life.frames[0].items()) == [
        ("type", "memory.event"),
        ("request", "k-1"),
        ("sessionKey", KEY),
        ("event", "evict"),
        ("status", "evicted"),
        ("count", 1),
        ("message", "evicted memory 1; long-term memory has it"),
        ("trigger", "request"),
        ("memoryIds", [1]),
        ("seq", 1),
    ]
    assert (life.rows.entries[1].content, life.rows.entries[1].in_ram) == ("one", False)


def test_a_summary_names_its_source() -> None:
    """The event names the memory and its summary; both are rows."""
    life = life_with("one")
    life.do(lambda step: summarize(step, "k-1", entry(life, 1), "worker"))
    event = life.frames[0]
    assert (event["memoryIds"], event["summaryIds"], event["trigger"]) == ([1], [2], "worker")
    assert life.rows.entries[2].kind is EntryKind.SUMMARY
    assert life.rows.entries[2].sources == (1,)


def test_a_memory_comes_back_byte_equal() -> None:
    """Recalled from its row it stands in RAM under its own id; one that is there already is not told."""
    life = life_with("one \0 é")
    life.do(lambda step: evict(step, "k-1", entry(life, 1), "request"))
    stored = row_of(life.rows.entries[1])
    assert isinstance(stored, Entry)
    life.do(lambda step: bring_back(step, "k-2", stored, "request"))
    assert entry(life, 1).content == "one \0 é"
    assert (life.frames[-1]["event"], life.frames[-1]["status"]) == ("recall", "recalled")
    seq = life.state.seq
    life.do(lambda step: bring_back(step, "k-3", stored, "request"))
    assert life.state.seq == seq


def test_a_revision_keeps_the_old_text() -> None:
    """The new version is told and known; the replaced text is a row of its own."""
    life = life_with("one")
    life.do(lambda step: revise(step, "k-1", 1, "uno", None, "request"))
    assert life.frames[0]["message"] == "memory 1 is now version 2"
    assert (life.rows.entries[1].content, life.rows.versions) == ("uno", {(1, 1): "one"})
    assert life.state.outdated(1, 1)


def test_what_the_budget_pushes_out_is_told_together() -> None:
    """One event for all that left since the last one, then silence."""
    life = Life(budget=Budget(max_bytes=10))

    def fill(step: Step) -> None:
        for text in ("aaaa", "bbbb", "cccc", "dddd"):
            remember(step, "user", text)
        tell_evictions(step, "k-1")
        tell_evictions(step, "k-2")

    life.do(fill)
    (event,) = life.frames
    assert event["message"] == "evicted 2 RAM entries over budget; long-term memory has them"
    assert (event["request"], event["trigger"], event["memoryIds"]) == ("k-1", "budget", [1, 2])


def test_a_memory_larger_than_everything_tells_its_own_leaving() -> None:
    """It goes to the LTM at once, takes no other with it, and is not silent about it."""
    life = Life(budget=Budget(max_bytes=10))
    step = life.do(partial(remember, role="user", content="x" * 11))
    assert step.evicted == [1]
    assert life.rows.entries[1].content == "x" * 11
