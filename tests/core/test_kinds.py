"""What a title asks for: the table's examples, its order, and what nothing may claim to do."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.core.kinds import choose, repeatable, table
from spiderwebd.core.rules import RULES
from spiderwebd.core.verbs import Kind, Verb

EXAMPLES = [(example, rule.name) for rule in RULES for example in rule.examples]


@pytest.mark.parametrize(("title", "rule"), EXAMPLES)
def test_example_gets_its_rule(title: str, rule: str) -> None:
    """Every example in the table is matched by its own rule and by none before it."""
    assert choose(title).rule == rule


def test_table_keeps_the_order_of_the_rules() -> None:
    """The published rows are the rules, numbered from 1 in the order in which they are tried."""
    rows = table()
    assert [row.rule for row in rows] == [rule.name for rule in RULES]
    assert [row.order for row in rows] == list(range(1, len(RULES) + 1))
    assert len({row.rule for row in rows}) == len(rows)
    kinds = [row.kind for row in rows]
    assert kinds == sorted(kinds, key=[Kind.EXECUTION, Kind.STATUS, Kind.RESEARCH].index)


def test_every_verb_has_a_rule() -> None:
    """No verb exists that no wording reaches."""
    assert {row.verb for row in table()} == set(Verb)


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("Understand the goal and required outcome", Kind.RESEARCH),
        ("Collect key constraints and required inputs", Kind.RESEARCH),
        ("Produce an actionable result and next steps", Kind.STATUS),
        ("read the log", Kind.RESEARCH),
        ("tell me the state", Kind.STATUS),
        ("Read docs", Kind.RESEARCH),
        ("2: please remember that tea is hot", Kind.EXECUTION),
        ("Then check status", Kind.STATUS),
    ],
)
def test_planner_titles(title: str, kind: Kind) -> None:
    """The planner's default tasks and its vectors (compatibility 5 and 6.3) get a worker that fits."""
    choice = choose(title)
    assert choice.kind is kind
    assert choice.rule is not None


@pytest.mark.parametrize(
    "title",
    [
        "fix the bug",
        "launch the rocket",
        "delete the server",
        "could you delete the server?",
        "write a poem",
        "report the bug to the vendor",
        "state the problem",
        "forget about it",
        "remember that",
        "plan",
        "checkout the branch",
        "",
        "   ",
    ],
)
def test_nothing_is_guessed(title: str) -> None:
    """A title that names no built-in work has no rule and no verb, and changes nothing."""
    choice = choose(title)
    assert (choice.kind, choice.rule, choice.verb, choice.writes) == (Kind.EXECUTION, None, None, False)


@pytest.mark.parametrize(
    ("title", "text", "path", "target"),
    [
        ("WRITE FILE Notes.txt: Buy Milk!", "Buy Milk!", "Notes.txt", ""),
        ('write file a.json: "x"', '"x"', "a.json", ""),
        ('write file a.txt with "x y"', "x y", "a.txt", ""),
        ("write file a.txt with text: x: y", "x: y", "a.txt", ""),
        ("append to a.txt: one\n  two", "one\n  two", "a.txt", ""),
        ("append 'one' to 'my file.txt'", "one", "my file.txt", ""),
        ("copy `a b` to c/d", "", "a b", "c/d"),
        ("read ../../etc/passwd", "", "../../etc/passwd", ""),
        ("show notes.txt!", "", "notes.txt", ""),
        ("list files in archive", "", "archive", ""),
        ("find 'time out' in my files", "time out", "", ""),
        ("what is up?", "what is up", "", ""),
        ("research", "research", "", ""),
    ],
)
def test_arguments(title: str, text: str, path: str, target: str) -> None:
    """Arguments keep their case and inner white space; quotes that only delimit are taken off."""
    choice = choose(title)
    assert (choice.text, choice.path, choice.target) == (text, path, target)


def test_numbers_and_units() -> None:
    """A memory's number and the unit to count are read as such."""
    assert choose("recall memory #12 into RAM").memory_id == 12
    assert choose("count Lines in a.txt").unit == "lines"


def test_what_waits() -> None:
    """Writes and reports wait for what stands before them; reads and searches do not."""
    waits = {row.rule: choose(row.example).waits for row in table()}
    assert {rule for rule, wait in waits.items() if not wait} == {
        "list files",
        "read",
        "count",
        "search files",
        "search memories",
        "research",
        "question",
    }


def test_what_may_run_twice() -> None:
    """Only appending, moving and deleting could do harm when a crash makes them run again."""
    once = {row.verb for row in table() if not repeatable(choose(row.example))}
    assert once == {Verb.APPEND, Verb.MOVE, Verb.DELETE}
    assert repeatable(choose("fix the bug"))


@given(st.text(max_size=200))
def test_any_title_is_decided_the_same_way_twice(title: str) -> None:
    """Whatever the title, there is a choice, it is stable, and only a rule brings a verb."""
    choice = choose(title)
    assert choice == choose(title)
    assert (choice.rule is None) is (choice.verb is None)


@pytest.mark.parametrize(
    "unit", ["the ", "a.", "memory ", "to ", "write x to ", "find ", "queue and ", "'", "report on the "]
)
@pytest.mark.parametrize("lead", ["", "write file ", "append x to ", "report ", "copy ", "remember "])
def test_long_titles_take_no_time(lead: str, unit: str) -> None:
    """No pattern backtracks without bound: one that did would not end within the life of the machine."""
    title = (lead + unit * 4096)[:4096] + "\x00"
    began = time.perf_counter()
    choose(title)
    assert time.perf_counter() - began < 10
