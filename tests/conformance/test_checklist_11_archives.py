"""Checklist point 11 of compatibility section 12: what the original left on disk is taken over whole."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import original_files as original
from tests.conformance.conftest import Start
from tests.conformance.original_files import entry, snapshot, summary
from tests.conformance.published_schema import Frame
from tests.conformance.schema_client import Link
from tests.flows.daemon_process import DaemonProcess

IN_DATABASE = "Qm3vT7xLr9KcZp2WfYb8NdHs5JgAe6Uo"
IN_FOLDER = "F" * 16 + "0123456789abcdef"
AFTER_BAD = "Z" * 31 + "9"
IN_STATE_FILE = "S" * 32
THEN = 1_771_150_000_000
"""In February 2026: older than any archive that is kept, which must not cost an entry."""
AUTO = "memory-manager auto snapshot"
AWKWARD = 'it\'s "quoted"; DROP TABLE entries; -- é€\U0001f578'

MEMORIES: dict[str, dict[int, str]] = {
    IN_DATABASE: {1: "check disk", 2: "the disk is fine", 5: AWKWARD},
    IN_FOLDER: {1: "hello", 3: "with a NUL \0 and a control \x01"},
    AFTER_BAD: {1: "stored after bad archives"},
    IN_STATE_FILE: {1: "only in the state file", 2: "its reply"},
}
"""Every text that was once an entry, by session and MemoryID."""
HIGHEST = {IN_DATABASE: 5, IN_FOLDER: 5, AFTER_BAD: 1, IN_STATE_FILE: 2}


def write_everything(home: Path) -> None:
    """Make a database, a legacy folder with bad archives in it, and a state file."""
    home.mkdir(parents=True, exist_ok=True)
    first = [entry(1, "user", "check disk"), entry(2, "assistant", "the disk is fine")]
    tombstone = entry(4, "system", "[summarized:1] [summary:1] check disk", about=1)
    later = [first[1], tombstone, entry(5, "user", AWKWARD)]
    summaries = [summary(3, 1, "check disk", THEN + 900)]
    original.write_database(
        home,
        [
            snapshot(IN_DATABASE, THEN, AUTO, first),
            snapshot(IN_DATABASE, THEN + 1000, AUTO, later, summaries),
        ],
    )
    gone = entry(4, "system", "[summarized:1] [summary:1] hello", about=1)
    kept = entry(3, "user", MEMORIES[IN_FOLDER][3])
    original.write_archive(home, snapshot(IN_FOLDER, THEN + 1000, AUTO, [entry(1, "user", "hello")]))
    original.write_archive(
        home, snapshot(IN_FOLDER, THEN + 2000, "slash-new", [kept, gone], [summary(5, 1, "hello", THEN)])
    )
    for line in ("not json\n", "[]\n", '{"version":1}\n', "\n"):
        original.append_index(home, line)
    missing = snapshot(IN_FOLDER, THEN + 3000, AUTO, [entry(6, "user", "lost")])
    original.append_index(home, original.index_line(missing))
    broken = snapshot("B" * 32, THEN + 3500, AUTO, [entry(1, "user", "broken")])
    original.write_archive(home, broken)
    (home / original.FOLDER / f"{'B' * 32}-{THEN + 3500}.json").write_text('{"version":1,"entries":[')
    outside = snapshot("O" * 32, THEN + 3600, AUTO, [entry(1, "user", "outside")])
    original.append_index(home, original.index_line(outside, archive_path="/etc/passwd"))
    odd = entry(2, "wizard", "a role that nobody knows")
    original.write_archive(
        home, snapshot(AFTER_BAD, THEN + 4000, AUTO, [entry(1, "user", MEMORIES[AFTER_BAD][1]), odd])
    )
    talk = [entry(1, "user", "only in the state file"), entry(2, "assistant", "its reply")]
    original.write_state_file(home, IN_STATE_FILE, talk, 3)


def fingerprints(home: Path) -> dict[str, str]:
    """A digest of every file that the original left."""
    paths = [path for path in home.rglob("*") if path.is_file() and ".spiderweb-" in str(path)]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def remembered(daemon: DaemonProcess, key: str) -> list[Frame]:
    """Attach to an imported session and return all that it remembers."""
    with Link(daemon.listen, daemon.token, session=key) as link:
        assert link.key == key
        assert link.ack["restored"] is True
        for memory, content in MEMORIES[key].items():
            assert link.request("memory.load", memoryId=memory)["item"]["content"] == content
        items: list[Frame] = link.request("memory.query", limit=128)["items"]
        return [{**item, "source": ""} for item in items]


def test_11_database_folder_and_state_file_are_taken_over_at_start_up(start: Start, tmp_path: Path) -> None:
    """Sections 3.2 to 3.6 and 2.10: all of it whole, bad archives reported, files kept, ids going on."""
    home = tmp_path / "daemon" / "state"
    write_everything(home)
    before = fingerprints(home)
    assert len(before) == 7
    daemon = start()
    first = {key: remembered(daemon, key) for key in MEMORIES}
    assert "archive-index.ndjson:3: line skipped" in daemon.stderr
    for key, highest in HIGHEST.items():
        with Link(daemon.listen, daemon.token, session=key) as link:
            assert link.request("memory.create", content="new")["memoryId"] > highest
    summaries = [item for item in first[IN_DATABASE] if item["kind"] == "summary"]
    assert [(item["id"], item["source_id"], item["text"]) for item in summaries] == [
        (3, 1, "[summary:1] check disk")
    ]
    with Link(daemon.listen, daemon.token, session=IN_DATABASE) as link:
        found = link.request("memory.query", search="disk fine")["items"]
        assert 2 in {item["id"] for item in found}
        assert link.chat("how is the disk?")["content"].startswith("From memory:")
    daemon.restart()
    for key, items in first.items():
        again = [item for item in remembered(daemon, key) if item["id"] <= HIGHEST[key]]
        assert again == [item for item in items if item["id"] <= HIGHEST[key]]
    assert fingerprints(home) == before
    assert "passwd" not in {item.get("content") for items in first.values() for item in items}


def import_by_hand(home: Path, state: Path) -> subprocess.CompletedProcess[str]:
    """Run `spiderwebd import-legacy`."""
    empty = home.parent / "none.toml"
    empty.touch()
    command = [sys.executable, "-m", "spiderwebd", "import-legacy", str(home), "--config", str(empty)]
    return subprocess.run(
        [*command, "--state-dir", str(state)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("inner", [False, True], ids=["working directory", ".spiderweb-ltm itself"])
def test_11_import_by_hand_is_idempotent(start: Start, tmp_path: Path, inner: bool) -> None:
    """Issue 3: import-legacy DIR takes the same files from anywhere, once, and reports what is bad."""
    home = tmp_path / "old"
    write_everything(home)
    before = fingerprints(home)
    directory = home / original.FOLDER if inner else home
    first = import_by_hand(directory, tmp_path / "daemon" / "state")
    again = import_by_hand(directory, tmp_path / "daemon" / "state")
    for bad in ("archive-index.ndjson:3", f"{THEN + 3000}", f"{THEN + 3500}", "passwd", f"{THEN + 4000}"):
        assert bad in first.stdout + first.stderr, first
    assert "imported 0 snapshots of 0 sessions" in again.stdout, again
    assert fingerprints(home) == before
    daemon = start()
    for key in MEMORIES:
        if not inner or key != IN_STATE_FILE:
            remembered(daemon, key)
