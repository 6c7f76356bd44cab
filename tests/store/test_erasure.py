"""Forgetting texts for good."""

from __future__ import annotations

from pathlib import Path

from spiderwebd.store.erasure import ERASED, PRUNED, forget
from spiderwebd.store.schema import open_writer
from spiderwebd.store.tables import write
from tests.store.samples import NOW_MS, database, entry, session


def test_forgetting_twice_changes_nothing(tmp_path: Path) -> None:
    """The first tombstone stands; unknown ids and those forgotten before are passed over."""
    connection = open_writer(database(tmp_path))
    write(connection, [[session(), session(2), entry(1), entry(2), entry(1, "other", 2)]])
    assert forget(connection, 1, [1], ERASED, "asked for", NOW_MS) == 1
    assert forget(connection, 1, [1, 7], PRUNED, "old", NOW_MS + 9_000) == 0
    assert forget(connection, 1, [1, 2], PRUNED, "old", NOW_MS) == 1
    rows = connection.execute(
        "SELECT sid, memory_id, content FROM entries ORDER BY sid, memory_id"
    ).fetchall()
    assert rows == [
        (1, 1, "[erased:1] 2026-02-15T10:06:40Z asked for"),
        (1, 2, "[pruned:2] 2026-02-15T10:06:40Z old"),
        (2, 1, "other"),
    ]
    audit = connection.execute("SELECT sid, first, last, count, reason FROM removals").fetchall()
    assert audit == [(1, 1, 1, 1, "erased: asked for"), (1, 2, 2, 1, "pruned: old")]
    connection.close()
