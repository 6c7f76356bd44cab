"""Working memory: the golden vectors of compatibility.md 2.9, and each operation by example."""

import pytest

from spiderwebd.core.change import Entry, Operation
from spiderwebd.core.codes import Code, Refused
from spiderwebd.core.ram import Budget, Ram


def listing(ram: Ram) -> list[str]:
    """`id|role|state|related_to|content` in list order, as the golden vectors are written."""
    rows = {entry.id: f"{entry.id}|{entry.role}|active||{entry.content}" for entry in ram.entries()}
    rows |= {t.id: f"{t.id}|system|tombstone|{t.related_to}|{t.content}" for t in ram.tombstones()}
    return [rows[memory_id] for memory_id in sorted(rows)]


def filled(budget: Budget, *contents: str) -> Ram:
    """A Ram to which a user said `contents`."""
    ram = Ram(budget)
    for content in contents:
        ram.append("user", content, 1000)
    return ram


def test_vector_over_the_entry_cap() -> None:
    """2.9 vector 1, corrected: the cap counts active entries only, so one entry leaves, not all four.

    The original ended with tombstones 5 to 8 for 1 to 4, nothing active and next id 9 (defect 3).
    """
    ram = filled(Budget(max_entries=3, max_bytes=1000), "alpha", "bravo", "charlie", "delta")
    assert listing(ram) == [
        "2|user|active||bravo",
        "3|user|active||charlie",
        "4|user|active||delta",
        "5|system|tombstone|1|[evicted:1] [evicted context entry]",
    ]
    assert ram.next_id == 6


def test_vector_summarize_and_evict() -> None:
    """2.9 vector 2: the summary takes its id before its tombstone does, and bytes count actives only."""
    ram = filled(Budget(max_entries=8, max_bytes=1000), "alpha", "bravo", "charlie")
    ram.summarize("alpha", 1001)
    ram.evict(1002)
    ram.append("user", "delta", 1003)
    assert listing(ram) == [
        "3|user|active||charlie",
        "5|system|tombstone|1|[summarized:1] [summary:1] alpha",
        "6|system|tombstone|2|[evicted:2] [evicted context entry]",
        "7|user|active||delta",
    ]
    assert [(s.id, s.sources, s.text) for s in ram.summaries()] == [(4, (1,), "[summary:1] alpha")]
    assert (ram.next_id, ram.active_bytes) == (8, 12)


def test_vector_byte_overflow_evicts_only_what_is_needed() -> None:
    """2.9 vector 3: over the byte limit the oldest leaves and the others stay."""
    ram = filled(Budget(max_entries=8, max_bytes=10), "aaaa", "bbbb", "cccc")
    assert listing(ram) == [
        "2|user|active||bbbb",
        "3|user|active||cccc",
        "4|system|tombstone|1|[evicted:1] [evicted context entry]",
    ]
    assert ram.active_bytes == 8


def test_vector_entry_larger_than_the_budget() -> None:
    """2.9 vector 4: an entry larger than the whole budget leaves at once and leaves a tombstone."""
    ram = filled(Budget(max_entries=8, max_bytes=10), "x" * 12)
    assert listing(ram) == ["2|system|tombstone|1|[evicted:1] [evicted context entry]"]
    assert ram.active_bytes == 0


def test_entry_larger_than_the_budget_takes_no_other_with_it() -> None:
    """2.6 corrected: the original evicted everything else before the oversize entry."""
    ram = filled(Budget(max_entries=8, max_bytes=10), "aaaa", "bbbb")
    change = ram.append("tool_result", "x" * 12, 1001)
    assert [entry.id for entry in ram.entries()] == [1, 2]
    assert (change.memory_id, change.left) == (3, (3,))


def test_token_limit_counts_four_bytes_a_token() -> None:
    """max_tokens bounds the active bytes at four a token, whichever limit is the smaller."""
    ram = filled(Budget(max_bytes=1000, max_tokens=3), "aaaa", "bbbb", "cccc")
    assert ram.active_count == 3
    ram.append("user", "d", 1001)
    assert [entry.id for entry in ram.entries()] == [2, 3, 4]


def test_tombstones_are_bounded_apart() -> None:
    """The oldest tombstones leave RAM, and no active entry does for them."""
    ram = filled(Budget(max_entries=2, max_tombstones=2), *"abcdefgh")
    assert [entry.content for entry in ram.entries()] == ["g", "h"]
    assert [stone.related_to for stone in ram.tombstones()] == [7, 9]


def test_summaries_are_bounded_by_count_and_bytes() -> None:
    """The oldest summaries leave RAM when there are too many or their texts are too long."""
    by_count = filled(Budget(max_summaries=1), "a", "b")
    by_count.summarize("a", 1001)
    change = by_count.summarize("b", 1002)
    assert [s.text for s in by_count.summaries()] == ["[summary:2] b"]
    assert change.left == (2, 3)
    by_bytes = filled(Budget(max_summary_bytes=30), "a", "b")
    by_bytes.summarize("x" * 10, 1001)
    by_bytes.summarize("y" * 10, 1002)
    assert [s.text for s in by_bytes.summaries()] == ["[summary:2] yyyyyyyyyy"]


def test_ids_go_on_after_clear() -> None:
    """A reset empties RAM and names all that left; the next id is the one that was due."""
    ram = filled(Budget(), "alpha", "bravo")
    ram.summarize("alpha", 1001)
    change = ram.clear(1002, "manual-reset")
    assert change.left == (2, 3, 4)
    assert (change.entries_before, change.entries_after, change.reason) == (1, 0, "manual-reset")
    assert (listing(ram), ram.turns(), ram.active_bytes) == ([], [], 0)
    assert ram.append("user", "charlie", 1003).memory_id == 5


def test_load_returns_what_is_active() -> None:
    """LOAD gives the entry under its id, and None for one that left RAM."""
    ram = filled(Budget(max_entries=1), "alpha", "bravo")
    assert ram.load(2) == Entry(2, "user", "bravo", 1000)
    assert ram.load(1) is None


def test_update_revises_in_place_and_keeps_the_old_text() -> None:
    """UPDATE keeps id and place, counts the version up and hands over the text it replaced."""
    ram = filled(Budget(), "alpha", "bravo")
    change = ram.update(1, "ålpha", 1001)
    assert [entry.id for entry in ram.entries()] == [1, 2]
    assert ram.load(1) == Entry(1, "user", "ålpha", 1000, version=2)
    assert change.replaced == (Entry(1, "user", "alpha", 1000),)
    assert ram.active_bytes == 11
    assert ram.next_id == 3


def test_update_makes_room_among_the_others() -> None:
    """A text that grew pushes out others, oldest first, not itself."""
    ram = filled(Budget(max_bytes=10), "aaa", "bbb", "ccc")
    ram.update(1, "aaaaaaa", 1001)
    assert [entry.id for entry in ram.entries()] == [1, 3]


def test_update_of_a_memory_that_left_ram_brings_it_back() -> None:
    """With the LTM's copy an evicted memory is revised, and its tombstone leaves RAM."""
    ram = filled(Budget(), "alpha", "bravo")
    ram.evict(1001)
    ram.update(1, "alpha two", 1002, stored=Entry(1, "user", "alpha", 1000))
    assert listing(ram) == ["1|user|active||alpha two", "2|user|active||bravo"]


def test_update_beyond_the_budget_leaves_a_tombstone() -> None:
    """A revision larger than the whole budget goes to the LTM only."""
    ram = filled(Budget(max_bytes=10), "alpha")
    change = ram.update(1, "x" * 11, 1001)
    assert listing(ram) == ["2|system|tombstone|1|[evicted:1] [evicted context entry]"]
    assert change.left == (1,)
    assert ram.active_bytes == 0


def test_recall_puts_an_entry_back_in_its_own_place() -> None:
    """A recalled entry stands at its MemoryID's place, and its tombstone leaves RAM."""
    ram = filled(Budget(), "alpha", "bravo", "charlie")
    ram.evict(1001, 2)
    change = ram.recall(Entry(2, "user", "bravo", 1000), 1002)
    assert [entry.id for entry in ram.entries()] == [1, 2, 3]
    assert (change.operation, change.memory_id, change.left) == (Operation.LOAD, 2, (4,))


def test_recall_makes_room_among_the_others() -> None:
    """When RAM is full another entry leaves for the recalled one."""
    ram = filled(Budget(max_entries=2), "alpha", "bravo", "charlie")
    ram.recall(Entry(1, "user", "alpha", 1000), 1001)
    assert [entry.id for entry in ram.entries()] == [1, 3]


def test_recall_changes_nothing_when_it_cannot_help() -> None:
    """An entry that is active, or larger than the whole budget, stays where it is."""
    ram = filled(Budget(max_bytes=10), "alpha", "x" * 11)
    before = listing(ram)
    assert not ram.recall(Entry(1, "user", "alpha", 1000), 1001)
    assert not ram.recall(Entry(2, "user", "x" * 11, 1000), 1001)
    assert listing(ram) == before


def test_recall_of_an_id_never_given_out_is_an_error() -> None:
    """Ids come from this Ram alone."""
    with pytest.raises(ValueError, match="never given out"):
        Ram().recall(Entry(1, "user", "alpha", 1000), 1001)


@pytest.mark.parametrize("operation", ["update", "evict", "summarize"])
def test_an_id_that_is_not_active_is_refused_and_changes_nothing(operation: str) -> None:
    """The refusal carries memory_unknown and names the id."""
    ram = filled(Budget(), "alpha")
    calls = {
        "update": lambda: ram.update(9, "x", 1001),
        "evict": lambda: ram.evict(1001, 9),
        "summarize": lambda: ram.summarize("x", 1001, 9),
    }
    with pytest.raises(Refused, match="Memory 9") as refusal:
        calls[operation]()
    assert refusal.value.code is Code.MEMORY_UNKNOWN
    assert ram == filled(Budget(), "alpha")


def test_evict_and_summarize_without_an_active_entry_do_nothing() -> None:
    """2.4: no active entry, no change."""
    ram = Ram()
    assert not ram.evict(1000)
    assert not ram.summarize("x", 1000)
    assert ram.next_id == 1


def test_evict_and_summarize_by_id_take_that_entry() -> None:
    """With an id not the oldest leaves but the one that was named."""
    ram = filled(Budget(), "alpha", "bravo", "charlie")
    ram.evict(1001, 2)
    ram.summarize("charlie", 1002, 3)
    assert [entry.content for entry in ram.entries()] == ["alpha"]
    assert [summary.sources for summary in ram.summaries()] == [(3,)]


def test_erase_takes_every_quotation_with_it() -> None:
    """After an erasure no row in RAM holds the text, and a dated tombstone says that it happened."""
    ram = filled(Budget(), "my pin is 4711", "bravo")
    ram.summarize("pin 4711", 1001)
    change = ram.erase(1, 2000, "asked", derived=[99])
    assert change.erased == (1, 3, 4, 99)
    assert ram.turns() == [("user", "bravo")]
    assert listing(ram) == [
        "2|user|active||bravo",
        "5|system|tombstone|1|[erased:1] [erased on request]",
    ]
    assert [stone.created_ms for stone in ram.tombstones()] == [2000]
    assert (change.bytes_before, change.bytes_after) == (5, 5)


def test_erase_of_an_active_entry_takes_it_out_of_ram() -> None:
    """Erasing what is active removes it and its bytes, without an eviction."""
    ram = filled(Budget(), "alpha", "bravo")
    change = ram.erase(1, 1001, "asked")
    assert (change.erased, change.left, ram.active_bytes) == ((1,), (1,), 5)


def test_erase_of_a_summary_takes_the_tombstone_that_quotes_it() -> None:
    """A summary's text also stands in the tombstone of its source; both go."""
    ram = filled(Budget(), "alpha")
    ram.summarize("alpha", 1001)
    assert ram.erase(2, 1002, "asked").erased == (2, 3)
    assert listing(ram) == ["4|system|tombstone|2|[erased:2] [erased on request]"]


@pytest.mark.parametrize(("memory_id", "message"), [(0, "never given out"), (7, "never"), (2, "tombstone")])
def test_erase_refuses_what_has_no_text(memory_id: int, message: str) -> None:
    """An unknown id and a tombstone are refused; the tombstone's refusal names the memory to erase."""
    ram = filled(Budget(), "alpha")
    ram.evict(1001)
    with pytest.raises(Refused, match=message):
        ram.erase(memory_id, 1002, "asked")


def test_turns_put_summaries_before_the_entries() -> None:
    """A model sees summaries as system texts first; tombstones it does not see (defect 14)."""
    ram = filled(Budget(), "alpha", "bravo")
    ram.append("assistant", "charlie", 1001)
    ram.summarize("alpha", 1002)
    assert ram.turns() == [("system", "[summary:1] alpha"), ("user", "bravo"), ("assistant", "charlie")]


def test_fit_applies_a_smaller_budget() -> None:
    """After a reload with smaller limits everything fits, and what did not is in the Change."""
    ram = filled(Budget(), "x" * 40, "bravo", "charlie", "delta")
    change = ram.fit(1001, Budget(max_entries=2, max_bytes=30, max_tombstones=1))
    assert [entry.content for entry in ram.entries()] == ["charlie", "delta"]
    assert [stone.related_to for stone in ram.tombstones()] == [2]
    assert {1, 2} <= set(change.left)
    assert not ram.fit(1002)


def test_restore_never_gives_out_an_id_twice() -> None:
    """Even when the session's row is behind its memories, the next id is a new one."""
    ram = filled(Budget(), "alpha", "bravo")
    rows = [entry.record(1, True) for entry in ram.entries()]
    assert Ram.restore(rows, 1).append("user", "charlie", 1001).memory_id == 3


@pytest.mark.parametrize("bad", ["robot", "", "User"])
def test_unknown_role_is_an_error(bad: str) -> None:
    """Only the five roles of 2.2 are stored."""
    with pytest.raises(ValueError, match="unknown role"):
        Ram().append(bad, "alpha", 1000)


@pytest.mark.parametrize("operation", ["append", "update", "summarize"])
def test_a_lone_surrogate_is_an_error_before_anything_changes(operation: str) -> None:
    """Text that SQLite could not store must not get into RAM."""
    ram = filled(Budget(), "alpha")
    calls = {
        "append": lambda: ram.append("user", "\ud800", 1001),
        "update": lambda: ram.update(1, "\ud800", 1001),
        "summarize": lambda: ram.summarize("\ud800", 1001),
    }
    with pytest.raises(UnicodeEncodeError):
        calls[operation]()
    assert ram == filled(Budget(), "alpha")


@pytest.mark.parametrize(
    "limits", [{"max_entries": 0}, {"max_bytes": 0}, {"max_tombstones": 0}, {"max_tokens": -1}]
)
def test_a_budget_that_could_hold_nothing_is_an_error(limits: dict[str, int]) -> None:
    """Limits are checked where they are set, with the name of the one that is wrong."""
    with pytest.raises(ValueError, match=next(iter(limits))):
        Budget(**limits)
