"""What is not in the search index as it now stands, each entry taken apart once and kept in memory.

Every search reads which entries these are, in one row, and takes apart only those that no search has
seen: a few dozen reads of names instead of as many texts.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from spiderwebd.core.ranking import WEIGHTS, Counted, count, stems
from spiderwebd.store.indexing import BEFORE_CHARACTERS, day_words, speaker_words

TAIL_ENTRIES = 8_192
"""Most unindexed entries that one search looks at, newest first: indexing is never so far behind."""

WALKED_ENTRIES = 65_536
"""Newest entries, of whomever, among which they are looked for: about 20 ms after a large import."""

SPARE_ENTRIES = 512
"""How many entries that are in the index by now may be kept before they are thrown out."""

KEPT_WORDS = 500_000
"""Most words of entries taken apart that are kept: about 40 MB, reached only when indexing is stuck."""

COLUMNS_KEPT = 512
COLUMN_CHARACTERS = 4_096
"""Texts come again as context of the next two entries: that many are kept, longer ones never."""

# One row: a thread that fetches many gives way to the others at each of them.
# What tells one text of one entry from all others; a name changes without a new version.
PLACES = """
SELECT json_group_array(place) FROM (
    SELECT e.entry || ' ' || e.sid || ' ' || e.memory_id || ' ' || e.version || ' ' || ifnull(e.name, '')
        AS place
"""
PAST_WATERMARK = f"e.entry > max(?1, (SELECT max(entry) FROM entries) - {WALKED_ENTRIES})"  # noqa: S608 - constant
# The unary plus keeps the walk on rowids: there are few entries past the watermark.
OF_SESSION = f"""{PLACES}
    FROM entries e WHERE +e.sid = ?2 AND {PAST_WATERMARK} AND e.kind = 'entry'
    ORDER BY e.entry DESC LIMIT ?5
)
"""
OF_PRINCIPAL = f"""{PLACES}
    FROM entries e CROSS JOIN sessions s ON s.sid = e.sid
    WHERE {PAST_WATERMARK} AND e.kind = 'entry' AND s.principal = ?3 AND (?4 IS NULL OR s.agent = ?4)
    ORDER BY e.entry DESC LIMIT ?5
)
"""
OUT_OF_DATE = f"""{PLACES}
    FROM reindex r JOIN entries e ON e.entry = r.entry JOIN sessions s ON s.sid = e.sid
    WHERE e.entry <= ?1 AND e.kind = 'entry'
        AND (s.sid = ?2 OR (s.principal = ?3 AND (?4 IS NULL OR s.agent = ?4)))
    ORDER BY e.entry DESC LIMIT ?5
)
"""
BEFORE = """
    (SELECT p.content FROM entries p
     WHERE p.sid = e.sid AND p.memory_id < e.memory_id AND p.kind = 'entry'
     ORDER BY p.memory_id DESC LIMIT 1
"""
TEXTS = f"""
SELECT e.entry, e.role, e.name, e.content, e.created_ms, {BEFORE}), {BEFORE} OFFSET 1)
FROM entries e WHERE e.entry IN (SELECT value FROM json_each(?))
"""  # noqa: S608 - constant columns

Places = dict[int, Counted]
"""Entries, newest first, each taken apart."""


class Tail:
    """The unindexed entries of one database; may be asked by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept = _Kept(-1)

    def read(
        self,
        connection: sqlite3.Connection,
        scope: tuple[int | None, str | None, str | None],
        watermark: int,
        removals: int,
        *,
        out_of_date: bool,
    ) -> Places:
        """All of a scope (session, principal, agent) that a search of the index would miss.

        `watermark`, `removals` (the highest id of a removal) and whether any entry is `out_of_date`
        are those of the caller's read transaction.
        """
        asked = (watermark, *scope, TAIL_ENTRIES)
        newest = OF_PRINCIPAL if scope[0] is None else OF_SESSION
        places: list[str] = json.loads(connection.execute(newest, asked).fetchone()[0])
        if out_of_date:
            places += json.loads(connection.execute(OUT_OF_DATE, asked).fetchone()[0])
        if not places:
            return {}
        with self._lock:
            # What was erased may stand in the context of what is kept.
            if self._kept.removals != removals:
                self._kept = _Kept(removals)
            kept = self._kept
            found = {place: kept.entries.get(place) for place in places}
        missing = [place for place, counted in found.items() if counted is None]
        if missing:
            fresh = self._take_apart(connection, missing, kept)
            found.update(fresh)
            with self._lock:
                kept.add(fresh, watermark)
        return {_entry(place): counted for place, counted in found.items() if counted is not None}

    def _take_apart(
        self, connection: sqlite3.Connection, places: Sequence[str], kept: _Kept
    ) -> dict[str, Counted]:
        by_entry = {_entry(place): place for place in places}
        speaker, body, before, day = WEIGHTS
        fresh = {}
        for entry, role, name, content, created_ms, *context in connection.execute(
            TEXTS, (json.dumps(list(by_entry)),)
        ):
            columns = [
                (kept.stems(speaker_words(role, name)), speaker),
                (kept.stems(content), body),
                (kept.stems(day_words(created_ms)), day),
            ]
            columns += [(kept.stems(text[:BEFORE_CHARACTERS]), before) for text in context if text]
            fresh[by_entry[entry]] = count(columns)
        return fresh


class _Kept:
    """What is kept between two removals; the lock is the owner's."""

    def __init__(self, removals: int) -> None:
        self.removals = removals
        self.entries: dict[str, Counted] = {}
        self._columns: dict[str, Counter[str]] = {}
        self._words = 0
        self._tidy_at = SPARE_ENTRIES

    def add(self, fresh: Mapping[str, Counted], watermark: int) -> None:
        """Keep more entries, and throw out what is in the index by now when much is kept."""
        self.entries.update(fresh)
        self._words += _size(fresh.values())
        if len(self.entries) > self._tidy_at or self._words > KEPT_WORDS:
            self.entries = {place: it for place, it in self.entries.items() if _entry(place) > watermark}
            self._words = _size(self.entries.values())
            if self._words > KEPT_WORDS:
                self.entries, self._words = {}, 0
            self._tidy_at = len(self.entries) + SPARE_ENTRIES

    def stems(self, text: str) -> Counter[str]:
        """The stems of a column; the same text is often a column of three entries."""
        known = self._columns.get(text)
        if known is None:
            known = stems(text)
            if len(text) <= COLUMN_CHARACTERS:
                if len(self._columns) >= COLUMNS_KEPT:
                    self._columns = {}
                self._columns[text] = known
        return known


def _entry(place: str) -> int:
    return int(place[: place.index(" ")])


def _size(entries: Iterable[Counted]) -> int:
    return sum(len(counted.counts) for counted in entries)
