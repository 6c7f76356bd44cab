"""Identity merge: section 4 of the compatibility reference, its vector and our corrections."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiderwebd.core.identity import (
    FALLBACK_PROMPT,
    LAYER_FILES,
    Conflict,
    Identity,
    Layer,
    Problem,
    Section,
    merge,
    valid_agent_id,
)

SOUL_OF_KIM = Layer("SOUL.md", "agents/kim/SOUL.md", "# Tone\nCalm.\n")
AGENT = Layer("AGENT.md", "agents/AGENT.md", "Hello.\n# tone\nLoud.\n## Rules\nBe brief.\n")
IDENTITY_OF_KIM = Layer(
    "IDENTITY.md", "agents/kim/IDENTITY.md", "Preamble two.\n#\n# Rules\nBe long.\n# Name\n"
)
USER = Layer("USER.md", "agents/USER.md", "# Prefs\nUTC\n")


def prompt_of(*texts: str) -> str:
    """Merge texts as the layers from SOUL.md on and return the prompt."""
    return merge([Layer(name, name, text) for name, text in zip(LAYER_FILES, texts, strict=False)]).prompt


def headings_of(text: str) -> list[str]:
    """Return the headings found in one layer's text."""
    return [section.heading for section in merge([Layer("SOUL.md", "SOUL.md", text)]).sections]


def test_vector_of_section_4_agent_kim() -> None:
    """An agent with files of its own gets exactly the bytes of section 4's vector, and the account."""
    identity = merge([SOUL_OF_KIM, AGENT, IDENTITY_OF_KIM, USER])
    assert identity.prompt == ("# Tone\nCalm.\n\n\n\nHello.\n\n\n## Rules\nBe brief.\n\n\n\n# Prefs\nUTC\n\n")
    tone = Section("Tone", SOUL_OF_KIM.name, SOUL_OF_KIM.origin)
    preamble = Section("", AGENT.name, AGENT.origin)
    rules = Section("Rules", AGENT.name, AGENT.origin)
    assert identity.sections == (tone, preamble, rules, Section("Prefs", USER.name, USER.origin))
    assert identity.conflicts == (
        Conflict(Section("tone", AGENT.name, AGENT.origin), tone, dropped=True),
        Conflict(Section("", IDENTITY_OF_KIM.name, IDENTITY_OF_KIM.origin), preamble, dropped=True),
        Conflict(Section("Rules", IDENTITY_OF_KIM.name, IDENTITY_OF_KIM.origin), rules, dropped=True),
    )


def test_vector_of_section_4_agent_zed() -> None:
    """An agent without files of its own gets the shared layers, exactly as in section 4's vector."""
    identity = merge([AGENT, USER])
    assert identity.prompt == ("Hello.\n\n\n# tone\nLoud.\n\n\n## Rules\nBe brief.\n\n\n\n# Prefs\nUTC\n\n")
    assert identity.conflicts == ()


@pytest.mark.parametrize("texts", [(), ("",), (" \n\t\r\n",), ("# Only\n## Headings\n", "# x\n")])
def test_fallback_when_nothing_is_usable(texts: tuple[str, ...]) -> None:
    """Without a section that has text the prompt is section 4's fallback and no section is claimed."""
    identity = merge([Layer("SOUL.md", "SOUL.md", text) for text in texts])
    assert identity == Identity(FALLBACK_PROMPT, ())


@pytest.mark.parametrize(
    ("line", "heading"),
    [
        ("#Style", "Style"),
        ("#!x", "!x"),
        (" \t### Deep \t\r", "Deep"),
        ("#", ""),
        ("## ", ""),
        ("x # y", ""),
        ("# Closed #", "Closed #"),
    ],
)
def test_heading_rule_of_section_4(line: str, heading: str) -> None:
    """A line is a heading by section 4's rule, and a bare `#` is text."""
    assert headings_of(f"{line}\nbody\n") == [heading]


def test_level_is_ignored_and_sections_do_not_nest() -> None:
    """A lower layer's sub-heading still appears when the heading above it is left out (section 4)."""
    assert prompt_of("## Style\nA", "# STYLE\nB\n## Rules\nC") == "## Style\nA\n\n\n## Rules\nC\n"


def test_keys_fold_ascii_case_only() -> None:
    """`Tone` and `TONE` are one heading, letters outside ASCII keep their case (section 4)."""
    assert prompt_of("# \u00e4\nA", "# \u00c4\nB") == "# \u00e4\nA\n\n\n# \u00c4\nB\n"


def test_empty_section_does_not_claim_its_heading() -> None:
    """A heading without text in a higher layer leaves the lower layer's section alone (section 4)."""
    assert prompt_of("# Tone\n \n# Rest\nx", "# Tone\nLoud.") == "# Rest\nx\n\n\n# Tone\nLoud.\n"


def test_heading_twice_in_one_file_is_kept_twice() -> None:
    """Precedence is only between layers: the original lost the second section (defect 26)."""
    soul = Layer("SOUL.md", "SOUL.md", "# Tools\nA\n## Notes\nB\n# People\nC\n## notes\nD")
    identity = merge([soul, Layer("AGENT.md", "AGENT.md", "# Notes\nE")])
    assert identity.prompt == "# Tools\nA\n\n\n## Notes\nB\n\n\n# People\nC\n\n\n## notes\nD\n"
    assert [(conflict.section.layer, conflict.dropped) for conflict in identity.conflicts] == [
        ("SOUL.md", False),
        ("AGENT.md", True),
    ]
    kept, left_out = (conflict.message for conflict in identity.conflicts)
    assert kept == 'Heading "notes" stands more than once in SOUL.md; each was kept.'
    assert left_out == (
        'Heading "Notes" of AGENT.md was left out, because SOUL.md has it and comes first;'
        " remove or rename one of them."
    )


@pytest.mark.parametrize(
    "block",
    [
        "```\n# code\n```",
        "~~~ sh\n# code\n~~~",
        "```python title=x\n# code\n``` ",
        "````\n```\n# code\n````",
        "```\n~~~\n# code\n```",
        "```\n# code\n`````",
        "```\n``` not closed\n# code\n```",
        "- item\n      ```\n      # code\n      ```",
        "```\n    ```\n# code\n```",
        "```\r\n# code\r\n```\r",
        "~~~ `a`\n# code\n~~~",
    ],
)
def test_fenced_code_has_no_headings(block: str) -> None:
    """`#` lines in a fenced block are text; after the closing fence headings count again (defect 26)."""
    text = f"# Before\n{block}\n# After\nx\n"
    assert headings_of(text) == ["Before", "After"]
    assert prompt_of(text) == f"# Before\n{block}\n\n\n# After\nx\n\n"


@pytest.mark.parametrize("line", ["``", "``` a`b", "~~", "`# x`"])
def test_what_is_no_fence_hides_no_heading(line: str) -> None:
    """Two marks, or a backtick after an opening fence, are inline text (CommonMark 4.5)."""
    assert headings_of(f"# Before\n{line}\n# After\nx") == ["Before", "After"]


def test_unclosed_fence_ends_with_its_file() -> None:
    """A fence that is never closed runs to the end of its own file, not into the next layer."""
    assert prompt_of("# A\n```\n# code\n", "# B\nx") == "# A\n```\n# code\n\n\n\n# B\nx\n"


def test_problems_are_handed_on() -> None:
    """What the caller could not read stands in the result, beside the layers it could."""
    problem = Problem("SOUL.md", "kim/SOUL.md", "it is not UTF-8 at byte 3")
    identity = merge([USER], [problem])
    assert identity.prompt == "# Prefs\nUTC\n\n"
    assert identity.problems == (problem,)
    assert problem.message == "kim/SOUL.md was left out: it is not UTF-8 at byte 3."


@pytest.mark.parametrize("agent_id", ["a", "kim", "A-b_9", "x" * 64, "-", "default"])
def test_agent_ids(agent_id: str) -> None:
    """1 to 64 of A-Z a-z 0-9 _ and - is an agent id."""
    assert valid_agent_id(agent_id)


@pytest.mark.parametrize(
    "agent_id", ["", "x" * 65, "..", "../../x", "a/b", "a b", "kim\n", "kim\0", "k\u00efm", "\u0663", "a.b"]
)
def test_what_is_no_agent_id(agent_id: str) -> None:
    """Path parts, line ends, NUL and letters or digits outside ASCII are refused (defect 8)."""
    assert not valid_agent_id(agent_id)


LINES = st.sampled_from(
    ["# A", "## a", "# B", "#", "text", "more", "", "  ", "```", "~~~", "    ```", "#c\r"]
)
TEXTS = st.lists(LINES, max_size=12).map("\n".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, max_size=4))
def test_every_section_is_kept_or_reported(texts: list[str]) -> None:
    """Each section stands in the prompt or in a conflict that says so, and none is in two layers."""
    layers = [Layer(name, name, text) for name, text in zip(LAYER_FILES, texts, strict=False)]
    identity = merge(layers)
    alone = [section for layer in layers for section in merge([layer]).sections]
    dropped = [conflict.section for conflict in identity.conflicts if conflict.dropped]
    assert sorted(map(repr, [*identity.sections, *dropped])) == sorted(map(repr, alone))
    lower = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
    owners = {(section.heading.translate(lower), section.layer) for section in identity.sections}
    assert len(owners) == len({heading for heading, _ in owners})
    assert (identity.prompt == FALLBACK_PROMPT) == (not identity.sections)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80).filter(lambda text: bool(text.strip()) and "#" not in text))
def test_text_without_headings_is_kept_verbatim(text: str) -> None:
    """Text without a `#` comes out unchanged, with the one LF that section 4 adds."""
    assert prompt_of(text) == f"{text}\n"
