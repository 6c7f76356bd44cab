"""Keeping the search index: which text of an entry is indexed, when, and how it is taken out again.

Indexing runs behind the acknowledgement, in the writer's thread: in quiet moments, and in small steps
between batches when enough entries wait. The index is contentless (a third of the disk space) and
SQLite before 3.43 can take a document out of it only when given the very text that went in. That text
is derived again from the versions of the entry and of its two predecessors, which the schema keeps
until they are erased.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from spiderwebd.core.ranking import words

BEFORE_CHARACTERS = 2_000
"""How much of each of the two entries before is indexed with an entry; turns are far shorter."""

MERGE_PAGES = 200
"""Index pages rewritten by one step of a purge: a few milliseconds."""

STATE = "SELECT watermark, documents, words, purge FROM index_state"
NEXT_NEW = """
SELECT e.entry, e.sid, e.memory_id, e.kind, e.role, e.content, e.created_ms, e.version, e.name,
    s.principal, s.agent
FROM entries e CROSS JOIN sessions s ON s.sid = e.sid WHERE e.entry > ? ORDER BY e.entry LIMIT ?
"""
NEXT_NEW_ENTRY = "SELECT entry FROM entries WHERE entry > ? ORDER BY entry LIMIT 1"
NEXT_OLD = "SELECT entry FROM reindex ORDER BY entry LIMIT ?"
WAITING = """
SELECT (SELECT count(*) FROM entries WHERE entry > (SELECT watermark FROM index_state))
    + (SELECT count(*) FROM reindex)
"""
ENTRY = """
SELECT e.sid, e.memory_id, e.kind, e.role, e.content, e.created_ms, e.version, e.name,
    s.principal, s.agent
FROM entries e JOIN sessions s ON s.sid = e.sid WHERE e.entry = ?
"""
PREDECESSORS = """
SELECT entry, version, content FROM entries
WHERE sid = ? AND memory_id < ? AND kind = 'entry' ORDER BY memory_id DESC LIMIT 2
"""
# The text that a version of an entry had: the row itself while it is the current one.
TEXT_AT = """
SELECT CASE WHEN e.version = ?2 THEN e.content ELSE
    (SELECT v.content FROM versions v
     WHERE v.sid = e.sid AND v.memory_id = e.memory_id AND v.version = ?2) END
FROM entries e WHERE e.entry = ?1
"""
INDEXED = "SELECT version, name, first, first_version, second, second_version FROM indexed WHERE entry = ?"
INSERT = "INSERT INTO entries_fts (rowid, scope, speaker, body, before, day) VALUES (?, ?, ?, ?, ?, ?)"
DELETE = """
INSERT INTO entries_fts (entries_fts, rowid, scope, speaker, body, before, day)
VALUES ('delete', ?, ?, ?, ?, ?, ?)
"""
REMEMBER = """
INSERT INTO indexed (entry, version, name, first, first_version, second, second_version)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
FOLLOWERS = """
SELECT i.entry FROM indexed i JOIN entries e ON e.entry = i.entry
WHERE e.sid = ?1 AND (i.first IN (SELECT value FROM json_each(?2))
    OR i.second IN (SELECT value FROM json_each(?2)))
"""


@dataclass(frozen=True, slots=True)
class Document:
    """One entry as the index holds it; every field is a column of entries_fts."""

    scope: str
    speaker: str
    body: str
    before_each: tuple[str, ...]
    """The texts of its predecessors, furthest first; one column of the index."""
    day: str

    @property
    def columns(self) -> tuple[str, str, str, str, str]:
        """The columns in the index's order."""
        return (self.scope, self.speaker, self.body, " ".join(self.before_each), self.day)

    @property
    def words(self) -> int:
        """Words of all columns but the scope."""
        return sum(map(_count, (self.speaker, self.body, self.day, *self.before_each)))


COUNTS_KEPT = 512
"""Texts whose words are counted once: each is a text of its own, and the context of two others."""

SCOPES_KEPT = 1_024


@lru_cache(maxsize=COUNTS_KEPT)
def _count(text: str) -> int:
    return len(words(text))


@lru_cache(maxsize=SCOPES_KEPT)
def _scope(sid: int, principal: str, agent: str) -> str:
    return f"{session_token(sid)} {agent_token(principal, agent)} {principal_token(principal)}"


def session_token(sid: int) -> str:
    """The word of column `scope` that all entries of one session share."""
    return f"s{sid}"


def agent_token(principal: str, agent: str) -> str:
    """The word that all entries of one principal's sessions with one agent share."""
    return f"a{_letters(principal)}x{_letters(agent)}0"


def principal_token(principal: str) -> str:
    """The word that all entries of one principal share."""
    return f"p{_letters(principal)}0"


def document_of(
    sid: int,
    principal: str,
    agent: str,
    role: str,
    name: str | None,
    content: str,
    before: Sequence[str],
    created_ms: int,
) -> Document:
    """What is indexed of an entry; `before` are the texts of its predecessors, nearest first."""
    return Document(
        _scope(sid, principal, agent),
        speaker_words(role, name),
        content,
        tuple(text[:BEFORE_CHARACTERS] for text in reversed(before)),
        day_words(created_ms),
    )


def speaker_words(role: str, name: str | None) -> str:
    """Who said it, and the name it was stored under."""
    return f"{role} {name}" if name else role


def day_words(created_ms: int) -> str:
    """The UTC day as people ask for it: "2026-02-15 15 February 2026 Sunday"."""
    return _day_words(created_ms // 86_400_000)


@lru_cache(maxsize=64)
def _day_words(day: int) -> str:
    try:
        moment = datetime.fromtimestamp(day * 86_400, UTC)
    except (OverflowError, ValueError, OSError):
        return ""  # an imported entry may carry any number
    return f"{moment:%Y-%m-%d} {moment.day} {MONTHS[moment.month - 1]} {moment.year} {DAYS[moment.weekday()]}"


MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
"""Spelled out here: strftime would follow the locale of the service."""


def waiting(connection: sqlite3.Connection) -> int:
    """How many entries are not yet in the index as they now stand (rows of other kinds counted in)."""
    return int(connection.execute(WAITING).fetchone()[0])


def step(connection: sqlite3.Connection, limit: int) -> int:
    """Index up to `limit` entries inside the caller's transaction; return how many rows were done.

    0 means the index is complete; then one slice of a purge after an erasure is done, if one is due.
    """
    watermark, documents, total, purge = connection.execute(STATE).fetchone()
    old = [entry for (entry,) in connection.execute(NEXT_OLD, (limit,))]
    for entry in old:
        less_documents, less_words = _take_out(connection, entry)
        row = connection.execute(ENTRY, (entry,)).fetchone()
        more_documents, more_words = _put_in(connection, entry, row)
        documents += more_documents - less_documents
        total += more_words - less_words
    connection.executemany("DELETE FROM reindex WHERE entry = ?", [(entry,) for entry in old])
    new = connection.execute(NEXT_NEW, (watermark, limit - len(old))).fetchall()
    for entry, *row in new:
        watermark = entry
        more_documents, more_words = _put_in(connection, entry, row)
        documents += more_documents
        total += more_words
    done = len(old) + len(new)
    if done == 0 and purge:
        purge = int(_merge(connection))
        connection.execute("UPDATE index_state SET purge = ?", (purge,))
        return purge
    if done:
        connection.execute(
            "UPDATE index_state SET watermark = ?, documents = ?, words = ?", (watermark, documents, total)
        )
    return done


def skip(connection: sqlite3.Connection) -> int:
    """Leave the next entry out of the index, inside the caller's transaction; return its rowid.

    For an entry that cannot be indexed: without this it would hold up all that come after it. It is
    found by recall and query, not by search. Returns 0 when nothing waits.
    """
    old = connection.execute(NEXT_OLD, (1,)).fetchone()
    if old is not None:
        connection.execute("DELETE FROM reindex WHERE entry = ?", old)
        return int(old[0])
    watermark = connection.execute(STATE).fetchone()[0]
    new = connection.execute(NEXT_NEW_ENTRY, (watermark,)).fetchone()
    if new is None:
        return 0
    connection.execute("UPDATE index_state SET watermark = ?", (new[0],))
    return int(new[0])


def withdraw(connection: sqlite3.Connection, sid: int, entries: Sequence[int], *, purge: bool) -> None:
    """Take entries out of the index before their text goes, inside the caller's transaction.

    Entries that were indexed with one of them as context are taken out too and indexed again later.
    With `purge` the index is rewritten in quiet moments, until no old segment holds their words.
    """
    listed = json.dumps(list(entries))
    followers = [entry for (entry,) in connection.execute(FOLLOWERS, (sid, listed))]
    gone = set(entries)
    documents = total = 0
    for entry in gone.union(followers):
        less_documents, less_words = _take_out(connection, entry)
        documents += less_documents
        total += less_words
    connection.executemany("DELETE FROM reindex WHERE entry = ?", [(entry,) for entry in gone])
    connection.executemany(
        "INSERT OR IGNORE INTO reindex (entry) VALUES (?)",
        [(entry,) for entry in followers if entry not in gone],
    )
    connection.execute(
        "UPDATE index_state SET documents = documents - ?, words = words - ?, purge = max(purge, ?)",
        (documents, total, int(purge)),
    )


def _put_in(connection: sqlite3.Connection, entry: int, row: Sequence[Any]) -> tuple[int, int]:
    """Index one entry; `row` is what ENTRY selects of it."""
    sid, memory_id, kind, role, content, created_ms, version, name, principal, agent = row
    if kind != "entry":
        return 0, 0
    before = connection.execute(PREDECESSORS, (sid, memory_id)).fetchall()
    document = document_of(
        sid, principal, agent, role, name, content, [text for _, _, text in before], created_ms
    )
    connection.execute(INSERT, (entry, *document.columns))
    context: list[Any] = [value for other, at, _ in before for value in (other, at)]
    context += [None] * (4 - len(context))
    connection.execute(REMEMBER, (entry, version, name, *context))
    return 1, document.words


def _take_out(connection: sqlite3.Connection, entry: int) -> tuple[int, int]:
    found = connection.execute(INDEXED, (entry,)).fetchone()
    if found is None:
        return 0, 0
    version, name, *context = found
    row = connection.execute(ENTRY, (entry,)).fetchone()
    sid, _, _, role, _, created_ms, _, _, principal, agent = row
    before = [
        _text_at(connection, other, at) for other, at in (context[:2], context[2:]) if other is not None
    ]
    content = _text_at(connection, entry, version)
    document = document_of(sid, principal, agent, role, name, content, before, created_ms)
    connection.execute(DELETE, (entry, *document.columns))
    connection.execute("DELETE FROM indexed WHERE entry = ?", (entry,))
    return 1, document.words


def _text_at(connection: sqlite3.Connection, entry: int, version: int) -> str:
    text = connection.execute(TEXT_AT, (entry, version)).fetchone()[0]
    if not isinstance(text, str):
        raise LookupError(f"version {version} of entry {entry} is gone, so the index cannot forget it")
    return text


def _merge(connection: sqlite3.Connection) -> bool:
    """Rewrite some old segments, where words of removed documents still stand; False when all are."""
    before = connection.total_changes
    connection.execute("INSERT INTO entries_fts (entries_fts, rank) VALUES ('merge', ?)", (-MERGE_PAGES,))
    # FTS5's documentation, 6.8: a change of less than two rows means there was nothing to merge.
    return connection.total_changes - before >= 2


def _letters(text: str) -> str:
    """A word for any id: hexadecimal, which the tokenizer takes whole."""
    return text.encode("utf-8", "surrogatepass").hex()
