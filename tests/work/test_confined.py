"""No path leads out of the directory."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.work.confined import (
    FileRefused,
    make_directory,
    opened_directory,
    parts_inside,
    read_regular,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with a sibling that must stay out of reach."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    (tmp_path / "root-beside").mkdir()
    inside = tmp_path / "root"
    inside.mkdir()
    return inside


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", "Path cannot be empty"),
        ("  ", "Path cannot be empty"),
        ("/etc/passwd", "Absolute paths are not allowed"),
        ("~/x", "Home directory references are not allowed"),
        ("~root", "Home directory references are not allowed"),
        ("..", "Path resolves outside workspace"),
        ("../secret/key", "Path resolves outside workspace"),
        ("../root-beside", "Path resolves outside workspace"),
        ("a/../../secret", "Path resolves outside workspace"),
        ("a\0b", "A path cannot contain control characters"),
        ("a\nb", "A path cannot contain control characters"),
    ],
)
def test_refused_paths(root: Path, path: str, text: str) -> None:
    """Each way out is refused with the text of the original's path rule (compatibility 1.6)."""
    with pytest.raises(FileRefused) as caught:
        parts_inside(root, path)
    assert caught.value.message == text


@pytest.mark.parametrize(
    ("path", "parts"),
    [("a", ("a",)), ("./a//b/", ("a", "b")), ("a/../b", ("b",)), (".", ()), ("../root/a", ("a",))],
)
def test_allowed_paths(root: Path, path: str, parts: tuple[str, ...]) -> None:
    """What stays inside is returned in its parts, whether or not it exists."""
    assert parts_inside(root, path) == parts


def test_links_out_are_refused_and_links_inside_followed(root: Path) -> None:
    """A link counts for what it points at: to the outside is refused, to the inside is resolved."""
    (root / "out").symlink_to(root.parent / "secret")
    (root / "dangling").symlink_to(root.parent / "nothing")
    (root / "real").mkdir()
    (root / "in").symlink_to("real")
    for path in ("out", "out/key", "out/new", "dangling", "in/../../secret/key"):
        with pytest.raises(FileRefused, match="outside workspace"):
            parts_inside(root, path)
    assert parts_inside(root, "in/x") == ("real", "x")


def test_a_link_that_appears_after_the_check_leads_nowhere(root: Path) -> None:
    """Opening does not follow links, so swapping one in between the check and the use gains nothing."""
    parts = parts_inside(root, "late/key")
    (root / "late").symlink_to(root.parent / "secret")
    with pytest.raises(OSError, match="late"), opened_directory(root, parts[:-1]):
        pytest.fail("a link was followed")
    (root / "key").symlink_to(root.parent / "secret" / "key")
    with opened_directory(root, ()) as directory, pytest.raises(OSError, match="key"):
        read_regular("key", directory, 100)


@given(st.lists(st.sampled_from(["..", ".", "a", "out", "real", "in", ""]), max_size=7))
def test_nothing_resolves_outside(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    """Whatever is put together from links and dots, an accepted path is inside when fully resolved."""
    base = tmp_path_factory.getbasetemp() / "confined-property"
    root = base / "root"
    if not root.exists():
        (root / "real").mkdir(parents=True)
        (root / "out").symlink_to(base)
        (root / "in").symlink_to("real")
    try:
        parts = parts_inside(root, "/".join(names))
    except FileRefused:
        return
    resolved = os.path.realpath(root.joinpath(*parts))
    assert resolved == os.path.realpath(root) or resolved.startswith(os.path.realpath(root) + os.sep)


def test_only_regular_files_of_bounded_size_are_read(root: Path) -> None:
    """A named pipe does not hang the reader, a directory and a large file are refused by name."""
    os.mkfifo(root / "pipe")
    (root / "large").write_bytes(b"x" * 11)
    (root / "fits").write_bytes(b"x" * 10)
    with opened_directory(root, ()) as directory:
        make_directory("folder", directory)
        for name in ("pipe", "large", "folder"):
            with pytest.raises(FileRefused, match=name):
                read_regular(name, directory, 10)
        assert read_regular("fits", directory, 10) == b"x" * 10


def test_missing_directories_are_made_only_when_asked(root: Path) -> None:
    """Opening alone makes nothing; with `make` the root and every part come to be, private."""
    deep = root / "state" / "files" / "1"
    with pytest.raises(FileNotFoundError), opened_directory(deep, ("a",)):
        pytest.fail("nothing is there")
    assert not (root / "state").exists()
    with opened_directory(deep, ("a", "b"), make=True):
        assert (deep / "a" / "b").stat().st_mode & 0o777 == 0o700
    with opened_directory(deep, ("a",)) as directory:
        assert not make_directory("b", directory)
