"""In how many indexed documents a word stands, looked up once and kept for a while.

The vocabulary table counts by walking all places of a word: 0.4 ms for a word in 20,000 documents
(measured), for each word of each question. The count only weighs the word, so it may be a little old.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from spiderwebd.core.word_cache import LETTERS_KEPT, WORDS_KEPT

DRIFT = 16
"""A count is used until the index has grown or shrunk by one in DRIFT documents since."""

HOLDING = """
SELECT term, doc FROM entries_vocabulary WHERE term IN (SELECT value FROM json_each(?))
"""


class Frequencies:
    """Counts of one database; may be asked by several threads."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}

    def of(self, connection: sqlite3.Connection, stems: Iterable[str], documents: int) -> dict[str, int]:
        """How many of `documents` indexed documents hold each of these stems, at most 1/DRIFT out."""
        # A dict's own operations are whole between threads; the worst that can happen is a word
        # counted twice.
        known = self._known
        found: dict[str, int] = {}
        missing: list[str] = []
        for stem in stems:
            holding, at = known.get(stem, (0, -1))
            found[stem] = holding
            if at < 0 or abs(documents - at) * DRIFT > at:
                missing.append(stem)
        if missing:
            found.update(dict.fromkeys(missing, 0))
            found.update(connection.execute(HOLDING, (json.dumps(missing),)).fetchall())
            if len(known) > WORDS_KEPT:
                known = self._known = {}
            known.update({stem: (found[stem], documents) for stem in missing if len(stem) <= LETTERS_KEPT})
        return found
