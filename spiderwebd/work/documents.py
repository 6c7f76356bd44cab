"""Searching the configured document folders: read only, bounded in files, bytes and time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path

from spiderwebd.core.ranking import index_word, terms, words
from spiderwebd.work.confined import FileRefused, read_regular


@dataclass(frozen=True, slots=True)
class Match:
    """The best line of one file."""

    file: str
    """Path below its folder; with several folders the folder's name stands before it."""
    line_number: int
    """From 1."""
    line: str
    distinct: int
    """How many different words of the question the line holds."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a search brought."""

    matches: tuple[Match, ...]
    """Best first."""
    exhaustive: bool
    """False when a limit or the deadline ended the walk early."""


@dataclass(frozen=True, slots=True)
class DocumentFolders:
    """Folders of text files. Hidden names, links, binary and larger files are passed over."""

    folders: Sequence[Path]
    file_bytes: int = 1024 * 1024
    files: int = 2000
    """Files opened in one search."""
    seconds: float = 2.0
    """After this a search ends with what it has; it holds a worker thread while it runs."""
    now: Callable[[], float] = time.monotonic
    """Read in the worker thread, where trio's clock is not to be had."""

    def search(
        self, question: str, limit: int, on_file: Callable[[int], None] = lambda opened: None
    ) -> Findings:
        """Return the best line of each of the `limit` best files. Blocks.

        `on_file` is called in the same thread with how many files were opened, for each.

        A line is as good as the number of distinct words of the question it holds, stemmed and without
        stop words; of equals the first in order of path wins. A folder that cannot be read is empty.
        """
        wanted = {index_word(term) for term in terms(question)}
        if not wanted:
            return Findings((), exhaustive=True)
        walk = _Walk(self, self.now() + self.seconds, on_file)
        found = nsmallest(
            limit,
            (match for path, data in walk if (match := _best_line(path, data, wanted))),
            key=lambda match: (-match.distinct, match.file),
        )
        return Findings(tuple(found), walk.exhaustive)


class _Walk:
    """Yields (name, content) of the files of some folders until a limit is reached."""

    def __init__(self, limits: DocumentFolders, deadline: float, on_file: Callable[[int], None]) -> None:
        self._limits = limits
        self._on_file = on_file
        self._deadline = deadline
        self._opened = 0
        self.exhaustive = True

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        several = len(self._limits.folders) > 1
        for folder in self._limits.folders:
            prefix = folder.name if several else ""
            with suppress(OSError):  # missing, or not for us to read: as good as empty
                yield from self._below(os.path.realpath(folder), prefix)

    def _below(self, top: str, prefix: str) -> Iterator[tuple[str, bytes]]:
        for directory, folders, files, descriptor in os.fwalk(top):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            inside = os.path.join(prefix, os.path.relpath(directory, top))
            for name in sorted(files):
                if self._opened >= self._limits.files or self._limits.now() >= self._deadline:
                    self.exhaustive = False
                    return
                if name.startswith("."):
                    continue
                self._opened += 1
                self._on_file(self._opened)
                try:
                    data = read_regular(name, descriptor, self._limits.file_bytes)
                except (FileRefused, OSError):  # a link, a pipe, too large, or not for us
                    continue
                yield os.path.normpath(os.path.join(inside, name)), data


def _best_line(path: str, data: bytes, wanted: set[str]) -> Match | None:
    if b"\0" in data:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    # Stemming every word of every line is slow; the few spellings that count are found once a file.
    spellings = {word: stem for word in set(words(text)) if (stem := index_word(word)) in wanted}
    if not spellings:
        return None
    best: Match | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        distinct = len({spellings[word] for word in words(line) if word in spellings})
        if distinct > (best.distinct if best else 0):
            best = Match(path, number, line.strip(), distinct)
    return best
