"""Counts of words that are kept for a while."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from spiderwebd.store import frequencies, indexing
from spiderwebd.store.frequencies import DRIFT, Frequencies
from spiderwebd.store.schema import open_writer, transaction
from spiderwebd.store.tables import write
from tests.store.samples import database, entry, session


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A store with a session, nothing indexed yet."""
    connection = open_writer(database(tmp_path), "OFF")
    write(connection, [[session()]])
    yield connection
    connection.close()


def put(connection: sqlite3.Connection, first: int, last: int, text: str = "zebra") -> int:
    """Write and index entries; return how many documents the index holds."""
    with transaction(connection):
        write(connection, [[entry(number, text) for number in range(first, last + 1)]])
        while indexing.step(connection, 64):
            pass
    return last


def counted(connection: sqlite3.Connection) -> list[str]:
    """The statements that a connection runs from now on."""
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    return statements


def test_counts_are_those_of_the_vocabulary(connection: sqlite3.Connection) -> None:
    """Each stem has the number of documents that hold it, an unknown one none."""
    put(connection, 1, 5, "zebras")
    put(connection, 6, 10, "heron")
    # The two entries after the last zebra hold it as their context.
    assert Frequencies().of(connection, ["zebra", "heron", "tapir"], 10) == {
        "zebra": 7,
        "heron": 5,
        "tapir": 0,
    }


def test_counts_are_kept_until_the_index_has_changed(connection: sqlite3.Connection) -> None:
    """Within one in DRIFT nothing is read again; beyond it, growing or shrinking, the count is exact."""
    known = Frequencies()
    size = put(connection, 1, 4 * DRIFT)
    assert known.of(connection, ["zebra"], size) == {"zebra": size}
    grown = put(connection, size + 1, size + 4)
    statements = counted(connection)
    assert known.of(connection, ["zebra"], grown) == {"zebra": size}
    assert statements == []
    connection.set_trace_callback(None)
    grown = put(connection, grown + 1, grown + 1)
    assert known.of(connection, ["zebra"], grown) == {"zebra": grown}
    with transaction(connection):
        indexing.withdraw(connection, 1, list(range(1, grown + 1)), purge=False)
    assert known.of(connection, ["zebra"], 0) == {"zebra": 0}


def test_an_empty_index_is_never_remembered(connection: sqlite3.Connection) -> None:
    """The first word indexed is counted, though it was asked for before."""
    known = Frequencies()
    assert known.of(connection, ["zebra"], 0) == {"zebra": 0}
    assert known.of(connection, ["zebra"], put(connection, 1, 1)) == {"zebra": 1}


def test_few_counts_are_kept(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked, the memory for counts is bounded."""
    monkeypatch.setattr(frequencies, "WORDS_KEPT", 3)
    size = put(connection, 1, 1)
    known = Frequencies()
    for number in range(50):
        assert known.of(connection, [f"w{number}", "zebra"], size)["zebra"] == 1
        assert len(known._known) <= 3 + 2
