"""Planner: section 5 of the compatibility reference, its vector table and our corrections."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spiderwebd.core.codes import Code, Refused
from spiderwebd.core.plan import DEFAULT_TASKS, Plan, build_plan, ram_text, response_text

BLANK = " \t\r\n"


def tasks(goal: str) -> list[str]:
    return list(build_plan(goal, max_tasks=100).tasks)


def original_tasks(goal: str) -> list[str]:
    """Section 5, items 1 to 4, word for word: what the original made of a goal, without its limit."""
    text = goal.strip(BLANK)
    if ";" in text or "\n" in text:
        pieces = re.split("[;\n]", text)
    elif " and " in text:
        pieces = text.split(" and ")
    elif "," in text:
        pieces = text.split(",")
    else:
        pieces = re.split("[.!?]", text)
    found = []
    for piece in pieces:
        title = piece.strip(BLANK)
        if title[:2] in ("- ", "* ", "+ "):
            title = title[2:]
        if len(title) > 3 and title[0] in "0123456789" and title[1] in ".)" and title[2] == " ":
            title = title[3:]
        elif title.startswith("Task "):
            title = title[4:].strip(BLANK + "-:.")
        title = title.strip(BLANK + "-.")
        if title:
            found.append(title)
    return found or list(DEFAULT_TASKS)


SECTION_5_UNCHANGED = [
    ("a; b and c, d. e", ["a", "b and c, d. e"]),
    ("a, b and c", ["a, b", "c"]),
    ("sand and grit", ["sand", "grit"]),
    ("a AND b", ["a AND b"]),
    ("and b", ["and b"]),
    ("a and ", ["a and"]),
    ("Read docs, then code. Test it!", ["Read docs", "then code. Test it!"]),
    ("first. second! third?", ["first", "second", "third"]),
    (";;;", list(DEFAULT_TASKS)),
    (",,,", list(DEFAULT_TASKS)),
    ("...", list(DEFAULT_TASKS)),
    ("- ", list(DEFAULT_TASKS)),
    ("- a\n* b\n+ c", ["a", "b", "c"]),
    ("1. first\n2) second\n3 third", ["first", "second", "3 third"]),
    ("10. tenth; 11) eleventh", ["10. tenth", "11) eleventh"]),
    ("Task 1: do it; Task 2 - go", ["1: do it", "2 - go"]),
    ("Task force report; Tasks list", ["force report", "Tasks list"]),
    ("task 3: lower", ["task 3: lower"]),
    ("- 1. nested; * - deep", ["nested", "deep"]),
    ("--- x ---", ["x"]),
]

SECTION_5_CHANGED = [
    # goal, what the original made of it, what we make of it
    ("v1.2 release", ["v1", "2 release"], ["v1.2 release"]),
    ("visit example.com now", ["visit example", "com now"], ["visit example.com now"]),
    ("1. x", ["1", "x"], ["x"]),
    ("a;b;c;d;e;f;g", list("abcdefg"), list("abcdefg")),  # the original then kept a..e only
]

CORRECTED = [
    ("raise the limit to 2.5 percent", ["raise the limit to 2.5 percent"]),
    ("read notes.txt", ["read notes.txt"]),
    ("Read notes.txt. Then archive report.tar.gz!", ["Read notes.txt", "Then archive report.tar.gz"]),
    ("open https://example.com/?q=a.b", ["open https://example.com/?q=a.b"]),
    ("ask 192.168.0.1 for its version", ["ask 192.168.0.1 for its version"]),
    ("use a formatter e.g. black", ["use a formatter e.g. black"]),
    ("keep the newest i.e. the last one", ["keep the newest i.e. the last one"]),
    ("Write to Dr. Smith. Wait for her answer.", ["Write to Dr. Smith", "Wait for her answer"]),
    ("Find (approx. 20) letters of J. S. Bach", ["Find (approx. 20) letters of J. S. Bach"]),
    ("collect logs etc. from the U.S. site", ["collect logs etc. from the U.S. site"]),
    ("See fig. 3 of vol. 2. Say no. Then leave.", ["See fig. 3 of vol. 2", "Say no", "Then leave"]),
    ("Summarise what we decided yesterday.", ["Summarise what we decided yesterday"]),
    ("Is the backup done?", ["Is the backup done"]),
    ("Wait... what?! Go on.", ["Wait", "what", "Go on"]),
    ("1. read it. 2. fix it. 10. test it.", ["read it", "fix it", "10. test it"]),
    ("- 1. x", ["x"]),
    ("Task 1. do it", ["1. do it"]),
    ("Buy version 2. Install it.", ["Buy version 2", "Install it"]),
    ("delete 10,000 rows", ["delete 10,000 rows"]),
    ("delete 10,000 rows, then 2,5 more", ["delete 10,000 rows", "then 2,5 more"]),
    ("sort 1, 2", ["sort 1", "2"]),
    ("compare .env and ../old/.env", ["compare .env", "../old/.env"]),
    ("a; ... b; . c; -.d", ["a", "b", "c", ".d"]),
]


@pytest.mark.parametrize(("goal", "expected"), SECTION_5_UNCHANGED)
def test_table_of_section_5(goal: str, expected: list[str]) -> None:
    """A row of section 5's table that was not changed: same goal, same tasks."""
    assert tasks(goal) == expected
    assert original_tasks(goal) == expected


@pytest.mark.parametrize(("goal", "original", "expected"), SECTION_5_CHANGED)
def test_rows_of_section_5_that_changed(goal: str, original: list[str], expected: list[str]) -> None:
    """A row of section 5's table that changed on purpose (defect 27): what was, and what is now."""
    assert original_tasks(goal) == original
    assert tasks(goal) == expected


@pytest.mark.parametrize(("goal", "expected"), CORRECTED)
def test_corrections(goal: str, expected: list[str]) -> None:
    """Names, numbers and abbreviations stay whole, and sentences still end (defect 27)."""
    assert tasks(goal) == expected


@pytest.mark.parametrize("goal", ["", " \t\r\n", "\u00a0\u2003"])
def test_goal_without_text_is_refused(goal: str) -> None:
    """A blank goal is refused with goal_empty (section 5 item 1)."""
    with pytest.raises(Refused) as refused:
        build_plan(goal, max_tasks=5)
    assert refused.value.code is Code.GOAL_EMPTY


def test_limit_below_one_is_a_mistake_of_the_caller() -> None:
    """A plan without tasks cannot be asked for."""
    with pytest.raises(ValueError, match="max_tasks is 0"):
        build_plan("a", max_tasks=0)


def test_tasks_beyond_the_limit_are_reported() -> None:
    """With the original's limit of five its row a..e holds, and f and g are named, not lost."""
    plan = build_plan(" a;b;c;d;e;f;g ", max_tasks=5)
    assert plan == Plan(goal="a;b;c;d;e;f;g", tasks=tuple("abcde"), dropped=("f", "g"))


def test_texts_of_a_plan() -> None:
    """The progress text and the RAM text are those of section 5 items 6 and 7."""
    plan = build_plan("read log; fix bug", max_tasks=20)
    assert response_text(plan) == "I have a deterministic plan with 2 task(s) for this goal."
    assert ram_text(plan) == "Primary Brain plan for goal: read log; fix bug\n1. read log\n2. fix bug"


def test_long_goals_take_linear_time() -> None:
    """A goal of half a million sentence ends is planned at once, not in quadratic time."""
    plan = build_plan("x. " * 500_000, max_tasks=3)
    assert len(plan.dropped) == 499_997


WORDS = ["read", "v1.2", "a.txt", "and", " and ", "Task ", "Task", "e.g. ", "J.", "\u00e9", "10,000", "7"]
MARKS = ["1. ", "2) ", "- ", "* ", "+ ", *".!?,;:-", "..", "\n", "\r\n", "\t", " ", "\u00a0"]
FRAGMENTS = st.sampled_from(WORDS + MARKS)
GOALS = st.one_of(st.text(max_size=60), st.lists(FRAGMENTS, max_size=25).map("".join))


@settings(max_examples=300, deadline=None)
@given(goal=GOALS.filter(lambda goal: bool(goal.strip())), limit=st.integers(1, 8))
@example(goal="- Task 1. Task a; and", limit=1)
@example(goal="..\u00a0.", limit=1)
def test_no_word_is_lost(goal: str, limit: int) -> None:
    """Every word stands in tasks and dropped, in order; only `and`, `Task` and list numbers may go."""
    plan = build_plan(goal, max_tasks=limit)
    titles = plan.tasks + plan.dropped
    assert 1 <= len(plan.tasks) <= limit
    assert all(title.strip() for title in titles)
    assert not plan.dropped or len(plan.tasks) == limit
    given_words = re.findall(r"\w+", goal)
    if titles == DEFAULT_TASKS:
        kept: list[str] = []
    else:
        kept = [word for title in titles for word in re.findall(r"\w+", title)]
    remaining = iter(given_words)
    assert all(word in remaining for word in kept), "a word was invented, or the order changed"
    lost = Counter(given_words) - Counter(kept)
    assert all(word in ("and", "Task") or re.fullmatch("[0-9]", word) for word in lost)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["a", "b c", " and ", "and", "Task ", "1) ", "- ", "* ", ",", ";", "\n", " ", "-", ":"]
        ),
        max_size=20,
    )
    .map("".join)
    .filter(lambda goal: bool(goal.strip(BLANK)) and not re.search("[0-9],[0-9]", goal))
)
def test_goals_without_sentence_marks_are_planned_as_by_the_original(goal: str) -> None:
    """Where no correction applies, section 5's rules, transcribed above, give the same tasks."""
    assert tasks(goal) == original_tasks(goal)
