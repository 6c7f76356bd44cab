"""What a batch does to memories is what its records say in their order, though each is written once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiderwebd.core.records import ArchiveRecord, EntryRecord, LeaveRamRecord, Record
from spiderwebd.store.reader import read_image
from spiderwebd.store.schema import open_writer
from spiderwebd.store.tables import ENTRY_COLUMNS, entry_of, write
from tests.store.samples import NOW_MS, database, entry, session


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """An open store without a runner."""
    with closing(open_writer(database(tmp_path))) as opened:
        yield opened


def stored(connection: sqlite3.Connection, memory_id: int) -> EntryRecord:
    """One memory as the table has it."""
    row = connection.execute(
        f"SELECT {ENTRY_COLUMNS} FROM entries WHERE sid = 1 AND memory_id = ?", (memory_id,)
    ).fetchone()
    return entry_of(row)


def test_leaving_ram_and_coming_back_in_one_batch(connection: sqlite3.Connection) -> None:
    """Changes to entries are carried out in the order in which they were submitted."""
    write(connection, [[session(), entry(1), entry(2)], [LeaveRamRecord(1, (1, 2))], [entry(1)]])
    assert stored(connection, 1).in_ram
    assert not stored(connection, 2).in_ram


def test_a_text_replaced_twice_in_one_batch_keeps_every_version(connection: sqlite3.Connection) -> None:
    """A batch writes a memory once, as it stood last; the texts in between are versions all the same."""
    second, third = entry(1, "two", version=2), entry(1, "three", version=3)
    write(connection, [[session(), entry(1, "one")], [second], [third]])
    assert stored(connection, 1) == third
    kept = connection.execute("SELECT version, content FROM versions ORDER BY version").fetchall()
    assert kept == [(1, "one"), (2, "two")]


def test_a_memory_made_and_gone_in_one_batch_is_in_the_ltm_alone(connection: sqlite3.Connection) -> None:
    """What enters and leaves RAM between two commits never stands in `ram`; a reset is kept in its place."""
    reset = ArchiveRecord(1, NOW_MS, "reset", 2, 1, 0, True)
    write(connection, [[session(), entry(1)], [LeaveRamRecord(1, (1,))], [entry(2)], [reset], [entry(3)]])
    assert [stored(connection, number).in_ram for number in (1, 2, 3)] == [False, False, True]


CHANGES = st.lists(
    st.one_of(
        st.builds(lambda number, in_ram: entry(number, in_ram=in_ram), st.integers(1, 4), st.booleans()),
        st.builds(lambda numbers: LeaveRamRecord(1, tuple(numbers)), st.sets(st.integers(1, 4))),
        st.builds(lambda cleared: ArchiveRecord(1, NOW_MS, "why", 9, 0, 0, cleared), st.booleans()),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(changes=CHANGES, cut=st.integers(0, 12))
def test_one_batch_or_one_each_come_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, changes: list[Record], cut: int
) -> None:
    """However changes are divided over transactions, the same stands in RAM and in the tables."""
    seen = []
    for batches in ([changes[:cut], changes[cut:]], [[change] for change in changes]):
        with closing(open_writer(database(tmp_path_factory.mktemp("changes")))) as connection:
            write(connection, [[session()]])
            for batch in batches:
                write(connection, [[record] for record in batch])
            image = read_image(connection, "key-1", 0)
            assert image is not None
            archives = connection.execute("SELECT cleared FROM archives ORDER BY archive").fetchall()
            seen.append((image.ram, archives))
    assert seen[0] == seen[1]
