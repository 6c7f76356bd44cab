"""A session's own files: the one directory in which its tasks may read and write.

Every function blocks; workers run them through a `blocking.RunBlocking`. Whoever changes files holds
flock(2) on the directory, so that the quota is true and one temporary file serves all writes, also
while a cancelled task's write is still running to its end in its thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spiderwebd.core.codes import Code
from spiderwebd.work.confined import (
    FileRefused,
    make_directory,
    opened_directory,
    parts_inside,
    read_regular,
)

MEBIBYTE = 1024 * 1024
TEMPORARY = ".spiderwebd-unfinished"
"""A write in progress, in the root; what a crash leaves there is overwritten by the next write."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may keep."""

    file_bytes: int = MEBIBYTE
    total_bytes: int = 16 * MEBIBYTE
    files: int = 1000
    """Files and directories together."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One name in a directory."""

    name: str
    type: str
    """file, directory, symlink or other."""
    size: int
    """Bytes; 0 for what is no file."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a text file holds."""

    lines: int
    words: int
    characters: int
    bytes: int


class SessionFiles:
    """File operations confined to `root`, which is made by the first write.

    Every operation raises FileRefused when the path is not allowed, a limit would be passed, or the
    system refuses; then nothing has changed.
    """

    def __init__(self, root: Path, limits: Limits | None = None) -> None:
        self.root = root
        self._limits = limits or Limits()

    def read(self, path: str) -> str:
        """Return a file's text."""
        with _explained(path):
            data = self._bytes(path)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise FileRefused(f"{path} is not UTF-8 text") from error

    def count(self, path: str) -> Counts:
        """Count a text file's lines, words, characters and bytes."""
        text = self.read(path)
        return Counts(len(text.splitlines()), len(text.split()), len(text), len(text.encode()))

    def listing(self, path: str = ".") -> list[Listed]:
        """Return what a directory holds, by name; at most as many as the session may have files."""
        parts = parts_inside(self.root, path)
        if not parts and not self.root.exists():
            return []
        with (
            _explained(path),
            opened_directory(self.root, parts) as directory,
            os.scandir(directory) as entries,
        ):
            found = [_listed(entry) for entry in entries if entry.name != TEMPORARY]
        return sorted(found, key=lambda entry: entry.name)[: self._limits.files]

    def write(self, path: str, text: str) -> int:
        """Write the whole file, its directories too where they are missing; return its bytes."""
        return self._replace(path, lambda: _encoded(text))

    def append(self, path: str, text: str) -> int:
        """Add the text on a line of its own to the end of a file; return the bytes it then has."""

        def extended() -> bytes:
            try:
                old = self._bytes(path)
            except FileNotFoundError:
                old = b""
            separator = b"\n" if old and not old.endswith(b"\n") else b""
            return old + separator + _encoded(text)

        return self._replace(path, extended)

    def create(self, path: str) -> bool:
        """Make an empty file; False when there is a file already, which stays as it is."""
        with _explained(path):
            try:
                self._bytes(path)
            except FileNotFoundError:
                self.write(path, "")
                return True
        return False

    def copy(self, path: str, target: str) -> int:
        """Copy a file over `target`; return its bytes."""
        with _explained(path):
            data = self._bytes(path)
        return self._replace(target, lambda: data)

    def move(self, path: str, target: str) -> None:
        """Give a file or directory another name; one that is taken is refused."""
        source, goal = self._named(path), self._named(target)
        with self._changing(path), opened_directory(self.root, source[:-1]) as here:
            os.stat(source[-1], dir_fd=here, follow_symlinks=False)
            self._room_for(goal[:-1])
            with opened_directory(self.root, goal[:-1], make=True) as there:
                if _exists(goal[-1], there):
                    raise FileRefused(f"{target} already exists")
                os.rename(source[-1], goal[-1], src_dir_fd=here, dst_dir_fd=there)
                os.fsync(there)
            os.fsync(here)

    def delete(self, path: str) -> None:
        """Delete a file."""
        parts = self._named(path)
        with self._changing(path), opened_directory(self.root, parts[:-1]) as directory:
            if stat.S_ISDIR(os.stat(parts[-1], dir_fd=directory, follow_symlinks=False).st_mode):
                raise FileRefused(f"{path} is a directory")
            os.unlink(parts[-1], dir_fd=directory)
            os.fsync(directory)

    def make_directory(self, path: str) -> bool:
        """Make a directory, with those above it; False when it is there already."""
        parts = self._named(path)
        with self._changing(path):
            self._room_for(parts)
            with opened_directory(self.root, parts[:-1], make=True) as directory:
                made = make_directory(parts[-1], directory)
                if not made and not stat.S_ISDIR(os.stat(parts[-1], dir_fd=directory).st_mode):
                    raise FileRefused(f"{path} is a file")
        return made

    @contextmanager
    def _changing(self, path: str) -> Iterator[int]:
        """Hold the lock of the directory, which is made if need be, and yield its descriptor."""
        with _explained(path), opened_directory(self.root, (), make=True) as root:
            fcntl.flock(root, fcntl.LOCK_EX)
            yield root

    def _named(self, path: str) -> tuple[str, ...]:
        parts = parts_inside(self.root, path)
        if not parts:
            raise FileRefused(f"{path} is a directory")
        if parts[0] == TEMPORARY:
            raise FileRefused(f"{path} is a reserved name")
        return parts

    def _bytes(self, path: str) -> bytes:
        parts = self._named(path)
        with opened_directory(self.root, parts[:-1]) as directory:
            return read_regular(parts[-1], directory, self._limits.file_bytes)

    def _replace(self, path: str, content: Callable[[], bytes]) -> int:
        """Put new bytes in a file so that a crash leaves the old ones or the new ones."""
        parts = self._named(path)
        with self._changing(path) as root:
            data = content()
            if len(data) > self._limits.file_bytes:
                raise FileRefused(f"{path} would be larger than {self._limits.file_bytes} bytes")
            self._room_for(parts, len(data))
            with opened_directory(self.root, parts[:-1], make=True) as directory:
                if _is_directory(parts[-1], directory):
                    raise FileRefused(f"{path} is a directory")
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
                with os.fdopen(os.open(TEMPORARY, flags, 0o600, dir_fd=root), "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(TEMPORARY, parts[-1], src_dir_fd=root, dst_dir_fd=directory)
                os.fsync(directory)
        return len(data)

    def _room_for(self, parts: tuple[str, ...], size: int = 0) -> None:
        """Refuse what would pass the limits, if `parts` were made and then held `size` bytes."""
        used_bytes = used_entries = 0
        for directory, folders, files in os.walk(self.root):
            used_entries += len(folders) + len(files)
            for name in files:
                used_bytes += os.lstat(os.path.join(directory, name)).st_size
        there = self.root.joinpath(*parts)
        replaced = there.stat().st_size if there.is_file() else 0
        if used_bytes - replaced + size > self._limits.total_bytes:
            raise FileRefused(f"the session's files would take more than {self._limits.total_bytes} bytes")
        above = (self.root.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1))
        missing = sum(not path.exists() for path in above)
        if missing and used_entries + missing > self._limits.files:
            raise FileRefused(f"the session would have more than {self._limits.files} files")


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turn what the system refuses into a refusal that names the path as the task wrote it."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileRefused(f"{path}: no such file or directory") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = Code.STORAGE_UNAVAILABLE if full else Code.TASK_FAILED
        raise FileRefused(f"{path}: {reason.lower()}", code) from error


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise FileRefused("the text holds half of a surrogate pair, which UTF-8 cannot carry") from error


def _listed(entry: os.DirEntry[str]) -> Listed:
    if entry.is_symlink():
        return Listed(entry.name, "symlink", 0)
    if entry.is_dir(follow_symlinks=False):
        return Listed(entry.name, "directory", 0)
    if entry.is_file(follow_symlinks=False):
        return Listed(entry.name, "file", entry.stat(follow_symlinks=False).st_size)
    return Listed(entry.name, "other", 0)


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_directory(name: str, directory: int) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
