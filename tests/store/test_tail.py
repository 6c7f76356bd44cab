"""What is not indexed yet: read by name, taken apart once, forgotten in time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from spiderwebd.core.ranking import WEIGHTS, count, stems
from spiderwebd.core.records import EraseRecord
from spiderwebd.store import indexing, tail
from spiderwebd.store.schema import open_writer, transaction
from spiderwebd.store.search import STATE, Scope
from spiderwebd.store.tables import write
from spiderwebd.store.tail import Places, Tail
from tests.store.samples import NOW_MS, database, entry, session

OWN = Scope.session(1)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A store with two sessions of different principals."""
    connection = open_writer(database(tmp_path), "OFF")
    write(connection, [[session(), session(2, principal="bob"), session(3, agent="kim")]])
    yield connection
    connection.close()


def read(known: Tail, connection: sqlite3.Connection, scope: Scope = OWN) -> Places:
    """The tail of a scope as a search reads it."""
    watermark, _, _, removals, stale = connection.execute(STATE).fetchone()
    return known.read(connection, scope.owner, watermark, removals, out_of_date=stale > 0)


def index(connection: sqlite3.Connection, limit: int = 100) -> None:
    """Index some entries."""
    with transaction(connection):
        indexing.step(connection, limit)


def taken_apart(connection: sqlite3.Connection) -> list[str]:
    """The statements run from now on that read texts."""
    statements: list[str] = []
    connection.set_trace_callback(lambda text: statements.append(text) if "e.content" in text else None)
    return statements


def bodies(places: Places, words: Sequence[str]) -> list[set[str]]:
    """Which of some words each entry holds, newest entry first."""
    return [{word for word in words if word in counted.counts} for counted in places.values()]


def test_an_entry_is_taken_apart_as_the_index_would(connection: sqlite3.Connection) -> None:
    """Speaker with name, own text, the two texts before and the day, each by its weight."""
    long = "heron " * 1_000
    write(connection, [[entry(1, long), entry(2, "tapirs"), entry(3, "Zebra, zebra", name="stripes")]])
    newest = next(iter(read(Tail(), connection).values()))
    before = f"{long[: indexing.BEFORE_CHARACTERS]} tapirs"
    columns = ("user stripes", "Zebra, zebra", before, indexing.day_words(NOW_MS))
    assert newest == count(zip(map(stems, columns), WEIGHTS, strict=True))


def test_scopes_hold_their_own_newest_first(connection: sqlite3.Connection) -> None:
    """Session, agent and principal see what is theirs and not indexed."""
    write(connection, [[entry(1, "zebra"), entry(1, "heron", 2), entry(1, "tapir", 3), entry(2, "kudu")]])
    known, words = Tail(), ("zebra", "heron", "tapir", "kudu")
    assert bodies(read(known, connection), words) == [{"kudu", "zebra"}, {"zebra"}]
    assert bodies(read(known, connection, Scope.session(2)), words) == [{"heron"}]
    assert bodies(read(known, connection, Scope.of_agent("ana", "kim")), words) == [{"tapir"}]
    assert len(read(known, connection, Scope.of_principal("ana"))) == 3
    index(connection)
    assert read(known, connection, Scope.of_principal("ana")) == {}


def test_an_entry_is_taken_apart_once(connection: sqlite3.Connection) -> None:
    """A search reads the texts of those that are new, whoever searched before; nothing new, nothing read."""
    write(connection, [[entry(1, "zebra"), entry(2, "heron")]])
    known = Tail()
    read(known, connection)
    statements = taken_apart(connection)
    assert len(read(known, connection, Scope.of_principal("ana"))) == 2
    assert statements == []
    write(connection, [[entry(3, "tapir")]])
    assert len(read(known, connection)) == 3
    assert len(statements) == 1
    assert "'[3]'" in statements[0]


def test_updates_and_names_are_seen(connection: sqlite3.Connection) -> None:
    """A new version or another name makes another text, indexed meanwhile or not."""
    words = ("zebra", "heron", "tapir", "kudu", "ibex")
    write(connection, [[entry(1, "zebra")]])
    known = Tail()
    assert bodies(read(known, connection), words) == [{"zebra"}]
    write(connection, [[entry(1, "heron", version=2)]])
    assert bodies(read(known, connection), words) == [{"heron"}]
    write(connection, [[entry(1, "heron", version=2, name="tapir")]])
    assert bodies(read(known, connection), words) == [{"heron", "tapir"}]
    index(connection)
    write(connection, [[entry(1, "kudu", version=3)]])
    assert bodies(read(known, connection), words) == [{"kudu"}]
    write(connection, [[entry(1, "kudu", version=3, name="ibex")]])
    assert bodies(read(known, connection), words) == [{"kudu", "ibex"}]


def test_erased_words_are_not_kept(connection: sqlite3.Connection) -> None:
    """After an erasure nothing of the erased text is left, not as context and not in memory."""
    write(connection, [[entry(1, "secret"), entry(2, "heron")]])
    known = Tail()
    assert bodies(read(known, connection), ("secret",)) == [{"secret"}, {"secret"}]
    write(connection, [[EraseRecord(1, (1,), "asked for", NOW_MS)]])
    assert bodies(read(known, connection), ("secret",)) == [set()]
    kept = known._kept
    assert not [place for place, counted in kept.entries.items() if "secret" in counted.counts]
    assert "secret" not in kept._columns


def test_what_is_kept_is_bounded(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexed entries and texts are thrown out, and so is everything when it is too much."""
    monkeypatch.setattr(tail, "SPARE_ENTRIES", 10)
    monkeypatch.setattr(tail, "COLUMNS_KEPT", 10)
    known = Tail()
    for number in range(1, 101):
        write(connection, [[entry(number, f"zebra {number}")]])
        assert len(read(known, connection)) == (number - 1) % 5 + 1
        if number % 5 == 0:
            index(connection)
        assert len(known._kept.entries) <= 10 + 10
        assert len(known._kept._columns) <= 10
    monkeypatch.setattr(tail, "KEPT_WORDS", 5)
    write(connection, [[entry(101, "one two three four five six")]])
    assert len(read(known, connection)) == 1
    assert known._kept.entries == {}
    assert len(read(known, connection)) == 1


def test_the_newest_are_read_when_very_many_wait(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far behind the index is, the last entry is in the tail."""
    monkeypatch.setattr(tail, "TAIL_ENTRIES", 3)
    write(connection, [[entry(number, f"zebra w{number}") for number in range(1, 10)]])
    found = read(Tail(), connection, Scope.of_principal("ana"))
    assert list(found) == [9, 8, 7]
