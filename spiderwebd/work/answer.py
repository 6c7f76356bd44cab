"""Chat without a model: the answer is what memory holds, quoted, or that it holds nothing."""

from __future__ import annotations

from collections.abc import Sequence

from spiderwebd.core.quotes import quote
from spiderwebd.work.hits import Hit, cited

QUOTED = 3
QUOTE_CHARACTERS = 280
NOTHING = "Nothing stored about this yet."


def answer(question: str, hits: Sequence[Hit]) -> str:
    """Return the answer to a chat message.

    Args:
        question: the message.
        hits: memories that match it, best first, without the message itself.
    """
    asked = " ".join(question.split())
    lines: dict[str, str] = {}
    for hit in hits:
        text = " ".join(hit.content.split())
        # The same question asked before is no answer, and one text is quoted once.
        if text and text != asked and text not in lines:
            lines[text] = f"{cited(hit)} ({hit.role}): {quote(text, QUOTE_CHARACTERS)}"
        if len(lines) == QUOTED:
            break
    return "From memory:\n" + "\n".join(lines.values()) if lines else NOTHING
