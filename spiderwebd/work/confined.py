"""Reaching files inside one directory and nowhere else.

A path is resolved first, links and `..` included, and refused when it leads out. The result is then
opened part by part from the directory's own descriptor without following links, so a link that
appears between the check and the use leads nowhere (openat(2), O_NOFOLLOW).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from spiderwebd.core.codes import Code, Refused

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a named pipe must not wait for a writer.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FileRefused(Refused):
    """A file operation that was not done; nothing changed."""

    code = Code.TASK_FAILED


def parts_inside(root: Path, path: str) -> tuple[str, ...]:
    """Return the parts of a path inside `root`, all links resolved; () is the directory itself.

    Raises:
        FileRefused: the path is empty, absolute, in a home directory, or leads out of `root`. The
            texts are those of the original's path rule.
    """
    if not path.strip():
        raise FileRefused("Path cannot be empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        raise FileRefused("A path cannot contain control characters")
    if path.startswith("/"):
        raise FileRefused("Absolute paths are not allowed")
    if path.startswith("~"):
        raise FileRefused("Home directory references are not allowed")
    base = os.path.realpath(root)
    try:
        target = os.path.realpath(os.path.join(base, path))
    except (OSError, ValueError) as error:
        raise FileRefused(f"{path}: {error}") from error
    if target == base:
        return ()
    if not target.startswith(base + os.sep):
        raise FileRefused("Path resolves outside workspace")
    return tuple(target[len(base) + 1 :].split(os.sep))


@contextmanager
def opened_directory(root: Path, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """Yield a descriptor of the directory `parts` below `root`, valid inside the block.

    Args:
        root: the confining directory; made when `make` is true.
        parts: as `parts_inside` returned them.
        make: whether missing directories on the way are made, each durably.

    Raises:
        OSError: as open(2) and mkdir(2); a part that has become a link is ENOTDIR or ELOOP.
    """
    if make:
        _make_root(root)
    descriptor = os.open(os.path.realpath(root), DIRECTORY)
    try:
        for part in parts:
            if make:
                make_directory(part, descriptor)
            inner = os.open(part, DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _make_root(root: Path) -> None:
    if root.is_dir():
        return
    _make_root(root.parent)
    above = os.open(root.parent, DIRECTORY & ~os.O_NOFOLLOW)
    try:
        make_directory(root.name, above)
    finally:
        os.close(above)


def make_directory(name: str, descriptor: int) -> bool:
    """Make a directory durably; False when something of that name was there already."""
    try:
        os.mkdir(name, 0o700, dir_fd=descriptor)
    except FileExistsError:
        return False
    os.fsync(descriptor)
    return True


def read_regular(name: str, descriptor: int, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes in the directory of `descriptor`.

    Raises:
        FileRefused: it is no regular file, or larger.
        OSError: as open(2); a link is ELOOP.
    """
    file = os.open(name, READ, dir_fd=descriptor)
    try:
        mode = os.fstat(file).st_mode
        if stat.S_ISDIR(mode):
            raise FileRefused(f"{name} is a directory")
        if not stat.S_ISREG(mode):
            raise FileRefused(f"{name} is not a regular file")
        with os.fdopen(file, "rb", closefd=False) as stream:
            data = stream.read(limit + 1)
    finally:
        os.close(file)
    if len(data) > limit:
        raise FileRefused(f"{name} is larger than {limit} bytes")
    return data
