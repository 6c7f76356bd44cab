"""Read-only connections: a small pool, one snapshot a read, and a deadline inside SQLite.

A read runs beside the writer (WAL) and sees one moment, whatever is committed meanwhile.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from spiderwebd.core.codes import Code, SpiderwebError, StorageUnavailable
from spiderwebd.store.damage import is_damage

T = TypeVar("T")
Read = Callable[[sqlite3.Connection], T]

READ_SECONDS = 10.0
"""Longest that one read may run; the slowest measured search over a million entries took 2 s."""

CHECK_INSTRUCTIONS = 20_000
"""SQLite virtual machine instructions between two looks at the deadline: about a millisecond."""


class ReadTimeoutError(SpiderwebError):
    """A read ran past its deadline and was stopped; the same question may be asked more narrowly."""

    code = Code.EXPIRED


@dataclass(slots=True)
class _Lane:
    connection: sqlite3.Connection
    generation: int
    deadline: float = 0.0

    def expired(self) -> bool:
        return time.monotonic() > self.deadline


@dataclass(slots=True)
class ReadPool:
    """Connections that are free; `run` may be called from several threads at once."""

    connect: Callable[[], sqlite3.Connection]
    seconds: float = READ_SECONDS
    on_damage: Callable[[str, int], None] = lambda reason, generation: None
    """Called, in the reading thread, with what was noticed and the generation it was noticed in."""
    generation: int = field(default=0, init=False)
    """Grows when another database takes the place of this one."""
    _opening: threading.Lock = field(default_factory=threading.Lock, init=False)
    _free: list[_Lane] = field(default_factory=list, init=False)

    def run(self, function: Read[T]) -> T:
        """Run `function` in one read transaction and return what it returns.

        Raises ReadTimeoutError past the deadline, StorageUnavailable when the file cannot be read.
        """
        lane = self._lane()
        lane.deadline = time.monotonic() + self.seconds
        connection = lane.connection
        try:
            connection.execute("BEGIN")
            result = function(connection)
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            with suppress(sqlite3.Error):
                connection.close()
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise ReadTimeoutError(
                    f"the read was stopped after {self.seconds:g} s; ask for less, or for one session"
                ) from error
            if is_damage(error):
                self.on_damage(f"{type(error).__name__}: {error}, while reading", lane.generation)
            raise StorageUnavailable(f"the store cannot be read: {error}") from error
        except BaseException:
            connection.execute("ROLLBACK")
            self._free.append(lane)
            raise
        self._free.append(lane)
        return result

    def replace(self, swap: Callable[[], object]) -> None:
        """Run `swap`, which puts another database in the place of this one; later reads see that one."""
        with self._opening:
            swap()
            self.generation += 1

    def close(self) -> None:
        """Close the connections that are free; call it when no read is under way."""
        while self._free:
            self._free.pop().connection.close()

    def _lane(self) -> _Lane:
        while True:
            try:
                # Popping is atomic; asking first whether one is free would not be.
                lane = self._free.pop()
            except IndexError:
                return self._open()
            if lane.generation == self.generation:
                return lane
            lane.connection.close()

    def _open(self) -> _Lane:
        try:
            with self._opening:
                lane = _Lane(self.connect(), self.generation)
        except sqlite3.Error as error:
            if is_damage(error):
                self.on_damage(f"{type(error).__name__}: {error}, while opening to read", self.generation)
            raise StorageUnavailable(f"the store cannot be opened for reading: {error}") from error
        lane.connection.set_progress_handler(lane.expired, CHECK_INSTRUCTIONS)
        return lane
