"""The planner: a goal's text becomes tasks, by fixed rules, the same every time.

The rules are those of the original planner (compatibility reference, section 5): split at the
first kind of separator the goal has, clean each piece of list markers, fall back on three general
tasks. Corrected on purpose:

* A dot, `!` or `?` splits only where a sentence ends: before white space or the end of the text,
  and not after an abbreviation, an initial or the number that opens a list item. Versions,
  decimals, domain names, file names and `1. x` stay whole.
* A comma between two digits belongs to the number (`10,000 rows`).
* The one or two dots that open a name or path stay (`.env`, `../notes`); the original cut them.
* No task vanishes: those beyond the limit are in `Plan.dropped`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from spiderwebd.core.codes import Code, Refused

DEFAULT_TASKS = (
    "Understand the goal and required outcome",
    "Collect key constraints and required inputs",
    "Produce an actionable result and next steps",
)
"""The tasks of a goal that has separators and markers only; wire texts of section 5 item 4."""

_BLANK = " \t\r\n"
_BULLETS = ("- ", "* ", "+ ")
_ITEM_OPENERS = frozenset({"-", "*", "+", "Task"})
_BREAK = re.compile(r"[;\n]")
_COMMA = re.compile(r"(?<![0-9]),|,(?![0-9])")
_WORD = re.compile(r"\S+")
_SENTENCE_MARKS = ".!?"
_OPENING_MARKS = "([{<\"'`\u201c\u2018"
_DOTTED_LETTERS = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]")

# Short lists of what English goals contain: a missing one cuts a task in two, one too many leaves two
# sentences in one task.
_ABBREVIATION = re.compile(
    r"al|approx|ca|cf|co|corp|dept|dr|eg|etc|hon|ie|inc|incl|jr|ltd|mr|mrs|ms|ph\.d|prof|rev|sr|st|viz|vs",
    re.IGNORECASE,
)
_ABBREVIATION_BEFORE_NUMBER = re.compile(
    r"apr|art|aug|chap|ch|dec|eq|feb|fig|jan|jul|jun|mar|nos?|nov|oct|pp?|ref|sec|sept?|vol",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the planner made of a goal."""

    goal: str
    """The goal's text without white space around it."""
    tasks: tuple[str, ...]
    """Titles in order; never empty, and task N of the wire is `tasks[N - 1]`."""
    dropped: tuple[str, ...]
    """Titles beyond the limit, in order: not run, and to be reported."""


def build_plan(goal: str, *, max_tasks: int) -> Plan:
    """Split a goal into at most `max_tasks` tasks.

    Raises Refused (goal_empty) when the goal has no text, ValueError when max_tasks is below 1.
    """
    if max_tasks < 1:
        raise ValueError(f"max_tasks is {max_tasks}, but a plan has at least one task")
    text = goal.strip(_BLANK)
    if not text or text.isspace():
        raise Refused("The goal has no text; say in a sentence or a list what to do.", Code.GOAL_EMPTY)
    titles = tuple(title for piece in _split(text) if (title := _clean(piece))) or DEFAULT_TASKS
    return Plan(goal=text, tasks=titles[:max_tasks], dropped=titles[max_tasks:])


def response_text(plan: Plan) -> str:
    """Return what the planner/ready progress frame says (section 5 item 6)."""
    return f"I have a deterministic plan with {len(plan.tasks)} task(s) for this goal."


def ram_text(plan: Plan) -> str:
    """Return the plan as it is kept in working memory, role system (section 5 item 7)."""
    lines = (f"{number}. {title}" for number, title in enumerate(plan.tasks, start=1))
    return "\n".join((f"Primary Brain plan for goal: {plan.goal}", *lines))


def _split(text: str) -> Sequence[str]:
    """Split by the first kind of separator that occurs; what follows in rank stays in the pieces."""
    if _BREAK.search(text):
        return _BREAK.split(text)
    if " and " in text:
        return text.split(" and ")
    if _COMMA.search(text):
        return _COMMA.split(text)
    return _sentences(text)


def _sentences(text: str) -> list[str]:
    """Split where a sentence ends, leaving out the marks that end it."""
    pieces = []
    start = 0
    opens_item = True
    words = list(_WORD.finditer(text))
    for word, following in zip(words, [*words[1:], None], strict=True):
        bare = word.group().rstrip(_SENTENCE_MARKS)
        next_word = following.group() if following else ""
        if _ends_sentence(word.group(), opens_item, next_word):
            pieces.append(text[start : word.start() + len(bare)])
            start = word.end()
            opens_item = True
        else:
            opens_item = opens_item and word.group() in _ITEM_OPENERS
    pieces.append(text[start:])
    return pieces


def _ends_sentence(word: str, opens_item: bool, next_word: str) -> bool:
    """Return whether a sentence ends with this word, its marks included."""
    bare = word.rstrip(_SENTENCE_MARKS)
    if bare == word:
        return False
    if word != bare + ".":
        return True
    stem = bare.lstrip(_OPENING_MARKS)
    if opens_item and stem.isascii() and stem.isdigit():
        return False
    if (len(stem) == 1 and stem.isupper()) or _DOTTED_LETTERS.fullmatch(stem):
        return False
    if _ABBREVIATION.fullmatch(stem):
        return False
    return not (_ABBREVIATION_BEFORE_NUMBER.fullmatch(stem) and next_word[:1].isdigit())


def _clean(piece: str) -> str:
    """Take list markers and the marks around a piece away; may leave nothing (section 5 item 3)."""
    title = piece.strip(_BLANK)
    if title.startswith(_BULLETS):
        title = title[2:]
    if len(title) > 3 and title[0] in "0123456789" and title[1] in ".)" and title[2] == " ":
        title = title[3:]
    elif title.startswith("Task "):
        title = _trim(title[4:], _BLANK + "-:")
    title = _trim(title, _BLANK + "-")
    return "" if title.isspace() else title


def _trim(text: str, marks: str) -> str:
    """Trim marks and dots from both ends, but not the dots that open a file name or path."""
    text = text.rstrip(marks + ".")
    bare = text.lstrip(marks + ".")
    head = text[: len(text) - len(bare)]
    dots = len(head) - len(head.rstrip("."))
    return "." * dots + bare if dots in (1, 2) else bare
