"""A client of a real daemon for the flows: says frames and keeps what it hears."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from spiderwebd.client.connection import Connection
from spiderwebd.client.discovery import Place
from spiderwebd.client.errors import ClientError

SECONDS = 20.0
"""Longest wait for a frame that has to come."""
UNNUMBERED = ("session.ack", "session.gap")
"""Frames whose seq says where the session stands; it is not their own."""

Frame = dict[str, Any]


class Talker:
    """One link; its session.ack is read when it is made."""

    def __init__(
        self, place: Place, key: str | None = None, after: int | None = None, *, agent: str = "default"
    ) -> None:
        self.connection = Connection.open(place, agent, session=key, after=after)
        self.frames: list[Frame] = []
        try:
            self.ack = self.until("session.ack")
        except BaseException:
            self.cut()
            raise
        known = after is not None and self.ack["restored"]
        self._from: int = after if known else self.ack["seq"]

    @property
    def key(self) -> str:
        """The session key that session.ack told."""
        key: str = self.ack["sessionKey"]
        return key

    @property
    def seqs(self) -> list[int]:
        """The seqs of the journalled frames heard so far."""
        return [frame["seq"] for frame in self.story]

    @property
    def story(self) -> list[Frame]:
        """The journalled frames heard so far."""
        return [frame for frame in self.frames if "seq" in frame and frame["type"] not in UNNUMBERED]

    @property
    def seen(self) -> int:
        """The highest seq heard, by this link (a retold answer has an old one) or before it came."""
        return max([self._from, *self.seqs])

    def say(self, kind: str, /, **fields: object) -> None:
        """Send a client frame."""
        self.connection.send({"type": kind, **fields})

    def hear(self) -> Frame:
        """Return the next frame."""
        frame = self.connection.receive(SECONDS)
        assert frame is not None
        self.frames.append(frame)
        return frame

    def until(self, kind: str, /, **fields: object) -> Frame:
        """Hear frames up to the first of this type with these fields."""
        return self.until_true(
            lambda frame: frame["type"] == kind and all(frame.get(name) == fields[name] for name in fields)
        )

    def until_true(self, found: Callable[[Frame], bool]) -> Frame:
        """Hear frames up to the first for which `found` holds."""
        while not found(frame := self.hear()):
            pass
        return frame

    def ask(self, kind: str, /, **fields: object) -> Frame:
        """Send a client frame and return the next frame."""
        self.say(kind, **fields)
        return self.hear()

    def up_to(self, seq: int) -> None:
        """Hear frames until the journalled one with this seq has come; a replay may still be under way."""
        while max(self.seqs, default=0) < seq:
            self.hear()

    def until_closed(self) -> ClientError:
        """Hear frames until the link ends, and return how."""
        while True:
            try:
                self.hear()
            except ClientError as end:
                self.cut()
                return end

    def cut(self) -> None:
        """Close the socket without a word."""
        self.connection._socket.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye."""
        self.connection.close()
