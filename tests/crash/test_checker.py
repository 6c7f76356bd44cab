"""The checker of the crash rounds sees what it is there to see."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio

from spiderwebd.store.store import DATABASE, open_store
from tests.crash.checker import check
from tests.crash.traffic import Broken, Client
from tests.store.samples import ignore, turn


async def fill(path: Path) -> None:
    """Twenty turns of one session."""
    async with open_store(path) as store:
        for number in range(1, 21):
            await store.writer.submit(turn(number, content=f"memory {number}"), ignore)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client that was told of all twenty."""
    trio.run(fill, tmp_path / DATABASE)
    client = Client(1, random.Random(1), key="key-1", last=20)
    for number in range(1, 21):
        client.frames[number] = json.loads(f'{{"type":"session.accepted","seq":{number}}}')
        client.memories[number] = {f"memory {number}"}
        client.created[f"c{number}"] = f"memory {number}"
    return client


def test_what_is_whole_passes(tmp_path: Path, client: Client) -> None:
    """Nothing is wrong, and the events are counted."""
    assert check(tmp_path, tmp_path / "copy", [client]) == 20


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM events WHERE seq = 7", "gap"),
        ("DELETE FROM events WHERE seq = 20", "end before"),
        ("UPDATE sessions SET seq = 19", "the disk ends at 19|end before 19"),
        ('UPDATE events SET frame = \'{"type":"x","seq":3}\' WHERE seq = 3', "seq 3 was"),
        ("DELETE FROM entries WHERE memory_id = 20", "memory 20 was acknowledged and is gone"),
        ("UPDATE entries SET content = 'other', version = 2 WHERE memory_id = 4", "memory 4 is"),
        (
            "INSERT INTO entries SELECT 99, sid, 99, kind, role, content, 1, 0, 1, NULL, NULL, '[]' "
            "FROM entries WHERE memory_id = 5",
            "done 2 times",
        ),
        ("UPDATE events SET request = 'r1' WHERE seq = 2", "done more than once"),
    ],
)
def test_what_is_missing_or_twice_is_seen(tmp_path: Path, client: Client, damage: str, said: str) -> None:
    """One thing wrong in the database is one broken promise, named."""
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        connection.execute(damage)
        connection.commit()
    with pytest.raises(Broken, match=said):
        check(tmp_path, tmp_path / "copy", [client])
