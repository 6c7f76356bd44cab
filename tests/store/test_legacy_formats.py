"""Reading the original's files, sound and damaged (reference compatibility.md, 2.10 and 3.1 to 3.4)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiderwebd.store.legacy_formats import STATE_MOMENT, read_all
from tests.store.upstream import (
    KEY,
    OTHER_KEY,
    active,
    archive,
    state,
    summary,
    tombstone,
    write_archive,
    write_database,
    write_state,
)


def test_database_and_files_are_one_story(tmp_path: Path) -> None:
    """Snapshots come oldest first; a file for a moment that the database has is the same snapshot (3.3)."""
    folder = tmp_path / ".spiderweb-ltm"
    shared = archive(2_000, [active(1, "hello"), tombstone(3, 9)], [summary(2, 1, "hi", 1_900)])
    write_database(folder, [shared])
    write_archive(folder, shared)
    write_archive(folder, archive(1_000, [active(1, "hello")], reason="manual-reset"))
    write_archive(folder, archive(3_000, [active(1, "orphan")], session=OTHER_KEY), indexed=False)
    write_state(tmp_path, [state([active(4, "now")], workerMode="paused", workerLastGoal="paint")], version=2)
    for directory in (tmp_path, folder):
        found = read_all(directory)
        assert found.problems == []
        assert [(each.session, each.moment, each.reason) for each in found.snapshots] == [
            (KEY, 1_000, "manual-reset"),
            (KEY, 2_000, "slash-new"),
            (OTHER_KEY, 3_000, "slash-new"),
            (KEY, STATE_MOMENT, "session state"),
        ]
    assert [(item.id, item.kind) for item in found.snapshots[1].items] == [
        (1, "entry"), (2, "summary"), (3, "tombstone"),
    ]  # fmt: skip
    assert (found.snapshots[3].mode, found.snapshots[3].last_goal) == ("paused", "paint")


def test_bad_archive_does_not_stop_the_rest(tmp_path: Path) -> None:
    """Unreadable, missing and malformed archives and lines are reported, all others are read (defect 18)."""
    folder = tmp_path / ".spiderweb-ltm"
    broken = write_archive(folder, archive(1_000, [active(1, "a")]))
    broken.write_text('{"version":1,"entr')
    gone = write_archive(folder, archive(2_000, [active(1, "b")]))
    gone.unlink()
    with (folder / "archive-index.ndjson").open("a") as index:
        index.write("not json\n[]\n\n")
    (folder / "list.json").write_text("[]")
    good = archive(3_000, [active(1, "c"), {"id": "x"}, {**active(2, "d"), "role": "king"}])
    write_archive(folder, good)
    found = read_all(tmp_path)
    assert [each.moment for each in found.snapshots] == [3_000]
    assert [item.content for item in found.snapshots[0].items] == ["c"]
    told = "\n".join(found.problems)
    for word in (
        "1000.json: skipped, it is not JSON",
        "2000.json: skipped: No such file",
        "not a JSON object",
    ):
        assert word in told
    assert told.count("line skipped") == 2
    assert told.count("an entry is skipped") == 2


def test_path_in_the_index_cannot_leave_the_folder(tmp_path: Path) -> None:
    """An index line that points elsewhere reads nothing from there (3.3 used the path as it was)."""
    secret = tmp_path / "elsewhere.json"
    secret.write_text(json.dumps(archive(1_000, [active(1, "secret")])))
    folder = tmp_path / ".spiderweb-ltm"
    kept = archive(2_000, [active(1, "kept")])
    write_archive(folder, kept, path=str(secret))
    found = read_all(tmp_path)
    assert [item.content for each in found.snapshots for item in each.items] == ["kept"]
    assert "elsewhere.json: skipped" in found.problems[0]


def test_damaged_database_gives_what_it_has(tmp_path: Path) -> None:
    """A file that is no database is a problem, not an exception, and the archives are read."""
    folder = tmp_path / ".spiderweb-ltm"
    folder.mkdir()
    (folder / "memory.db").write_bytes(b"no database " * 500)
    write_archive(folder, archive(1_000, [active(1, "a")]))
    found = read_all(tmp_path)
    assert len(found.snapshots) == 1
    assert "memory.db: cannot be read to the end" in found.problems[0]


def test_text_cut_in_half_is_kept(tmp_path: Path) -> None:
    """The original cut summaries at a byte (2.4): the rest of the text is read, the half becomes U+FFFD."""
    folder = tmp_path / ".spiderweb-ltm"
    path = write_archive(folder, archive(1_000, [active(1, "PLACE")], [summary(2, 1, "\ud83d", 5)]))
    path.write_bytes(path.read_bytes().replace(b"PLACE", "wide €".encode()[:-1]))
    items = read_all(tmp_path).snapshots[0].items
    assert items[0].content == "wide \ufffd"
    assert items[1].content == "[summary:1] ?"


@pytest.mark.parametrize("version", [0, 3, None, "1"])
def test_unknown_version_of_the_state_file(tmp_path: Path, version: object) -> None:
    """Only versions 1 and 2 are read; another is reported."""
    (tmp_path / ".spiderweb-session-state.json").write_text(json.dumps({"version": version, "sessions": []}))
    found = read_all(tmp_path)
    assert found.snapshots == []
    assert "versions 1 and 2 are read" in found.problems[0]


def test_empty_directory_has_nothing(tmp_path: Path) -> None:
    """No files, no problems."""
    found = read_all(tmp_path)
    assert (found.snapshots, found.problems) == ([], [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["session_id", "timestamp_ms", "entries", "summaries", "id", "role", "content", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(document=JSON, line=st.binary(max_size=60))
def test_any_json_is_survived(
    document: object, line: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever stands in an archive or an index, reading ends without an exception."""
    folder = tmp_path_factory.mktemp("any")
    (folder / "some.json").write_text(json.dumps(document))
    (folder / "archive-index.ndjson").write_bytes(line)
    for snapshot in read_all(folder).snapshots:
        assert snapshot.items
