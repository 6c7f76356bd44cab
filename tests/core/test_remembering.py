"""Memory operations by id: create, load, update, evict, summarize, and what happens meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spiderwebd.core.effects import Fetch, Retell
from spiderwebd.core.ram import Budget
from spiderwebd.core.records import EntryKind, EntryRecord
from spiderwebd.core.remembering import item_of
from tests.core.life import KEY, LINK, START_MS, Frame, Life, told


def life_with(*texts: str, **rules: object) -> Life:
    life = Life(**rules)
    for text in texts:
        life.send({"type": "memory.create", "content": text})
    return life


def by_id(
    life: Life, verb: str, memory_id: int | None = None, request: str = "k-1", **more: str
) -> list[Frame]:
    frame = {"type": f"memory.{verb}", "id": request, **more}
    return life.send(frame if memory_id is None else {**frame, "memoryId": memory_id})


def test_create_is_answered_by_session_accepted_alone() -> None:
    """Issue 2: a memory stored on purpose, with its name, and one frame."""
    life = Life()
    frames = life.send({"type": "memory.create", "id": "k-1", "content": "the key", "name": "key"})
    assert frames == [
        {"type": "session.accepted", "request": "k-1", "sessionKey": KEY, "memoryId": 1, "seq": 1}
    ]
    assert (life.rows.entries[1].content, life.rows.entries[1].name) == ("the key", "key")


def test_load_from_ram_answers_and_changes_nothing() -> None:
    """The item has the fields of compatibility 1.4 and ours after them."""
    life = life_with("one")
    assert by_id(life, "load", 1) == [
        {
            "type": "memory.load",
            "request": "k-1",
            "sessionKey": KEY,
            "item": {
                "kind": "entry",
                "source": "ram",
                "id": 1,
                "role": "user",
                "state": "active",
                "related_to": None,
                "content": "one",
                "created_at_ms": START_MS,
                "version": 1,
            },
        }
    ]
    assert life.state.seq == 1


def test_load_of_what_left_brings_it_back() -> None:
    """Fetched from the LTM, it stands in RAM again: an event for all, the item for the link that asked."""
    life = life_with("one", "two")
    by_id(life, "evict", 1)
    assert by_id(life, "load", 1, "k-2") == []
    event, answer = life.fetch()
    assert told([event]) == [("memory.event", "recall", "recalled")]
    assert (answer["item"]["content"], answer["item"]["source"]) == ("one", "ram")
    assert life.state.ram.load(1) is not None


def test_load_of_what_is_larger_than_ram_answers_from_the_ltm() -> None:
    """It cannot come back, but it can be read."""
    life = life_with("x" * 20, budget=Budget(max_bytes=10))
    by_id(life, "load", 1)
    (answer,) = life.fetch()
    assert (answer["item"]["content"], answer["item"]["source"]) == ("x" * 20, "ltm")


def test_load_of_a_summary_or_tombstone_answers_with_it() -> None:
    """Every id ever given out can be resolved."""
    life = life_with("one", "two")
    by_id(life, "summarize", 1)
    items = []
    for memory_id in (3, 4):
        by_id(life, "load", memory_id, f"k-{memory_id}")
        items.append(life.fetch()[-1]["item"])
    assert [item["kind"] for item in items] == ["summary", "entry"]
    assert items[0] == {
        "kind": "summary",
        "source": "ram",
        "id": 3,
        "source_id": 1,
        "created_at_ms": START_MS,
        "text": "[summary:1] one",
        "sources": [1],
    }
    assert (items[1]["state"], items[1]["related_to"]) == ("tombstone", 1)


@pytest.mark.parametrize("verb", ["load", "update", "evict", "summarize"])
def test_ids_never_given_out_are_unknown(verb: str) -> None:
    """memory_unknown at once, without a look into the LTM."""
    life = life_with("one")
    (error,) = by_id(life, verb, 2, content="x")
    assert error["message"] == "This session never gave out memory 2; check the id."
    assert error["code"] == "memory_unknown"
    assert not life.fetches


@pytest.mark.parametrize("verb", ["evict", "summarize"])
def test_what_is_not_in_ram_cannot_leave_it(verb: str) -> None:
    """The refusal says how to get it back; with nothing in RAM it says that."""
    life = Life()
    (error,) = by_id(life, verb)
    assert (error["code"], error["message"]) == (
        "memory_unknown",
        "Working memory is empty; there is nothing to take out.",
    )
    life = life_with("one")
    by_id(life, "evict", 1, "k-0")
    (error,) = by_id(life, verb, 1)
    assert error["message"] == ("Memory 1 is no active entry of working memory; memory.load brings it back.")


@pytest.mark.parametrize(("verb", "source"), [("evict", "ltm"), ("summarize", "ram")])
def test_the_oldest_goes_when_no_id_is_given(verb: str, source: str) -> None:
    """As the original's EVICT and SUMMARIZE: the oldest active entry."""
    life = life_with("one", "two")
    event, answer = by_id(life, verb)
    assert event["memoryIds"] == [1]
    assert answer["type"] == f"memory.{verb}"
    assert answer["item"]["source"] == source
    assert [entry.content for entry in life.state.ram.entries()] == ["two"]


def test_update_revises_in_place() -> None:
    """The same id with version 2; the old text is kept; the event carries the seq of the request."""
    life = life_with("one")
    event, answer = by_id(life, "update", 1, content="uno")
    assert told([event]) == [("memory.event", "update", "updated")]
    assert (answer["item"]["content"], answer["item"]["version"]) == ("uno", 2)
    assert life.rows.versions == {(1, 1): "one"}
    assert life.rows.requests["k-1"].seq == event["seq"]


def test_update_of_what_left_fetches_it_first() -> None:
    """It comes back revised, and its stored text becomes the old version."""
    life = life_with("one")
    by_id(life, "evict", 1, "k-0")
    assert by_id(life, "update", 1, content="uno") == []
    answer = life.fetch()[-1]
    assert (answer["item"]["content"], answer["item"]["version"]) == ("uno", 2)
    assert life.rows.versions == {(1, 1): "one"}


@pytest.mark.parametrize("memory_id", [3, 4])
def test_only_entries_are_revised(memory_id: int) -> None:
    """A summary or a tombstone says what it stands for and is not rewritten."""
    life = life_with("one", "two")
    by_id(life, "summarize", 1, "k-0")
    by_id(life, "update", memory_id, content="x")
    (error,) = life.fetch()
    kind = {3: "summary", 4: "tombstone"}[memory_id]
    assert error["message"] == f"Memory {memory_id} is a {kind}; only entries are revised."
    assert error["code"] == "bad_frame"


@pytest.mark.parametrize("verb", ["load", "update"])
def test_what_was_erased_says_when(verb: str) -> None:
    """Issue 3, RAM: an erased or pruned id is answered by its tombstone's words, code memory_forgotten."""
    life = life_with("one")
    by_id(life, "evict", 1, "k-0")
    gone = EntryRecord(
        1, 1, EntryKind.TOMBSTONE, "system", "[erased:1] 2026-02-15T11:33:20Z", START_MS, False, related_to=1
    )
    life.rows.entries[1] = gone
    by_id(life, verb, 1, content="x")
    (error,) = life.fetch()
    assert error["message"] == "Memory 1 is gone: [erased:1] 2026-02-15T11:33:20Z"
    assert error["code"] == "memory_forgotten"


def test_what_the_ltm_does_not_have_is_unknown() -> None:
    """An id that was given out but has no row (an import may leave gaps) is refused, not invented."""
    life = life_with("one")
    by_id(life, "evict", 1, "k-0")
    by_id(life, "load", 1)
    del life.rows.entries[1]
    (error,) = life.fetch()
    assert error["message"] == "The long-term memory has no memory 1 of this session."
    assert error["code"] == "memory_unknown"


def test_two_updates_in_flight_lose_no_text() -> None:
    """Both read version 1 from the LTM; the second builds on what the first made of it."""
    life = life_with("one")
    by_id(life, "evict", 1, "k-0")
    by_id(life, "update", 1, "k-1", content="two")
    by_id(life, "update", 1, "k-2", content="three")
    life.fetch(early=True)
    life.fetch(early=True)
    assert life.rows.entries[1].content == "three"
    assert life.rows.versions == {(1, 1): "one", (1, 2): "two"}


@pytest.mark.parametrize("verb", ["load", "update"])
def test_a_text_revised_while_it_was_read_is_not_taken(verb: str) -> None:
    """Read as version 1, revised and evicted meanwhile: refused with retry, and version 2 stands."""
    life = life_with("one")
    by_id(life, "evict", 1, "k-0")
    by_id(life, "update", 1, "k-1", content="two")
    by_id(life, verb, 1, "k-2", content="three")
    life.fetch()
    by_id(life, "evict", 1, "k-3")
    (error,) = life.fetch(early=True)
    assert error["message"] == "Memory 1 was revised while it was read; try again."
    assert (error["code"], error["retry_after_ms"]) == ("storage_unavailable", 1000)
    assert life.rows.entries[1].content == "two"
    by_id(life, verb, 1, "k-2", content="three")
    assert life.fetch()[-1]["item"]["content"] == ("two" if verb == "load" else "three")


def test_a_load_that_was_overtaken_answers_what_is_there() -> None:
    """Two loads of one memory: the second finds it in RAM and tells no second recall."""
    life = life_with("one")
    by_id(life, "evict", 1, "k-0")
    by_id(life, "load", 1, "k-1")
    by_id(life, "load", 1, "k-2")
    life.fetch()
    (answer,) = life.fetch()
    assert answer["item"]["source"] == "ram"


def test_the_same_update_twice_in_flight_is_done_once() -> None:
    """A client that sends its request again before the answer gets the first answer again."""
    life = life_with("one")
    by_id(life, "evict", 1, "k-0")
    for _ in range(2):
        by_id(life, "update", 1, "k-1", content="two")
    life.fetch()
    assert life.fetch() == []
    assert life.starts[-1] == Retell(LINK, life.rows.requests["k-1"])
    assert life.rows.entries[1].version == 2


def test_a_fetch_hands_back_what_it_needs() -> None:
    """The start names link, request, frame and memory, so that the shell needs no memory of its own."""
    life = life_with("one")
    by_id(life, "evict", 1, "k-0")
    by_id(life, "load", 1)
    fetch = life.starts[-1]
    assert isinstance(fetch, Fetch)
    assert (fetch.link, fetch.request, fetch.memory_id, fetch.frame.type) == (LINK, "k-1", 1, "memory.load")


def test_items_carry_names_only_when_there_are_any() -> None:
    """Optional fields are left out, not null."""
    row = EntryRecord(1, 5, EntryKind.ENTRY, "user", "x", START_MS)
    assert "name" not in item_of(row, "ltm")
    assert item_of(replace(row, name="key"), "ltm")["name"] == "key"
