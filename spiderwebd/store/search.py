"""Ranked search: the index, and what is not in it yet, as one list.

The scope is a word of the match itself, so a search in one session never touches the rest of a large
index (measured 15 times faster than a join); the join that follows only reads the rows found. Words
that tell nothing are not ranked by (`core.ranking.telling`): what holds no other word comes last,
newest first.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from spiderwebd.core.ranking import (
    MATCH_TERMS,
    WEIGHTS,
    Corpus,
    index_word,
    match_expression,
    score,
    telling,
    terms,
    unscoped_expression,
)
from spiderwebd.store.frequencies import Frequencies
from spiderwebd.store.indexing import agent_token, principal_token, session_token
from spiderwebd.store.tail import Places, Tail

RARE_PLACES = 256
"""Words in so few documents are looked for in all scopes: that costs less than the scope's own word."""

COMMON_SCORE = 1e-6
"""Of an entry that holds common words only: what FTS5 gives a word that says nothing."""

COMMON_TERMS = 4
"""Common words that are looked for first: more than half of all entries hold each of them."""

HIT_COLUMNS = (
    "e.sid, s.key, e.memory_id, e.version, e.role, e.kind, e.created_ms, e.content, "
    "EXISTS (SELECT 1 FROM ram r WHERE r.sid = e.sid AND r.memory_id = e.memory_id), e.name"
)
STATE = """
SELECT watermark, documents, words,
    (SELECT ifnull(max(removal), 0) FROM removals), (SELECT count(*) FROM reindex)
FROM index_state
"""
# CROSS JOIN keeps the order: the index finds, the tables are only looked into. What is in `reindex` is
# ranked with the tail; the version is compared for entries that could not be indexed again.
FOUND = """
CROSS JOIN indexed i ON i.entry = f.entry
CROSS JOIN entries e ON e.entry = f.entry AND e.version = i.version
CROSS JOIN sessions s ON s.sid = e.sid
WHERE s.sid = ?3 OR (s.principal = ?4 AND (?5 IS NULL OR s.agent = ?5))
"""
# bm25 takes a weight for each column: scope counts nothing. A limit of -1 is none.
BEST = f"""
SELECT {HIT_COLUMNS}, -f.rank
FROM (
    SELECT rowid AS entry, rank FROM entries_fts
    WHERE entries_fts MATCH ?1 AND rank MATCH 'bm25(0.0, {", ".join(map(str, WEIGHTS))})'
        AND rowid NOT IN (SELECT entry FROM reindex)
    ORDER BY rank LIMIT ?2
) f {FOUND}
ORDER BY f.rank LIMIT ?6
"""  # noqa: S608 - constant columns and weights
NEWEST = f"""
SELECT {HIT_COLUMNS}
FROM (
    SELECT rowid AS entry FROM entries_fts
    WHERE entries_fts MATCH ?1 AND rowid NOT IN (SELECT entry FROM reindex)
    ORDER BY rowid DESC LIMIT ?2
) f {FOUND}
"""  # noqa: S608 - constant columns
BY_ENTRY = f"""
SELECT {HIT_COLUMNS}, e.entry FROM entries e JOIN sessions s ON s.sid = e.sid
WHERE e.entry IN (SELECT value FROM json_each(?))
"""  # noqa: S608 - constant columns


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
    def owner(self) -> tuple[int | None, str | None, str | None]:
        """Session, principal and agent, as the statements take them."""
        return (self.sid, self.principal, self.agent)

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
    """Search once; see Searcher.search, which is quicker from the second time on."""
    return Searcher().search(connection, text, scope, limit)


class Searcher:
    """Searches one database and keeps what the next search needs again; for several threads."""

    def __init__(self) -> None:
        self._tail = Tail()
        self._frequencies = Frequencies()

    def search(self, connection: sqlite3.Connection, text: str, scope: Scope, limit: int) -> list[Hit]:
        """Rank the entries of `scope` that share a word with `text`; at most `limit`, best first.

        Runs in the caller's read transaction. Entries only: a summary's words are those of its sources,
        which are kept. A text without any word finds nothing.
        """
        asked = terms(text)[:MATCH_TERMS]
        if not asked or limit < 1:
            return []
        watermark, documents, total, removals, stale = connection.execute(STATE).fetchone()
        tail = self._tail.read(connection, scope.owner, watermark, removals, out_of_date=stale > 0)
        stems = {term: index_word(term) for term in asked}
        holding = self._frequencies.of(connection, set(stems.values()), documents) if documents else {}
        corpus = Corpus(documents, total / documents if documents else 0.0, holding)
        words = _Words.of(stems, corpus)
        hits = _of_tail(connection, _rank(tail, words, corpus, limit))
        if documents and words.told:
            hits += _best(connection, words, scope, limit)
        if words.common and len(hits) < limit:
            room = limit - len(hits)
            hits += _of_tail(connection, _newest_of_tail(tail, words, room))
            if documents:
                hits += _newest(connection, words, scope, hits, room)
        hits.sort(key=lambda hit: (-hit.score, -hit.created_ms, -hit.memory_id))
        return hits[:limit]


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of a question: those to rank by, and those that say nothing, rarest first."""

    told: list[str]
    common: list[str]
    told_stems: frozenset[str]
    common_stems: frozenset[str]
    places: int
    """In how many documents the first stand together, at most."""

    @classmethod
    def of(cls, stems: dict[str, str], corpus: Corpus) -> _Words:
        """Divide words, given with their stems, by what the index knows of them."""
        every = frozenset(stems.values())
        holding = corpus.containing
        wanted = telling(corpus) if holding else every
        common = [word for word, stem in stems.items() if stem not in wanted]
        return cls(
            [word for word, stem in stems.items() if stem in wanted],
            sorted(common, key=lambda word: holding[stems[word]]),
            wanted,
            every - wanted,
            sum(holding.get(stem, 0) for stem in wanted),
        )


def _rank(tail: Places, words: _Words, corpus: Corpus, limit: int) -> list[tuple[int, float]]:
    """The best unindexed entries and their scores, weighed together with what the index knows."""
    # Most hold none of the words; for them a look at the keys is all.
    holders = [entry for entry, it in tail.items() if not it.counts.keys().isdisjoint(words.told_stems)]
    others = len(tail) - len(holders)
    rest = Corpus(corpus.documents + others, corpus.words, corpus.containing)
    # Oldest first, because of equals `score` puts the later one before.
    holders.reverse()
    ranked = score(sorted(words.told_stems), [tail[entry] for entry in holders], rest)
    return [(holders[place], points) for place, points in ranked[:limit]]


def _newest_of_tail(tail: Places, words: _Words, limit: int) -> list[tuple[int, float]]:
    """The newest unindexed entries that hold common words only."""
    found = (
        (entry, COMMON_SCORE)
        for entry, it in tail.items()
        if it.counts.keys().isdisjoint(words.told_stems)
        and not it.counts.keys().isdisjoint(words.common_stems)
    )
    return list(islice(found, limit))


def _of_tail(connection: sqlite3.Connection, ranked: list[tuple[int, float]]) -> list[Hit]:
    if not ranked:
        return []
    points = dict(ranked)
    rows = connection.execute(BY_ENTRY, (json.dumps(list(points)),))
    return [_hit(columns, points[entry]) for *columns, entry in rows]


def _best(connection: sqlite3.Connection, words: _Words, scope: Scope, limit: int) -> list[Hit]:
    """The best indexed entries."""
    if words.places <= RARE_PLACES:
        # bm25() counts the places of every word of the expression, those of the scope's too.
        expression, inner = unscoped_expression(words.told), -1
    else:
        expression, inner = match_expression(words.told, scope.token), limit
    rows = connection.execute(BEST, (expression, inner, *scope.owner, limit))
    return [_hit(columns, points) for *columns, points in rows]


def _newest(
    connection: sqlite3.Connection, words: _Words, scope: Scope, known: list[Hit], limit: int
) -> list[Hit]:
    """The newest indexed entries that hold common words, without those that are known."""
    seen = {(hit.sid, hit.memory_id) for hit in known}
    found: list[Hit] = []
    for common in (words.common[:COMMON_TERMS], words.common):
        expression = match_expression(common, scope.token)
        rows = connection.execute(NEWEST, (expression, limit + len(known), *scope.owner))
        hits = (_hit(columns, COMMON_SCORE) for columns in rows)
        found = [hit for hit in hits if (hit.sid, hit.memory_id) not in seen]
        if len(found) >= limit or len(common) == len(words.common):
            break
    return found[:limit]


def _hit(columns: Sequence[Any], points: float) -> Hit:
    sid, key, memory_id, version, role, kind, created_ms, content, in_ram, name = columns
    return Hit(
        sid, key, memory_id, version, role, kind, created_ms, content, points,
        "ram" if in_ram else "ltm", name,
    )  # fmt: skip
