"""Copying the database while the daemon runs.

To restore: stop spiderwebd, put the copy in place of `spiderwebd.db` in the state directory, remove
`spiderwebd.db-wal` and `spiderwebd.db-shm` beside it (they belong to the old file), give the file to
the service's user with mode 0600, and start spiderwebd. A copy made by an older spiderwebd is brought
up to date then; one made by a newer one is refused.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spiderwebd.core.codes import Code, SpiderwebError
from spiderwebd.store.schema import BUSY_SECONDS

STEP_PAGES = 512
"""Pages copied in one step (2 MiB): the read lock of a step is held for milliseconds."""

BACKUP_SECONDS = 3_600.0
"""Longest that a backup may take."""


class BackupError(SpiderwebError):
    """The copy could not be made or is not sound; no file is left at the target."""

    code = Code.STORAGE_UNAVAILABLE


def backup(source: Path, target: Path, seconds: float = BACKUP_SECONDS) -> int:
    """Copy the database `source` to the new file `target` (mode 0600), check it, return its pages.

    The copy is one moment of the database, whatever is written meanwhile, and appears under its name
    only when it is whole, checked and on the disk; until then it is `target` with `.partial`, where what a
    killed backup left is replaced. Raises BackupError: the target exists, another backup to it is running,
    the source cannot be read, the copy fails `PRAGMA integrity_check`, the disk is full, or it took longer
    than `seconds`. Blocks: call it from another process or thread.
    """
    if not source.exists():
        raise BackupError(f"{source} does not exist; is the state directory right?")
    if target.exists():
        raise BackupError(f"{target} exists; choose a new name, backups are not overwritten")
    partial = target.with_name(f"{target.name}.partial")
    with _alone(target, partial):
        try:
            _remove(partial)
            # Made here, so that nobody else can read it at any moment.
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            raise BackupError(f"{partial} cannot be created: {error.strerror}") from error
        try:
            pages = _copy(source, partial, time.monotonic() + seconds)
            _sync(partial)
            # A link fails when the name was taken meanwhile; a rename would overwrite it.
            os.link(partial, target)
            _sync(target.parent)
        except (sqlite3.Error, OSError) as error:
            raise BackupError(f"backup of {source} to {target} failed: {error}") from error
        finally:
            _remove(partial)
    return pages


@contextmanager
def _alone(target: Path, partial: Path) -> Iterator[None]:
    """Be the only backup to `target`; this ends with the block or the process.

    The lock is on a file beside the copy: on NFS an flock of the copy would shut out SQLite's own locks.
    """
    path = partial.with_name(f"{partial.name}.lock")
    held = None
    while held is None:
        try:
            held = _lock(path)
        except BlockingIOError as error:
            raise BackupError(
                f"another backup to {target} is running; wait for its end, or choose another name"
            ) from error
        except OSError as error:
            raise BackupError(f"{path} cannot be created: {error.strerror}") from error
    try:
        yield
    finally:
        # First the name: who still waits for this lock then sees that it is of no more use.
        path.unlink(missing_ok=True)
        os.close(held)


def _lock(path: Path) -> int | None:
    """Return a locked descriptor of `path`, or None when its last holder removed it meanwhile."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove(partial: Path) -> None:
    """Remove an unfinished copy and what SQLite has beside it; its content may have a second name."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        partial.with_name(f"{partial.name}{suffix}").unlink(missing_ok=True)


def _copy(source: Path, target: Path, deadline: float) -> int:
    def progress(status: int, remaining: int, total: int) -> None:
        if time.monotonic() > deadline:
            raise BackupError(f"the backup took too long; {remaining} of {total} pages were left")

    origin = sqlite3.connect(
        f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    try:
        # One read transaction around all steps: else each commit of the daemon would start it over.
        origin.execute("BEGIN")
        origin.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        copy = sqlite3.connect(target, isolation_level=None)
        try:
            origin.backup(copy, pages=STEP_PAGES, progress=progress, sleep=0.0)
            # The copy is one file; the daemon turns it back to WAL when it opens it.
            copy.execute("PRAGMA journal_mode = DELETE")
            problems = [row[0] for row in copy.execute("PRAGMA integrity_check(10)")]
            if problems != ["ok"]:
                raise BackupError(f"the copy of {source} is damaged: {'; '.join(problems)}")
            return int(copy.execute("PRAGMA page_count").fetchone()[0])
        finally:
            copy.close()
    finally:
        origin.close()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
