"""When compaction runs (compatibility.md 7 and 12.10), and what its summaries keep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.core.compaction import Thresholds, due, event_text, steps, summarize_text
from spiderwebd.core.ram import Budget, Ram

CHATTY = (
    "Hey there! Thanks so much for asking, that is really sweet of you. My sister Anna moved to Oslo on "
    "3 May 2024 with her two dogs. Wow, I really hope that you are having a wonderful day today! The "
    "server db-7 listens on port 5432 and I don't want it restarted before Friday."
)


def with_entries(count: int, budget: Budget | None = None) -> Ram:
    """A Ram with `count` short active entries."""
    ram = Ram(budget or Budget())
    for number in range(count):
        ram.append("user", f"turn {number}", 1000)
    return ram


def test_first_summary_on_the_forty_ninth_active_entry() -> None:
    """Section 7: 48 active entries may stand, the 49th makes one summary, the 50th two."""
    assert steps(with_entries(48), Thresholds(), 2000) == []
    for entries, summaries in ((49, 1), (50, 2), (60, 2)):
        ram = with_entries(entries)
        assert len(steps(ram, Thresholds(), 2000)) == summaries
        assert ram.active_count == entries - summaries


def test_trace_of_a_long_conversation() -> None:
    """Section 7's trace: turn 25 makes one summary, every later turn two; 12.10: it never ends.

    The original forgot everything at turn 33; here turn 33 and turn 3,300 have 48 entries in context.
    """
    ram = Ram()
    counts: dict[int, int] = {}
    context: dict[int, int] = {}
    for turn in range(1, 3_301):
        ram.append("user", f"question {turn}", turn)
        counts[turn] = len(steps(ram, Thresholds(), turn))
        context[turn] = ram.active_count
        ram.append("assistant", f"answer {turn}", turn)
    assert [turn for turn in range(1, 25) if counts[turn]] == []
    assert counts[25] == 1
    assert {counts[turn] for turn in range(26, 3_301)} == {2}
    assert {context[turn] for turn in range(25, 3_301)} == {48}


@pytest.mark.parametrize(("entries", "expected"), [(64, 48), (5, 3), (4, 3), (3, 1), (1, 1)])
def test_entry_threshold(entries: int, expected: int) -> None:
    """Section 7: three quarters rounded down, and 1 for a budget of fewer than four."""
    assert Thresholds().entries(Budget(max_entries=entries)) == expected


def test_many_bytes_are_a_reason_too() -> None:
    """Few long entries are compacted before the hard limit would evict them without a summary."""
    ram = Ram(Budget(max_bytes=100))
    ram.append("user", "x" * 50, 1000)
    ram.append("user", "y" * 40, 1001)
    assert not due(ram, Thresholds())
    ram.append("user", "z", 1002)
    (change,) = steps(ram, Thresholds(), 2000)
    assert change.left == (1,)
    assert ram.active_bytes == 41


def test_the_only_entry_is_never_compacted() -> None:
    """The message that is being answered stays in context, however long it is."""
    ram = Ram(Budget(max_bytes=100))
    ram.append("user", "x" * 100, 1000)
    assert not due(ram, Thresholds())


def test_steps_summarise_the_oldest_with_their_ids() -> None:
    """A summary names its source, and a text that fits is in it whole."""
    ram = with_entries(50)
    first, second = steps(ram, Thresholds(), 2000)
    assert [summary.text for summary in ram.summaries()] == ["[summary:1] turn 0", "[summary:2] turn 1"]
    assert (first.memory_id, second.memory_id) == (51, 53)


@pytest.mark.parametrize("bad", [{"entry_ratio": 0}, {"byte_ratio": 1.1}, {"batch": 0}])
def test_thresholds_out_of_range_are_an_error(bad: dict[str, float]) -> None:
    """A threshold that could never or would always trigger is refused where it is set."""
    with pytest.raises(ValueError, match="must be"):
        Thresholds(**bad)  # type: ignore[arg-type]  # wrong values are the point


def test_event_texts() -> None:
    """Section 7's two messages, letter by letter."""
    assert event_text(2, persisted=False) == "summarized 2 stale RAM entries"
    assert event_text(2, persisted=True) == "summarized 2 stale RAM entries and persisted snapshot"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=600), st.integers(1, 200))
def test_a_summary_fits_and_is_valid(text: str, max_bytes: int) -> None:
    """Never longer than allowed in UTF-8 bytes, always encodable, and the same again from itself."""
    summary = summarize_text(text, "user", max_bytes)
    assert len(summary.encode()) <= max_bytes
    assert summarize_text(summary, "user", max_bytes) == summary
    assert summarize_text(text, "user", max_bytes) == summary


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_text_that_fits_is_kept_whole(text: str) -> None:
    """Nothing is squeezed or trimmed without need: golden vectors keep their short texts."""
    assert summarize_text(text, "user", 160) == text


@given(st.lists(st.sampled_from(["Port 5432.", "Hello!", "I don't know Anna.", "ärger", "x" * 30])))
def test_a_summary_uses_the_words_of_the_text_in_their_order(parts: list[str]) -> None:
    """Extractive: what it says was said, in this order."""
    text = " ".join(parts)
    remaining = iter(text)
    assert all(letter in remaining for letter in summarize_text(text, "user", 40))


def test_facts_go_before_small_talk() -> None:
    """Names, numbers, dates and negations stay where greetings go."""
    for max_bytes in (110, 160):
        summary = summarize_text(CHATTY, "user", max_bytes)
        assert all(fact in summary for fact in ("Anna", "Oslo", "3 May 2024", "db-7", "5432", "don't"))
        assert not any(talk in summary for talk in ("Hey", "Thanks", "wonderful"))


def test_the_upstream_rule_would_have_kept_none_of_it() -> None:
    """Defect 14: the original's first 72 bytes of the same text hold no fact."""
    assert not any(fact in CHATTY[:72] for fact in ("Anna", "Oslo", "5432"))


def test_sentences_stand_whole_when_there_is_room() -> None:
    """Squeezing is for what would not fit otherwise."""
    assert "My sister Anna moved to Oslo on 3 May 2024 with her two dogs." in summarize_text(CHATTY)
    assert "sister Anna moved Oslo 3 May 2024 two dogs." in summarize_text(CHATTY, max_bytes=110)


def test_questions_weigh_less_than_statements() -> None:
    """Of two sentences with the same words the statement is kept."""
    text = "Does the backup run at four? The backup does run at four."
    assert summarize_text(text, "user", 28) == "The backup does run at four."


def test_the_first_person_counts_for_a_user_only() -> None:
    """What a user says of themselves is worth more; what an assistant says of itself is not."""
    text = "Our parrots eat mango. The parrots eat mango."
    assert summarize_text(text, "user", 24) == "Our parrots eat mango."
    text = "The parrots eat mango. Our parrots eat mango."
    assert summarize_text(text, "user", 24) == "Our parrots eat mango."
    assert summarize_text(text, "assistant", 24) == "The parrots eat mango."


def test_an_idf_table_decides_which_words_are_rare() -> None:
    """With document counts a short rare word outweighs long common ones."""
    text = "Documentation describes configuration. Kea eats tin."
    common = {"document": 0.1, "describ": 0.1, "configur": 0.1}
    assert summarize_text(text, "tool", 38) == "Documentation describes configuration."
    assert summarize_text(text, "tool", 38, common) == "Kea eats tin."


def test_abbreviations_and_decimals_do_not_end_a_sentence() -> None:
    """Dr. Miller and 7.30 stay with what is said of them."""
    text = "Nice. " * 20 + "Dr. Miller begins at 7.30 with J. Smith."
    assert summarize_text(text, "user", 60) == "Dr. Miller begins at 7.30 with J. Smith."


def test_a_run_on_text_is_judged_in_pieces() -> None:
    """A log line of many words is not lost because it has no full stop."""
    text = "so it goes on and on and " * 10 + "disk sda7 failed at 03:15 " + "and on and on and so on " * 10
    assert "sda7 failed" in summarize_text(text, "tool_result", 80)


def test_what_is_said_twice_is_kept_once() -> None:
    """Repetition does not fill the room."""
    assert summarize_text("The key is 4711. " * 20, "user", 60) == "The key is 4711."


def test_one_long_word_is_cut_at_a_character() -> None:
    """When nothing fits, the beginning is kept and no character is halved."""
    assert summarize_text("é" * 100, "user", 9) == "é" * 4
    assert summarize_text("abcdefgh ijklmnopqrstuvwxyz", "user", 12) == "abcdefgh"
    assert summarize_text("世" * 100, "user", 2) == ""


def test_no_room_at_all_is_an_error() -> None:
    """A length below 1 is a mistake of the caller."""
    with pytest.raises(ValueError, match="max_bytes"):
        summarize_text("alpha", "user", 0)
