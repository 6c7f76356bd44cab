"""Ranked search: the index, and what is not in it yet, as one list.

The scope is a word of the match itself, so a search in one session never touches the rest of a large
index (measured 15 times faster than a join); the join that follows only reads the rows found.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spiderwebd.core.ranking import (
    MATCH_TERMS,
    WEIGHTS,
    Corpus,
    index_word,
    match_expression,
    score_tail,
    terms,
    words,
)
from spiderwebd.store.indexing import (
    PREDECESSORS,
    STATE,
    agent_token,
    document_of,
    principal_token,
    session_token,
)

HIT_COLUMNS = (
    "e.sid, s.key, e.memory_id, e.version, e.role, e.kind, e.created_ms, e.content, e.in_ram, e.name"
)

TAIL_ENTRIES = 8_192
"""Most unindexed entries that one search looks at, newest first: twice what makes indexing urgent."""

# bm25 takes a weight for each column: scope counts nothing.
INDEX = f"""
SELECT {HIT_COLUMNS}, -f.rank
FROM (
    SELECT rowid AS entry, rank FROM entries_fts
    WHERE entries_fts MATCH ?1 AND rank MATCH 'bm25(0.0, {", ".join(map(str, WEIGHTS))})'
    ORDER BY rank LIMIT ?2
) f
JOIN indexed i ON i.entry = f.entry
JOIN entries e ON e.entry = f.entry AND e.version = i.version
JOIN sessions s ON s.sid = e.sid
WHERE s.sid = ?3 OR (s.principal = ?4 AND (?5 IS NULL OR s.agent = ?5))
"""  # noqa: S608 - constant columns and weights
TAIL_OF_SESSION = f"""
SELECT {HIT_COLUMNS}, s.principal, s.agent FROM entries e JOIN sessions s ON s.sid = e.sid
WHERE e.sid = ?2 AND e.entry > ?1 AND e.kind = 'entry'
ORDER BY e.memory_id DESC LIMIT ?5
"""  # noqa: S608 - constant columns
TAIL_OF_PRINCIPAL = f"""
SELECT {HIT_COLUMNS}, s.principal, s.agent FROM entries e JOIN sessions s ON s.sid = e.sid
WHERE e.entry > ?1 AND e.kind = 'entry'
    AND s.principal = ?3 AND (?4 IS NULL OR s.agent = ?4)
ORDER BY e.entry DESC LIMIT ?5
"""  # noqa: S608 - constant columns
OUT_OF_DATE = f"""
SELECT {HIT_COLUMNS}, s.principal, s.agent
FROM reindex r JOIN entries e ON e.entry = r.entry JOIN sessions s ON s.sid = e.sid
WHERE e.entry <= ?1 AND e.kind = 'entry'
    AND (s.sid = ?2 OR (s.principal = ?3 AND (?4 IS NULL OR s.agent = ?4)))
ORDER BY e.entry DESC LIMIT ?5
"""  # noqa: S608 - constant columns
HOLDING = "SELECT doc FROM entries_vocabulary WHERE term = ?"


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to search; use one of the three constructors."""

    sid: int | None = None
    principal: str | None = None
    agent: str | None = None

    @classmethod
    def session(cls, sid: int) -> Scope:
        """One session."""
        return cls(sid=sid)

    @classmethod
    def of_agent(cls, principal: str, agent: str) -> Scope:
        """All sessions of a principal with one agent."""
        return cls(principal=principal, agent=agent)

    @classmethod
    def of_principal(cls, principal: str) -> Scope:
        """All sessions of a principal."""
        return cls(principal=principal)

    @property
    def token(self) -> str:
        """The word of the index's scope column that this scope is."""
        if self.sid is not None:
            return session_token(self.sid)
        if self.principal is None:
            raise ValueError("a scope names a session or a principal")
        if self.agent is not None:
            return agent_token(self.principal, self.agent)
        return principal_token(self.principal)


@dataclass(frozen=True, slots=True)
class Hit:
    """One entry found."""

    sid: int
    session_key: str
    memory_id: int
    version: int
    role: str
    kind: str
    created_ms: int
    content: str
    score: float
    """BM25, larger is better; comparable within one result only."""
    source: Literal["ram", "ltm"]
    name: str | None = None


def search(connection: sqlite3.Connection, text: str, scope: Scope, limit: int) -> list[Hit]:
    """Rank the entries of `scope` that share a word with `text`; at most `limit`, best first.

    Runs in the caller's read transaction. Entries only: a summary's words are those of its sources,
    which are kept. A text without any word finds nothing.
    """
    asked = terms(text)
    if not asked or limit < 1:
        return []
    watermark, documents, total_words, _ = connection.execute(STATE).fetchone()
    tail = _Tail(connection, scope, watermark)
    corpus = Corpus(documents, total_words / documents if documents else 0.0, _holding(connection, asked))
    ranked = tail.rank(asked, corpus)
    late = tail.places
    # Rows out of date are dropped after the limit, so as many more are asked for.
    stale = connection.execute("SELECT count(*) FROM reindex").fetchone()[0]
    for *columns, score in connection.execute(
        INDEX,
        (
            match_expression(asked, scope.token), limit + stale,
            scope.sid, scope.principal, scope.agent,
        ),
    ):  # fmt: skip
        hit = _hit(columns, score)
        if (hit.sid, hit.memory_id) not in late:
            ranked.append(hit)
    ranked.sort(key=lambda hit: (-hit.score, -hit.created_ms, -hit.memory_id))
    return ranked[:limit]


class _Tail:
    """What of a scope is not in the index as it now stands."""

    def __init__(self, connection: sqlite3.Connection, scope: Scope, watermark: int) -> None:
        self._connection = connection
        asked = (watermark, scope.sid, scope.principal, scope.agent, TAIL_ENTRIES)
        newest = TAIL_OF_PRINCIPAL if scope.sid is None else TAIL_OF_SESSION
        self._rows = connection.execute(newest, asked).fetchall()
        self._rows += connection.execute(OUT_OF_DATE, asked).fetchall()
        self.places = {(row[0], row[2]) for row in self._rows}

    def rank(self, asked: list[str], corpus: Corpus) -> list[Hit]:
        """The hits among them, scored together with what the index knows."""
        if not self._rows:
            return []
        wanted = {index_word(term) for term in asked}
        rows = []
        documents = []
        for row in self._rows:
            sid, _, memory_id, _, role, _, created_ms, content, _, name, principal, agent = row
            before = [text for _, _, text in self._connection.execute(PREDECESSORS, (sid, memory_id))]
            document = document_of(sid, principal, agent, role, name, content, before, created_ms)
            columns = document.columns[1:]
            # Scoring reads every word several times; most documents have none that was asked for.
            if any(not wanted.isdisjoint(map(index_word, words(text))) for text in columns):
                rows.append(row)
                documents.append(columns)
        rest = Corpus(corpus.documents + len(self._rows) - len(rows), corpus.words, corpus.containing)
        return [_hit(rows[place][:-2], score) for place, score in score_tail(asked, documents, rest)]


def _holding(connection: sqlite3.Connection, asked: list[str]) -> dict[str, int]:
    """In how many indexed documents each word stands, by its stem."""
    found = {}
    for word in {index_word(term) for term in asked[:MATCH_TERMS]}:
        row = connection.execute(HOLDING, (word,)).fetchone()
        if row is not None:
            found[word] = row[0]
    return found


def _hit(columns: Sequence[Any], score: float) -> Hit:
    sid, key, memory_id, version, role, kind, created_ms, content, in_ram, name = columns
    return Hit(
        sid, key, memory_id, version, role, kind, created_ms, content, score, "ram" if in_ram else "ltm", name
    )
