"""A daemon killed while it brings an older database up to date."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

from spiderwebd.store.schema import migrate, steps, version
from tests.flows.daemon_process import DaemonProcess

KILLS = 5
ENTRIES = 20_000
SEED = 7

KILLED_IN_STEP = """
import os, signal, sys
from pathlib import Path
from spiderwebd.store import schema

made, wanted = 0, int(sys.argv[2])
statements = schema.statements

def counted(script):
    global made
    for statement in statements(script):
        made += 1
        if made == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        yield statement

schema.statements = counted
schema.open_writer(Path(sys.argv[1]))
"""


def older(path: Path) -> None:
    """A database of the first schema version with many memories in it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, upto=1)
        connection.execute("BEGIN")
        connection.execute(
            "INSERT INTO sessions VALUES "
            "(1, 'key-1', 'default', 'default', 1, 1, ?, 1, 0, 'running', '', 0, '{}')",
            (ENTRIES + 1,),
        )
        connection.executemany(
            "INSERT INTO entries VALUES (?1, 1, ?1, 'entry', 'user', 'a memory', 1, 0, 1, NULL, NULL, '[]')",
            [(number,) for number in range(1, ENTRIES + 1)],
        )
        connection.execute("COMMIT")


def whole(path: Path) -> int:
    """Check the database and return its version."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*), max(memory_id) FROM entries").fetchone() == (
            ENTRIES,
            ENTRIES,
        )
        return version(connection)


def test_killed_in_the_middle_of_a_step(tmp_path: Path) -> None:
    """SIGKILL between two statements of a step leaves a version of before, whole; going on completes it."""
    path = tmp_path / "spiderwebd.db"
    older(path)
    reached = []
    for wanted in range(1, 100, 2):
        child = subprocess.run([sys.executable, "-c", KILLED_IN_STEP, str(path), str(wanted)], check=False)
        reached.append(whole(path))
        if child.returncode == 0:
            break
        assert child.returncode == -9
    assert reached == sorted(reached)
    assert reached[0] == 1
    assert reached[-1] == len(steps())


def test_daemon_killed_while_it_starts_on_an_older_database(tmp_path: Path) -> None:
    """Killed at random moments of its start, the daemon comes up in the end with every memory."""
    chance = random.Random(SEED)
    daemon = DaemonProcess(tmp_path)
    path = daemon.state_directory / "spiderwebd.db"
    older(path)
    for _ in range(KILLS):
        child = subprocess.Popen(
            [
                sys.executable, "-m", "spiderwebd", "run", "--listen", "127.0.0.1:0",
                "--state-dir", str(daemon.state_directory),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        # The moment of the kill is what is random here.
        threading.Event().wait(chance.uniform(0.2, 0.7))
        child.kill()
        child.wait()
    with daemon:
        assert daemon.terminate() == 0
    assert whole(path) == len(steps())
