"""A blocking socket to a daemon process that says whatever bytes it is told to, and reads what comes back."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import Any, Self

from tests.wire.loopback import CLOSE, TEXT, frame, upgrade

STREAM = "/v1/agents/default/stream"
PATIENCE = 20.0
Frame = dict[str, Any]


class RawSocket:
    """One TCP connection to `listen` (HOST:PORT)."""

    def __init__(self, listen: str) -> None:
        host, _, port = listen.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE)
        self.buffer = bytearray()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.socket.close()

    def open(self, token: str | None, query: str = "") -> None:
        """Upgrade, with a token or without."""
        lines = [] if token is None else [f"Authorization: Bearer {token}".encode()]
        self.socket.sendall(upgrade(STREAM + query, *lines))
        head = self.read_head()
        assert head.startswith(b"HTTP/1.1 101 "), head

    def say(self, message: Mapping[str, object]) -> None:
        """Send one text message."""
        self.socket.sendall(frame(TEXT, json.dumps(message).encode()))

    def pour(self, data: bytes, seconds: float = PATIENCE, *, polite: bool = False) -> bytes:
        """Send bytes while reading, end our side, and return all that came; a reset is an end too.

        `polite`: our side ends only when a close frame has come.
        """
        left, came, deadline = memoryview(data), bytearray(self.buffer), monotonic() + seconds
        self.socket.setblocking(False)
        with contextlib.suppress(ConnectionError):
            ended = False
            while True:
                readable, writable, _ = select.select(
                    [self.socket], [self.socket] if left else [], [], max(0.0, deadline - monotonic())
                )
                if not readable and not writable:
                    raise TimeoutError(f"no end after {len(came)} bytes, {len(left)} not taken")
                if readable:
                    got = self.socket.recv(1 << 18)
                    if not got:
                        break
                    came += got
                if writable:
                    left = left[self.socket.send(left[: 1 << 16]) :]
                if not left and not ended and (not polite or b"\x88" in came):
                    ended = True
                    self.socket.shutdown(socket.SHUT_WR)
        return bytes(came)

    def reset(self) -> None:
        """End with a reset in place of a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def read_head(self) -> bytes:
        """Read one HTTP head."""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        return head

    def read_frame(self) -> tuple[int, bytes]:
        """Read one frame: opcode and payload. Raises EOFError."""
        head = self._take(2)
        size = head[1]
        if size == 126:
            size = int.from_bytes(self._take(2), "big")
        elif size == 127:
            size = int.from_bytes(self._take(8), "big")
        return head[0] & 0x0F, self._take(size)

    def hear(self) -> Frame:
        """Read the next text message; pings are passed over. Raises EOFError when there is none."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == CLOSE:
                raise EOFError(int.from_bytes(payload[:2], "big"))
            if opcode == TEXT:
                heard: Frame = json.loads(payload)
                return heard

    def until(self, kind: str) -> Frame:
        """Hear messages up to the first of a type."""
        while (heard := self.hear())["type"] != kind:
            pass
        return heard

    def until_closed(self) -> int:
        """Read to the end and return the code of the close frame; 1006 when none came."""
        with contextlib.suppress(ConnectionError):
            try:
                while True:
                    self.hear()
            except EOFError as end:
                return int(end.args[0]) if end.args else 1006
        return 1006

    def _take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self._more()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        self.buffer += data


def serves(listen: str, token: str) -> float:
    """Be an honest client: attach, store a memory, say goodbye; return the seconds it took.

    Raises AssertionError, OSError or EOFError when it is not served.
    """
    began = monotonic()
    with RawSocket(listen) as client:
        client.open(token)
        client.until("session.ack")
        client.say({"type": "memory.create", "id": "honest", "content": "an honest memory"})
        assert client.until("session.accepted")["request"] == "honest"
        served = monotonic() - began
        client.socket.sendall(frame(CLOSE, b"\x03\xe8"))
        assert client.until_closed() == 1000
    return served
