"""Keeping the index true through every order of writing, updating, erasing and indexing."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiderwebd.core.records import EraseRecord
from spiderwebd.store import indexing
from spiderwebd.store.schema import open_writer, transaction
from spiderwebd.store.search import Scope, Searcher, search
from spiderwebd.store.tables import write
from tests.store.samples import NOW_MS, database, entry, session

WORDS = ("giraffe", "zebra", "heron", "marabou", "tapir")

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from(WORDS)),
        st.tuples(st.just("update"), st.sampled_from(WORDS), st.integers(0, 9)),
        st.tuples(st.just("rename"), st.sampled_from(WORDS), st.integers(0, 9)),
        st.tuples(st.just("erase"), st.integers(0, 9)),
        st.tuples(st.just("index"), st.integers(1, 3)),
    ),
    max_size=25,
)


def index_all(connection: sqlite3.Connection) -> None:
    """Index until nothing is left, purge included."""
    with transaction(connection):
        while indexing.step(connection, 100):
            pass


@settings(max_examples=120, deadline=None)
@given(operations=OPERATIONS)
def test_search_finds_exactly_the_present_texts(
    operations: list[tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """At any moment a word finds the entries that hold it now (text or name) or that follow one that did,
    also for a searcher that remembers; and when all are erased no word is left in the index."""
    connection = open_writer(database(tmp_path_factory.mktemp("index")), "OFF")
    write(connection, [[session()]])
    kept = Searcher()
    texts: dict[int, str] = {}
    names: dict[int, str] = {}
    versions: dict[int, int] = {}
    ever: dict[int, set[str]] = {}
    for operation in operations:
        with transaction(connection):
            match operation:
                case ("append", word):
                    number = len(ever) + 1
                    texts[number], versions[number], ever[number] = str(word), 1, {str(word)}
                    write(connection, [[entry(number, texts[number])]])
                case ("update" | "rename" as what, word, place) if texts:
                    number = sorted(texts)[int(place) % len(texts)]
                    if what == "update":
                        versions[number] += 1
                        texts[number] = f"{word} again"
                    else:
                        names[number] = str(word)
                    ever[number].add(str(word))
                    changed = entry(number, texts[number], version=versions[number], name=names.get(number))
                    write(connection, [[changed]])
                case ("erase", place) if texts:
                    number = sorted(texts)[int(place) % len(texts)]
                    write(connection, [[EraseRecord(1, (number,), "", NOW_MS)]])
                    del texts[number]
                    names.pop(number, None)
                case ("index", count):
                    indexing.step(connection, int(count))
        order = sorted(texts)
        for word in WORDS:
            found = {hit.memory_id for hit in search(connection, word, Scope.session(1), 100)}
            own = {number for number in order if word in texts[number] or names.get(number) == word}
            # The context of an entry may be that of the moment when it was indexed.
            near = {
                number
                for place, number in enumerate(order)
                if any(word in ever[other] for other in order[max(0, place - 2) : place])
            }
            assert own <= found <= own | near
            again = {hit.memory_id for hit in kept.search(connection, word, Scope.session(1), 100)}
            assert own <= again <= own | near
    with transaction(connection):
        write(connection, [[EraseRecord(1, tuple(texts), "", NOW_MS)]])
    index_all(connection)
    assert connection.execute("SELECT term FROM entries_vocabulary").fetchall() == []
    assert connection.execute("SELECT documents, words FROM index_state").fetchone() == (0, 0)
    assert connection.execute("SELECT count(*) FROM indexed").fetchone() == (0,)
    blocks = b"".join(block for (block,) in connection.execute("SELECT block FROM entries_fts_data"))
    assert not [word for word in WORDS if word[1:].encode() in blocks]
    connection.close()


def test_documents_are_counted(tmp_path: Path) -> None:
    """The figures that weigh the tail are those of what is in the index."""
    connection = open_writer(database(tmp_path))
    write(connection, [[session(), entry(1, "one two"), entry(2, "three")]])
    assert indexing.waiting(connection) == 2
    index_all(connection)
    documents, words = connection.execute("SELECT documents, words FROM index_state").fetchone()
    day = len(indexing.day_words(NOW_MS).split()) + 2  # the ISO date is three words
    # role, own words, the words before (two of them for the second), the day
    assert (documents, words) == (2, (1 + 2 + 0 + day) + (1 + 1 + 2 + day))
    assert indexing.waiting(connection) == 0
    connection.close()


@given(st.integers(0, 4_102_444_800_000))
def test_day_is_spelled_as_people_ask(moment: int) -> None:
    """ISO date, day of the month, month, year and weekday, in English whatever the locale."""
    iso, day, month, year, weekday = indexing.day_words(moment).split()
    at = datetime.fromtimestamp(moment // 1000, UTC)
    assert iso == at.date().isoformat()
    assert (int(day), int(year)) == (at.day, at.year)
    assert indexing.MONTHS.index(month) == at.month - 1
    assert indexing.DAYS.index(weekday) == at.weekday()


def test_impossible_time_has_no_day() -> None:
    """An imported entry may carry any number as its time."""
    assert indexing.day_words(2**62) == ""


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(names, names, names, names)
def test_scope_words_tell_everybody_apart(one: str, agent: str, other: str, another: str) -> None:
    """Different principals or agents never share a scope word, whatever their names."""
    assert (indexing.principal_token(one) == indexing.principal_token(other)) == (one == other)
    same = (one, agent) == (other, another)
    assert (indexing.agent_token(one, agent) == indexing.agent_token(other, another)) == same


@settings(max_examples=60, deadline=None)
@given(st.lists(names, min_size=1, max_size=4, unique=True))
def test_tokenizer_takes_scope_words_whole(principals: list[str]) -> None:
    """The index keeps every scope word as it is: it is neither split nor stemmed into another."""
    tokens = [indexing.principal_token(name) for name in principals]
    tokens += [indexing.agent_token(name, "ed") for name in principals]
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5 (scope, tokenize = 'porter unicode61')")
    connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab (t, row)")
    connection.execute("INSERT INTO t VALUES (?)", (" ".join(tokens),))
    assert {term for (term,) in connection.execute("SELECT term FROM v")} == set(tokens)
    connection.close()
