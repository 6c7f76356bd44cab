"""Talking: one message and its answer, or lines from standard input with live frames in between."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator

from spiderwebd.client.desk import Desk, check
from spiderwebd.client.errors import Exit, UsageError
from spiderwebd.client.request import Request
from spiderwebd.client.stream import SessionStream
from spiderwebd.client.transport import Frame

LINE_BYTES = 1_048_576
"""Longest line of input; the daemon's own limit (messageBytes in session.ack) is far below."""
MOST_UNANSWERED = 16
"""Messages under way at once; more input waits unread."""

CONTROLS = ("state", "pause", "resume", "cancel", "heartbeat")
"""Typed with a slash before it, each is that agent.control. /goal TEXT and /new are the daemon's own."""

_ASIDES = ("session.accepted", "memory.event", "agent.heartbeat")
"""What comes with a message, but is not its answer."""


class LineReader:
    """Whole lines from a descriptor, without a buffer that a selector cannot see."""

    def __init__(self, descriptor: int) -> None:
        """Take an open descriptor; reading blocks, so read when a selector says so."""
        self.descriptor = descriptor
        self.ended = False
        self._buffer = b""

    def read(self) -> Iterator[str]:
        """Read once and yield the lines that are now whole; a last line needs no line feed.

        Raises UsageError for a line beyond LINE_BYTES.
        """
        data = os.read(self.descriptor, 65_536)
        self.ended = not data
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if self.ended and self._buffer:
            lines.append(self._buffer)
            self._buffer = b""
        if len(self._buffer) > LINE_BYTES:
            raise UsageError(f"a line of input is longer than {LINE_BYTES} bytes")
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")


def say(desk: Desk, text: str) -> Exit:
    """Send one message and print its answer; a message that is a goal is followed to its end."""

    def shows(request: Request, frame: Frame) -> bool:
        if frame.get("request") != request.id:
            return False
        return desk.output.as_json or request.goal_id is not None or frame["type"] not in _ASIDES

    return desk.ask({"type": "chat.send", "content": text}, shows=shows, patient=True)


def converse(desk: Desk, descriptor: int) -> Exit:
    """Send every line of a descriptor as a message and print what comes; ends with the input.

    Returns the first exit code of a message that was not answered, else DONE.
    """
    with desk.open(resume=True) as stream:
        return _Conversation(desk, stream, LineReader(descriptor)).run()


class _Conversation:
    def __init__(self, desk: Desk, stream: SessionStream, reader: LineReader) -> None:
        self._desk = desk
        self._stream = stream
        self._reader = reader
        self._lines: deque[str] = deque()
        self._pending: dict[str, Request] = {}
        self._exit = Exit.DONE

    def run(self) -> Exit:
        reader = self._reader
        while True:
            self._send_lines()
            if reader.ended and not self._pending and not self._lines:
                return self._exit
            listens = not reader.ended and not self._lines
            frame = self._stream.receive(self._patience(), reader.descriptor if listens else None)
            if frame is None:
                self._lines.extend(line for line in reader.read() if line.strip())
            else:
                self._take(frame)

    def _patience(self) -> float:
        """Only the answers to the last messages have a bound: a user may think, a goal may run."""
        waits_for_goal = any(request.goal_id is not None for request in self._pending.values())
        return self._desk.answer_seconds if self._reader.ended and not waits_for_goal else math.inf

    def _send_lines(self) -> None:
        while self._lines and len(self._pending) < MOST_UNANSWERED:
            line = self._lines.popleft()
            command = line.strip().removeprefix("/")
            if line.strip() == "/quit":
                self._lines.clear()
                self._reader.ended = True
                return
            if line.startswith("/") and command in CONTROLS:
                frame: Frame = {"type": "agent.control", "action": command}
            else:
                frame = {"type": "chat.send", "content": line}
            request = self._stream.send(frame)
            self._pending[request] = Request(frame, request)

    def _take(self, frame: Frame) -> None:
        check(frame)
        request = self._pending.get(str(frame.get("request")))
        if request is not None and request.take(frame) and request.ended:
            del self._pending[request.id]
            if self._exit is Exit.DONE:
                self._exit = request.exit
        if self._desk.output.as_json or frame["type"] != "session.accepted" or "goalId" in frame:
            self._desk.show(frame)
        else:
            self._desk.saw(frame)
