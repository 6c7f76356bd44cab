"""What counts as a fault of the disk, and what records weigh."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from spiderwebd.store.committer import RECORD_BYTES, Committer, Submission, describe, is_storage_fault, weight
from spiderwebd.store.schema import open_writer
from tests.store.samples import database, entry, event, session, turn


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (sqlite3.SQLITE_FULL, True),
        (sqlite3.SQLITE_IOERR_FSYNC, True),
        (sqlite3.SQLITE_READONLY, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, True),
        (sqlite3.SQLITE_CORRUPT, True),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, False),
        (sqlite3.SQLITE_ERROR, False),
    ],
)
def test_disk_or_program(code: int, fault: bool) -> None:
    """Extended result codes count as their primary one; constraint and syntax errors are ours."""
    error = sqlite3.OperationalError("some text")
    error.sqlite_errorcode = code
    assert is_storage_fault(error) is fault


def test_other_exceptions_are_never_faults_of_the_disk() -> None:
    """Only SQLite can blame the disk."""
    assert not is_storage_fault(OSError(28, "No space left on device"))
    assert not is_storage_fault(sqlite3.ProgrammingError("closed"))


def test_weight_and_description() -> None:
    """Texts count by length; a description names records without their contents or the key."""
    records = [entry(1, "x" * 100), event(1, frame="y" * 50), session()]
    assert weight(records) == 3 * RECORD_BYTES + 150
    assert describe(records) == "session 1: EntryRecord, EventRecord, SessionRecord"
    assert describe(()) == ""


def test_recovery_keeps_what_it_achieved(tmp_path: Path) -> None:
    """When the disk fills up again during recovery, the part already written is not written twice."""
    committer = Committer(lambda: open_writer(database(tmp_path)))
    committer.open()
    connection = committer._connection
    assert connection is not None

    def pages(more: int) -> None:
        count = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {count + more}")

    def submission(number: int) -> Submission:
        return Submission(turn(number, content="x" * 300), None, 0.0)

    pages(0)
    report = committer.run([submission(number) for number in range(1, 1_001)])
    assert report.reason
    assert report.backlog == 1_000
    pages(60)
    report = committer.retry()
    assert report.reason
    assert 0 < report.backlog < 1_000
    kept = connection.execute("SELECT count(*) FROM events").fetchone()[0]
    assert kept == 1_000 - report.backlog
    connection.execute("PRAGMA max_page_count = 1000000")
    report = committer.retry()
    assert (report.reason, report.backlog, report.backlog_bytes) == ("", 0, 0)
    assert connection.execute("SELECT count(*), max(seq) FROM events").fetchone() == (1_000, 1_000)
    committer.close()
