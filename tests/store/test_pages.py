"""Reading pages without SQLite gives what SQLite gives, and never anything but BadPageError on nonsense."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiderwebd.store.pages import PAGE_BYTES, BadPageError, Pages, cells, record, varint
from spiderwebd.store.scan import Walk

VALUES = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=9_000), st.binary(max_size=300), st.floats()
)


def roots(path: Path) -> dict[str, int]:
    """Root page by name."""
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT name, rootpage FROM sqlite_schema"))


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(VALUES, VALUES), max_size=60))
def test_rows_read_as_sqlite_reads_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[object, object]]
) -> None:
    """Every type, overflow, both kinds of trees: the same rows."""
    path = tmp_path_factory.mktemp("pages") / "a.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a, b)")
        connection.execute("CREATE TABLE w (k INTEGER PRIMARY KEY, a, b) WITHOUT ROWID")
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        connection.executemany("INSERT INTO w VALUES (?, ?, ?)", [(n, *row) for n, row in enumerate(rows)])
        connection.commit()
        wanted = connection.execute("SELECT rowid, a, b FROM t").fetchall()
    found: list[tuple[object, ...]] = []
    clustered: list[tuple[object, ...]] = []
    with Pages(path) as pages:
        Walk(pages, set()).table(roots(path)["t"], lambda rowid, values: found.append((rowid, *values)))
        Walk(pages, set()).index(roots(path)["w"], lambda rowid, values: clustered.append(tuple(values)))
    assert repr(sorted(found, key=lambda row: row[0])) == repr(wanted)
    assert repr(sorted(clustered, key=lambda row: row[0])) == repr(
        [(key - 1, *rest) for key, *rest in wanted]
    )


def test_committed_frames_of_the_log_are_seen_and_others_are_not(tmp_path: Path) -> None:
    """The log counts up to its last whole commit; what a crash left behind it does not."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (a)")
        for number in range(50):
            connection.execute("INSERT INTO t VALUES (?)", (f"{number} " * 100,))
        for cut, rows in ((0, 50), (100, 49), (PAGE_BYTES + 24, 49), (PAGE_BYTES + 124, 48)):
            folder = tmp_path / str(cut)
            folder.mkdir()
            (folder / "a.db").write_bytes(path.read_bytes())
            log = Path(f"{path}-wal").read_bytes()
            (folder / "a.db-wal").write_bytes(log[: len(log) - cut] if cut else log)
            found: list[int | None] = []
            with Pages(folder / "a.db") as pages:
                Walk(pages, set()).table(2, lambda rowid, values, found=found: found.append(rowid))
            with closing(sqlite3.connect(folder / "a.db")) as copy:
                assert copy.execute("SELECT count(*) FROM t").fetchone()[0] == len(found)
            assert len(found) <= rows


def test_a_leaf_whose_places_are_partly_damaged_gives_the_other_rows(tmp_path: Path) -> None:
    """Bytes of the array that says where the cells are cost those cells, never the page."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [(f"row {number}",) for number in range(40)])
    with path.open("r+b") as file:
        file.seek((roots(path)["t"] - 1) * PAGE_BYTES + 8 + 2 * 10)
        file.write(b"\0\1" * 5)
    found: list[int | None] = []
    with Pages(path) as pages:
        walk = Walk(pages, set())
        walk.table(roots(path)["t"], lambda rowid, values: found.append(rowid))
    assert found == [*range(1, 11), *range(16, 41)]
    assert [gap.cells for gap in walk.gaps] == [5]


def test_damage_in_the_middle_of_the_log_is_noted(tmp_path: Path) -> None:
    """Commits that stand behind a damaged place of the log are lost, and that is said."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (a)")
        for number in range(20):
            connection.execute("INSERT INTO t VALUES (?)", (number,))
        log = bytearray(Path(f"{path}-wal").read_bytes())
        log[len(log) // 2] ^= 0xFF
        copy = tmp_path / "b.db"
        copy.write_bytes(path.read_bytes())
        Path(f"{copy}-wal").write_bytes(log)
    with Pages(copy) as pages:
        assert "after a damaged place" in pages.notes[0]


@pytest.mark.parametrize("seed", range(20))
def test_nonsense_is_refused(seed: int) -> None:
    """Random bytes are no page and no record, or are read to their end; nothing else is raised."""
    chance = random.Random(seed)
    for _ in range(200):
        page = bytearray(chance.randbytes(PAGE_BYTES))
        page[0] = chance.choice((2, 5, 10, 13))
        with suppress(BadPageError):
            cells(bytes(page), 2, (page[0], page[0]))
        with suppress(BadPageError):
            record(chance.randbytes(chance.randint(1, 60)))


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"\x00", 0), (b"\x7f", 127), (b"\x81\x00", 128), (b"\xff" * 9, -1), (b"\x80" * 8 + b"\x01", 1)],
)
def test_varint(data: bytes, value: int) -> None:
    """One to nine bytes, the last of nine whole, two's complement (fileformat2, 1.6)."""
    assert varint(data, 0) == (value, len(data))
