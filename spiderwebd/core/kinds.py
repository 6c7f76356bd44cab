"""Which worker carries out a task, and what it is to do: one ordered table, first match wins.

The choice depends on the title alone, so the same title always gets the same worker. Patterns are
anchored at the first word after courtesies (`please`, `then`, `2:`). What no rule matches is
execution without a verb, which the execution worker ends as blocked: nothing is guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from spiderwebd.core.rules import RULES, Rule
from spiderwebd.core.verbs import Kind, Verb
from spiderwebd.core.wording import LEAD


@dataclass(frozen=True, slots=True)
class Choice:
    """What a title asks for. Fields a verb does not use are empty."""

    kind: Kind
    rule: str | None
    """Name of the rule that matched; None when no rule did."""
    verb: Verb | None
    writes: bool
    """Whether files or memories change; a write waits for everything before it."""
    text: str = ""
    """What to remember, to write or to look for."""
    path: str = ""
    target: str = ""
    """Where a copy or a move goes."""
    memory_id: int | None = None
    unit: str = ""
    """What to count: words, lines, characters or bytes."""

    @property
    def waits(self) -> bool:
        """Whether every earlier task of the plan must have ended before this one starts."""
        return self.writes or self.kind is Kind.STATUS


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the published table of rules."""

    order: int
    rule: str
    kind: Kind
    verb: Verb
    form: str
    """How the task is worded, capitals for what is filled in."""
    example: str
    writes: bool


TITLES_KEPT = 1_024
"""Titles whose choice is remembered: a task's is asked for when it is planned and when it is begun."""

_TRIED = tuple((rule, rule.takes_text) for rule in RULES)


@lru_cache(maxsize=TITLES_KEPT)
def choose(title: str) -> Choice:
    """Return the worker kind, the verb and its arguments for a task's title.

    Args:
        title: one task of a plan, any text; case does not matter except in the arguments.
    """
    body = title.strip()
    if courtesy := LEAD.match(body):
        body = body[courtesy.end() :]
    bare = body.rstrip("!? \t\r\n")
    for rule, takes_text in _TRIED:
        asked = body if takes_text else bare
        for pattern in rule.patterns:
            if match := pattern.fullmatch(asked):
                return _chosen(rule, match, asked)
    return Choice(Kind.EXECUTION, None, None, writes=False)


def repeatable(choice: Choice) -> bool:
    """Whether a task that a crash interrupted may be started again without doing its work twice.

    Changes of memory are proposals that are committed together with the task's end, so an interrupted
    one had no effect. Appending twice adds twice, and a second move or delete would not find its file.
    """
    return choice.verb not in (Verb.APPEND, Verb.MOVE, Verb.DELETE)


def table() -> list[Row]:
    """Return the rules in the order in which they are tried, for the README."""
    return [
        Row(order, rule.name, rule.kind, rule.verb, rule.form, rule.examples[0], rule.writes)
        for order, rule in enumerate(RULES, start=1)
    ]


def _chosen(rule: Rule, match: re.Match[str], asked: str) -> Choice:
    groups = {name: value.strip() for name, value in match.groupdict().items() if value is not None}
    text = groups.get("text", "") or _unquoted(groups.get("words", ""))
    if rule.kind is Kind.RESEARCH and not text:
        text = asked.rstrip("!? \t\r\n")
    number = groups.get("memory_id")
    return Choice(
        kind=rule.kind,
        rule=rule.name,
        verb=rule.verb,
        writes=rule.writes,
        text=text,
        path=_unquoted(groups.get("path") or groups.get("path_only", "")),
        target=_unquoted(groups.get("target", "")),
        memory_id=int(number) if number else None,
        unit=groups.get("unit", "").lower(),
    )


def _unquoted(value: str) -> str:
    """Take one pair of quotes off, if the whole value stands in one."""
    if len(value) >= 2 and value[0] in "\"'`" and value[0] == value[-1] and value[0] not in value[1:-1]:
        return value[1:-1]
    return value
