"""The merge of an agent's identity files into one prompt: SOUL, AGENT, IDENTITY, USER.

The rules are those of the original (compatibility reference, section 4): each file is cut at its
headings, and a heading that a higher layer already has is left out of the lower one, whatever its
level and ASCII case. Corrected on purpose:

* A `#` line inside a fenced code block is text, not a heading.
* Precedence is between layers only: a heading that stands twice in one file is kept twice, in
  place. The original lost the second.
* What was left out, and why, is returned, so that the caller can log it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

LAYER_FILES = ("SOUL.md", "AGENT.md", "IDENTITY.md", "USER.md")
"""The layers of an identity, highest precedence first."""

FALLBACK_PROMPT = "You are a helpful AI assistant."
"""The prompt when no layer has usable text (section 4)."""

_AGENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})(.*)", re.DOTALL)
_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


@dataclass(frozen=True, slots=True)
class Layer:
    """One identity file that was read."""

    name: str
    """The file's name, for example SOUL.md."""
    origin: str
    """Where it was read from, as an operator would look for it."""
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the prompt: a heading with its text, or the text before a file's first heading."""

    heading: str
    """Without its `#` marks; empty for the text before the first heading."""
    layer: str
    origin: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """A heading that came again after an earlier section had it."""

    section: Section
    earlier: Section
    dropped: bool
    """True: a higher layer has it, the text was left out. False: the same file, both were kept."""

    @property
    def message(self) -> str:
        """Return one sentence for the log: what happened, where, and what to do."""
        what = (
            f'Heading "{self.section.heading}"' if self.section.heading else "Text before the first heading"
        )
        if self.dropped:
            return (
                f"{what} of {self.section.origin} was left out, because {self.earlier.origin} has it and"
                f" comes first; remove or rename one of them."
            )
        return f"{what} stands more than once in {self.section.origin}; each was kept."


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that could not be used; it drops only itself."""

    name: str
    origin: str
    reason: str

    @property
    def message(self) -> str:
        """Return one sentence for the log."""
        return f"{self.origin} was left out: {self.reason}."


@dataclass(frozen=True, slots=True)
class Identity:
    """An agent's prompt and the account of how it came about."""

    prompt: str
    sections: tuple[Section, ...]
    """What the prompt consists of, in order; empty when it is the fallback."""
    conflicts: tuple[Conflict, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def digest(self) -> str:
        """16 hex digits of BLAKE2b over the prompt: another one means another identity."""
        return blake2b(self.prompt.encode(), digest_size=8).hexdigest()


def valid_agent_id(text: str) -> bool:
    """Return whether the text is an agent id: 1 to 64 of A-Z a-z 0-9 _ and -."""
    return _AGENT_ID.fullmatch(text) is not None


def merge(layers: Sequence[Layer], problems: Sequence[Problem] = ()) -> Identity:
    """Merge layers, highest precedence first, into one prompt.

    `problems` are the files that the caller could not read; they are handed on in the result.
    Without usable text the prompt is FALLBACK_PROMPT.
    """
    parts: list[str] = []
    sections: list[Section] = []
    conflicts: list[Conflict] = []
    owners: dict[str, tuple[int, Section]] = {}
    for rank, layer in enumerate(layers):
        for heading_line, heading, body in _cut(layer.text):
            if not body.strip():
                continue
            section = Section(heading, layer.name, layer.origin)
            owner_rank, owner = owners.setdefault(heading.translate(_ASCII_LOWER), (rank, section))
            if owner is not section:
                conflicts.append(Conflict(section, owner, dropped=owner_rank != rank))
                if owner_rank != rank:
                    continue
            sections.append(section)
            parts.append(f"{heading_line}\n{body}" if heading else body)
    prompt = "\n\n".join(parts) if parts else FALLBACK_PROMPT
    return Identity(prompt, tuple(sections), tuple(conflicts), tuple(problems))


def _cut(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield (heading line, heading, body) of each section; the text before the first has no heading."""
    heading_line, heading = "", ""
    body: list[str] = []
    for line, in_code in _lines(text):
        stripped = line.strip(" \t\r")
        found = "" if in_code or not stripped.startswith("#") else stripped.lstrip("#").strip(" \t")
        if not found:
            body.append(line)
            continue
        yield heading_line, heading, _join(body)
        heading_line, heading, body = stripped, found, []
    yield heading_line, heading, _join(body)


def _join(lines: Sequence[str]) -> str:
    """End every line with LF again; a file that ends in LF so gains one, as section 4 says."""
    return "".join(f"{line}\n" for line in lines)


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each line and whether it belongs to a fenced code block (CommonMark 0.31, section 4.5).

    One liberty: a fence may be indented by any amount, as it is inside a list item, since the
    heading rule does not look at indentation either.
    """
    fence = ""
    indent = 0
    for line in text.split("\n"):
        match = _FENCE.fullmatch(line)
        if not match:
            yield line, bool(fence)
            continue
        width = len(match[1].expandtabs(4))
        marks, rest = match[2], match[3]
        if not fence:
            # A backtick in the rest of an opening line makes it inline code, not a fence.
            if marks[0] == "~" or "`" not in rest:
                fence, indent = marks, width
            yield line, bool(fence)
            continue
        yield line, True
        if marks.startswith(fence) and not rest.strip() and width < indent + 4:
            fence = ""
