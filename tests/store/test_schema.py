"""Opening the database and bringing its schema up."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from spiderwebd.store import damage, schema
from spiderwebd.store.reader import read_image
from tests.store.samples import database


def test_fresh_database_is_private_and_strict(tmp_path: Path) -> None:
    """A new file has mode 0600, WAL, FULL, foreign keys, the last version and STRICT tables only."""
    connection = schema.open_writer(database(tmp_path))
    assert database(tmp_path).stat().st_mode & 0o777 == 0o600
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert schema.version(connection) == len(schema.steps())
    loose = connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict = 0 "
        "AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    assert loose == []
    connection.close()


def test_schema_steps_run_one_at_a_time(tmp_path: Path) -> None:
    """Each step leaves its own number, and a second run does nothing."""
    connection = sqlite3.connect(database(tmp_path), isolation_level=None)
    for number in range(1, len(schema.steps()) + 1):
        assert schema.migrate(connection, upto=number) == number
    assert schema.migrate(connection) == len(schema.steps())
    connection.close()


def test_working_memory_survives_the_step_that_moves_it(tmp_path: Path) -> None:
    """Step 4 takes membership out of the entries: who stood in RAM still does, and nobody else."""
    with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as connection:
        schema.migrate(connection, upto=3)
        connection.execute(
            "INSERT INTO sessions VALUES (1, 'key', 'ana', 'default', 1, 1, 4, 1, 0, 'running', '', 0, '{}')"
        )
        connection.executemany(
            "INSERT INTO entries VALUES (?1, 1, ?1, 'entry', 'user', 'text', 1, ?2, 1, NULL, NULL, '[]')",
            [(1, 0), (2, 1), (3, 1)],
        )
        schema.migrate(connection)
        image = read_image(connection, "key", 0)
    assert image is not None
    assert [row.memory_id for row in image.ram] == [2, 3]


def test_failing_step_leaves_the_version_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails half-way is rolled back whole, and the steps before it stay."""
    known = schema.steps()
    broken = (len(known) + 1, "0009_broken.sql", "CREATE TABLE half (a INTEGER) STRICT;\nNOT SQL;\n")
    connection = sqlite3.connect(database(tmp_path), isolation_level=None)
    monkeypatch.setattr(schema, "steps", lambda: [*known, broken])
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        schema.migrate(connection)
    assert schema.version(connection) == len(known)
    found = connection.execute("SELECT name FROM sqlite_schema WHERE name IN ('half', 'sessions')").fetchall()
    assert found == [("sessions",)]
    assert not connection.in_transaction
    connection.close()


def test_newer_database_is_refused(tmp_path: Path) -> None:
    """A database of a later version is not touched, and the error says what to do."""
    schema.open_writer(database(tmp_path)).close()
    connection = sqlite3.connect(database(tmp_path))
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(schema.SchemaTooNewError, match=r"999.*start the newer spiderwebd"):
        schema.open_writer(database(tmp_path))


def test_newer_database_is_never_taken_for_a_damaged_one(tmp_path: Path) -> None:
    """With what a later step made in it, it is refused as newer, and not salvaged."""
    schema.open_writer(database(tmp_path)).close()
    connection = sqlite3.connect(database(tmp_path))
    connection.executescript(
        f"CREATE TABLE of_the_future (a); PRAGMA user_version = {len(schema.steps()) + 1}"
    )
    connection.close()
    with pytest.raises(schema.SchemaTooNewError):
        damage.open_checked(lambda: schema.open_writer(database(tmp_path)), database(tmp_path))


def test_every_step_can_be_told_from_all_before_it() -> None:
    """An older spiderwebd would take a database in which a step changed rows alone for damaged."""
    schemas = [damage.expected_schema(number) for number in range(len(schema.steps()) + 1)]
    for number, made in enumerate(schemas):
        assert made not in schemas[:number], f"step {number} must change the schema too"


def test_triggers_are_one_statement() -> None:
    """A script is split at the ends of statements, not at every semicolon."""
    script = (
        "CREATE TABLE a (b);\nCREATE TRIGGER c AFTER INSERT ON a\nBEGIN\n  SELECT 1;\n  SELECT 2;\nEND;\n"
    )
    assert [each.split()[1] for each in schema.statements(script)] == ["TABLE", "TRIGGER"]


def test_reader_cannot_write(tmp_path: Path) -> None:
    """A reading connection refuses to change anything."""
    schema.open_writer(database(tmp_path)).close()
    reader = schema.open_reader(database(tmp_path))
    with pytest.raises(sqlite3.OperationalError, match=r"readonly|read-only|query_only"):
        reader.execute("DELETE FROM sessions")
    reader.close()


def test_claim_is_for_one_process(tmp_path: Path) -> None:
    """While one process has the store, another is refused; the claim ends with the process."""
    path = database(tmp_path)
    program = (
        "import sys; from pathlib import Path; from spiderwebd.store.schema import claim\n"
        "with claim(Path(sys.argv[1])):\n    print('mine', flush=True); sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"mine\n"
    with pytest.raises(schema.StoreInUseError, match="another spiderwebd"), schema.claim(path):
        pass
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    with schema.claim(path):
        assert path.with_name("spiderwebd.db.lock").exists()
