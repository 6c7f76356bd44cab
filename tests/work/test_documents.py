"""Document folders: ranked, cited, confined and bounded."""

import os
from pathlib import Path

import pytest

from spiderwebd.work.documents import DocumentFolders, Match


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of four readable documents and some that must not be read."""
    docs = tmp_path / "docs"
    (docs / "ops").mkdir(parents=True)
    (docs / "about.md").write_text("A schedule, and nothing more.\n")
    (docs / "guide.md").write_text("# Guide\n\nBackups run nightly.\nThe backup schedule is weekly.\n")
    (docs / "ops" / "disk.txt").write_text("A disk may fail.\nThe schedule of disks.\n")
    (docs / "other.txt").write_text("Nothing of the kind.\n")
    return docs


def test_best_line_of_the_best_files(folder: Path) -> None:
    """Lines are ranked by distinct words, inflections count as the word, and each file is cited once."""
    found = DocumentFolders([folder]).search("When are the backups scheduled?", 3)
    assert found.matches == (
        Match("guide.md", 4, "The backup schedule is weekly.", 2),
        Match("about.md", 1, "A schedule, and nothing more.", 1),
        Match("ops/disk.txt", 2, "The schedule of disks.", 1),
    )
    assert found.exhaustive


def test_limit_and_ties(folder: Path) -> None:
    """Of equals the first in order of path wins, and no more than the limit come back."""
    for name in ("b", "a", "c"):
        (folder / name).write_text("a zebra\nanother zebra\n")
    found = DocumentFolders([folder]).search("zebra", 2)
    assert [(match.file, match.line_number) for match in found.matches] == [("a", 1), ("b", 1)]


def test_several_folders_are_told_apart(folder: Path, tmp_path: Path) -> None:
    """With more than one folder the folder's name is part of the citation; a missing one is empty."""
    more = tmp_path / "more"
    more.mkdir()
    (more / "guide.md").write_text("schedule\n")
    found = DocumentFolders([folder, tmp_path / "missing", more]).search("backup schedule", 5)
    assert [match.file for match in found.matches] == [
        "docs/guide.md",
        "docs/about.md",
        "docs/ops/disk.txt",
        "more/guide.md",
    ]


def test_what_is_passed_over(folder: Path, tmp_path: Path) -> None:
    """Links, hidden names, pipes, binary, non-UTF-8 and larger files are not read."""
    (tmp_path / "secret.txt").write_text("zebra\n")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "x.txt").write_text("zebra\n")
    (folder / "away").symlink_to(tmp_path / "away")
    (folder / ".hidden").write_text("zebra\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "x").write_text("zebra\n")
    os.mkfifo(folder / "pipe")
    (folder / "binary").write_bytes(b"zebra\n\0")
    (folder / "latin").write_bytes(b"zebra \xe9\n")
    (folder / "large").write_text("zebra\n" + "x" * 100)
    (folder / "seen").write_text("zebra\n")
    found = DocumentFolders([folder], file_bytes=100).search("zebra", 10)
    assert [match.file for match in found.matches] == ["seen"]


def test_number_of_files_is_bounded(folder: Path) -> None:
    """A search that meets its limit of files ends with what it has and says so."""
    opened: list[int] = []
    found = DocumentFolders([folder], files=2).search("schedule", 5, opened.append)
    assert opened == [1, 2]
    assert [match.file for match in found.matches] == ["about.md", "guide.md"]
    assert not found.exhaustive


def test_time_is_bounded(folder: Path) -> None:
    """A search past its deadline ends with what it has and says so."""
    ticks = iter(range(100))
    found = DocumentFolders([folder], seconds=2, now=lambda: float(next(ticks))).search("schedule", 5)
    assert [match.file for match in found.matches] == ["about.md"]
    assert not found.exhaustive


def test_no_words_find_nothing(folder: Path) -> None:
    """A question without a word matches no line."""
    assert DocumentFolders([folder]).search("?!", 5).matches == ()
