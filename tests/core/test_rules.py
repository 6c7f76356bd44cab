"""The table itself is whole."""

import pytest

from spiderwebd.core.rules import RULES, Rule
from spiderwebd.core.verbs import Kind, Verb

CHANGING = {
    Verb.REMEMBER, Verb.FORGET, Verb.LOAD, Verb.SUMMARIZE, Verb.WRITE, Verb.CREATE, Verb.APPEND,
    Verb.DELETE, Verb.COPY, Verb.MOVE, Verb.MAKE_DIRECTORY,
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_is_documented_and_true(rule: Rule) -> None:
    """A rule has a form and an example, and says that it writes exactly when its verb changes something."""
    assert rule.form
    assert rule.examples
    assert rule.writes is (rule.verb in CHANGING)
    if rule.writes:
        assert rule.kind is Kind.EXECUTION


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_pattern_is_of_use(rule: Rule) -> None:
    """Each pattern of a rule matches one of its examples (courtesies and a last mark aside)."""
    for pattern in rule.patterns:
        assert any(
            pattern.fullmatch(example) or pattern.fullmatch(example.rstrip("?")) for example in rule.examples
        ), pattern.pattern
