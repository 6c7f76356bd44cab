"""Quoting: stored text shown in one line, never cut inside a character."""

from __future__ import annotations

import unicodedata

ELLIPSIS = "…"
ZERO_WIDTH_JOINER = "\u200d"


def cut(text: str, limit: int) -> str:
    """Return the text, or as much of it as fits in `limit` characters with an ellipsis at the end.

    A character keeps the accents, joiners and variation selectors that follow it.
    """
    if len(text) <= limit:
        return text
    end = limit - len(ELLIPSIS)
    while end > 0 and (_continues(text[end]) or text[end - 1] == ZERO_WIDTH_JOINER):
        end -= 1
    return text[:end].rstrip() + ELLIPSIS


def quote(text: str, limit: int) -> str:
    """Return the text on one line between double quotes, cut to `limit` characters."""
    return f'"{cut(" ".join(text.split()), limit)}"'


def _continues(character: str) -> bool:
    return character == ZERO_WIDTH_JOINER or unicodedata.category(character) in ("Mn", "Mc", "Me")
