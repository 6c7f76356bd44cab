"""Records as a session makes them, with little to say about each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio

from spiderwebd.core.records import (
    EntryKind,
    EntryRecord,
    EventRecord,
    Record,
    RequestRecord,
    RequestState,
    SessionRecord,
)
from spiderwebd.store.runner import InlineRunner, Runner, ThreadRunner

NOW_MS = 1_771_150_000_000
"""2026-02-15, a Sunday."""

RUNNERS: dict[str, Callable[[], Runner]] = {"threads": ThreadRunner, "inline": InlineRunner}


def session(sid: int = 1, **changes: Any) -> SessionRecord:
    """A session of principal `ana` with agent `default`."""
    values: dict[str, Any] = {
        "sid": sid, "key": f"key-{sid}", "principal": "ana", "agent": "default", "created_ms": NOW_MS,
        "active_ms": NOW_MS, "next_memory_id": 1, "next_goal_id": 1, "seq": 0, "mode": "running",
        "last_goal": "", "revision": 0, "extra": "{}",
    }  # fmt: skip
    return SessionRecord(**(values | changes))


def entry(memory_id: int, content: str = "a text", sid: int = 1, **changes: Any) -> EntryRecord:
    """A user's entry in RAM, one second after the one before."""
    values: dict[str, Any] = {
        "sid": sid, "memory_id": memory_id, "kind": EntryKind.ENTRY, "role": "user", "content": content,
        "created_ms": NOW_MS + memory_id * 1_000,
    }  # fmt: skip
    return EntryRecord(**(values | changes))


def event(seq: int, sid: int = 1, **changes: Any) -> EventRecord:
    """A journalled frame."""
    values: dict[str, Any] = {
        "sid": sid, "seq": seq, "type": "session.accepted", "request": f"r{seq}",
        "frame": f'{{"type":"session.accepted","seq":{seq}}}', "created_ms": NOW_MS + seq * 1_000,
    }  # fmt: skip
    return EventRecord(**(values | changes))


def request(name: str, sid: int = 1, **changes: Any) -> RequestRecord:
    """A request that was answered."""
    values: dict[str, Any] = {
        "sid": sid, "request": name, "type": "memory.create", "digest": "0" * 16,
        "state": RequestState.ANSWERED, "seq": 1, "memory_id": None, "goal_id": None, "created_ms": NOW_MS,
    }  # fmt: skip
    return RequestRecord(**(values | changes))


def turn(number: int, sid: int = 1, content: str = "a text") -> list[Record]:
    """What a memory.create submits: one entry, one event, one request and the session's row."""
    return [
        entry(number, content, sid),
        event(number, sid),
        request(f"r{number}", sid, seq=number, memory_id=number),
        session(sid, next_memory_id=number + 1, seq=number),
    ]


def ignore(durable: bool) -> None:
    """A `then` for tests that look elsewhere."""


class Collected(list[tuple[int, bool]]):
    """Takes note of every `then`, with the number of its submission."""

    def then(self, number: int) -> Callable[[bool], None]:
        """The callback of one submission."""

        def note(durable: bool) -> None:
            self.append((number, durable))

        return note

    def durable(self) -> Sequence[int]:
        """Numbers of the submissions that were acknowledged as durable, in order."""
        return [number for number, durable in self if durable]


def database(folder: Path) -> Path:
    """Where a test keeps its store."""
    return folder / "spiderwebd.db"


class States(list[bool]):
    """Takes note of every change between degraded (True) and sound (False)."""

    def __init__(self) -> None:
        super().__init__()
        self.sound = trio.Event()

    def note(self, degraded: bool, reason: str) -> None:
        """The hook `on_state`."""
        self.append(degraded)
        if not degraded:
            self.sound.set()
