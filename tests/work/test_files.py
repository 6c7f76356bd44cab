"""The session's own files: what each operation does, and what it leaves alone when it is refused."""

import os
import threading
from pathlib import Path

import pytest

from spiderwebd.work import files as files_module
from spiderwebd.work.confined import FileRefused
from spiderwebd.work.files import TEMPORARY, Counts, Limits, Listed, SessionFiles


@pytest.fixture
def files(tmp_path: Path) -> SessionFiles:
    """A session's directory that does not exist yet."""
    return SessionFiles(tmp_path / "files" / "7", Limits(file_bytes=100, total_bytes=250, files=6))


def test_write_and_read(files: SessionFiles) -> None:
    """What is written is read back exactly, directories are made on the way, nothing else remains."""
    assert files.write("a/b.txt", "grüße\n") == 8
    assert files.read("a/b.txt") == "grüße\n"
    assert files.write("a/b.txt", "two") == 3
    assert (files.root / "a" / "b.txt").read_text() == "two"
    assert sorted(os.listdir(files.root)) == ["a"]


def test_append_makes_lines(files: SessionFiles) -> None:
    """Each appended text stands on a line of its own, in a new file too."""
    assert files.append("log", "one") == 3
    assert files.append("log", "two\n") == 8
    assert files.append("log", "three") == 13
    assert files.read("log") == "one\ntwo\nthree"


def test_create_leaves_what_is_there(files: SessionFiles) -> None:
    """Creating makes an empty file once and never empties an existing one."""
    assert files.create("a")
    files.write("a", "text")
    assert not files.create("a")
    assert files.read("a") == "text"


def test_copy_move_delete(files: SessionFiles) -> None:
    """Copying replaces its target, moving does not, deleting takes files only."""
    files.write("a", "one")
    assert files.copy("a", "dir/b") == 3
    files.write("a", "two")
    files.copy("a", "dir/b")
    assert files.read("dir/b") == "two"
    with pytest.raises(FileRefused, match="dir/b already exists"):
        files.move("a", "dir/b")
    files.move("dir/b", "c")
    files.move("dir", "other")
    files.delete("a")
    assert [entry.name for entry in files.listing()] == ["c", "other"]
    with pytest.raises(FileRefused, match="other is a directory"):
        files.delete("other")


def test_listing(files: SessionFiles) -> None:
    """Names come in order with type and size; a directory that was never written is empty."""
    assert files.listing() == []
    files.write("b", "xyz")
    assert files.make_directory("a/inner")
    assert not files.make_directory("a/inner")
    (files.root / "link").symlink_to("b")
    os.mkfifo(files.root / "pipe")
    (files.root / TEMPORARY).write_text("half")
    assert files.listing() == [
        Listed("a", "directory", 0),
        Listed("b", "file", 3),
        Listed("link", "symlink", 0),
        Listed("pipe", "other", 0),
    ]
    assert files.listing("a") == [Listed("inner", "directory", 0)]


def test_count(files: SessionFiles) -> None:
    """Lines, words, characters and bytes are what they are in the text."""
    files.write("a", "ein Wort\nmehr, grüße\n")
    assert files.count("a") == Counts(lines=2, words=4, characters=21, bytes=23)


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (lambda files: files.read("none"), "none: no such file or directory"),
        (lambda files: files.read("dir"), "dir is a directory"),
        (lambda files: files.read("."), ". is a directory"),
        (lambda files: files.read("binary"), "binary is not UTF-8 text"),
        (lambda files: files.read("there/x"), "there/x: not a directory"),
        (lambda files: files.write("dir", "x"), "dir is a directory"),
        (lambda files: files.write("there/x", "x"), "there/x: not a directory"),
        (lambda files: files.write(TEMPORARY, "x"), f"{TEMPORARY} is a reserved name"),
        (lambda files: files.write("x" * 300, "x"), f"{'x' * 300}: file name too long"),
        (lambda files: files.write("a", "\ud800"), "half of a surrogate pair"),
        (lambda files: files.write("../x", "x"), "Path resolves outside workspace"),
        (lambda files: files.copy("there", "/x"), "Absolute paths are not allowed"),
        (lambda files: files.copy("none", "x"), "none: no such file or directory"),
        (lambda files: files.move("none", "x"), "none: no such file or directory"),
        (lambda files: files.move("there", "~/x"), "Home directory references are not allowed"),
        (lambda files: files.delete("none"), "none: no such file or directory"),
        (lambda files: files.make_directory("there"), "there is a file"),
        (lambda files: files.listing("none"), "none: no such file or directory"),
        (lambda files: files.listing("there"), "there: not a directory"),
        (lambda files: files.write("large", "x" * 101), "large would be larger than 100 bytes"),
        (lambda files: files.append("there", "x" * 98), "there would be larger than 100 bytes"),
    ],
)
def test_refusals_say_why_and_change_nothing(files: SessionFiles, operation: object, text: str) -> None:
    """Every refusal names the path and the reason, and the directory is as it was."""
    files.write("there", "abc")
    files.make_directory("dir")
    (files.root / "binary").write_bytes(b"\xff\xfe")

    def everything() -> list[tuple[str, bytes]]:
        found = sorted(path for path in files.root.rglob("*") if path.is_file())
        return [(str(path), path.read_bytes()) for path in found]

    before = everything()
    with pytest.raises(FileRefused, match=text.replace(".", r"\.")):
        operation(files)  # type: ignore[operator]  # a lambda of the table above
    assert everything() == before


def test_total_quota(files: SessionFiles) -> None:
    """The sum of all files stays within the limit; replacing a file counts only the difference."""
    files.write("a", "x" * 100)
    files.write("b", "x" * 100)
    with pytest.raises(FileRefused, match="more than 250 bytes"):
        files.write("c", "x" * 51)
    files.write("c", "x" * 50)
    files.write("a", "y" * 100)
    with pytest.raises(FileRefused, match="more than 250 bytes"):
        files.copy("a", "d")
    files.delete("b")
    files.copy("a", "d")


def test_number_of_files(files: SessionFiles) -> None:
    """Directories count as files do, and those made on the way count before they are made."""
    files.write("a/b/c", "x")
    files.write("a/d", "x")
    with pytest.raises(FileRefused, match="more than 6 files"):
        files.write("e/f/g", "x")
    files.make_directory("a/b/e")
    files.write("a/d", "again")
    files.write("f", "x")
    with pytest.raises(FileRefused, match="more than 6 files"):
        files.make_directory("g")
    with pytest.raises(FileRefused, match="more than 6 files"):
        files.move("f", "new/f")
    assert not (files.root / "e").exists()


def test_a_write_that_dies_leaves_the_old_text(files: SessionFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails before the rename, the old text stands and the next write succeeds."""
    files.write("a", "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files_module.os, "fsync", full)
        with pytest.raises(FileRefused, match="no space left on device") as caught:
            files.write("a", "new")
    assert caught.value.code == "storage_unavailable"
    assert files.read("a") == "old"
    files.write("a", "new")
    assert files.read("a") == "new"


def test_threads_do_not_lose_each_others_lines(tmp_path: Path) -> None:
    """Appends from several threads, each with an object of its own, all arrive whole."""
    root = tmp_path / "s"

    def add(number: int) -> None:
        files = SessionFiles(root)
        for line in range(10):
            files.append("log", f"{number}.{line}")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    expected = {f"{number}.{line}" for number in range(4) for line in range(10)}
    lines = SessionFiles(root).read("log").splitlines()
    assert set(lines) == expected
    assert len(lines) == 40
