"""One link of the saturation program: raw websocket frames over trio, every frame kept account of."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio

from tests.bench.frames import CLOSE, PING, PONG, TEXT, client_frame

Frame = dict[str, Any]

CONNECT_SECONDS = 20.0
RECEIVE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Target:
    """Where the daemon is."""

    host: str
    port: int
    token: str
    path: str = "/v1/agents/default/stream"


class ShedError(Exception):
    """The door or the session said no; try again after `seconds`."""

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


class EndedError(Exception):
    """The link has ended; `code` is its close code, 1006 when it just broke."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Peer:
    """A client's side of one link. One task may receive, any may send."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.ack: Frame = {}
        self.received_bytes = 0
        self._data = b""
        self._lock = trio.Lock()

    @classmethod
    async def open(
        cls,
        target: Target,
        key: str | None = None,
        after: int | None = None,
        receive_buffer: int | None = None,
        seconds: float = CONNECT_SECONDS,
    ) -> Peer:
        """Connect, upgrade and read session.ack. Raises ShedError, EndedError, OSError, trio.TooSlowError."""
        with trio.fail_after(seconds):
            sock = trio.socket.socket()
            try:
                if receive_buffer is not None:
                    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
                await sock.connect((target.host, target.port))
                peer = cls(trio.SocketStream(sock))
                await peer._upgrade(target, key, after)
                peer.ack = await peer.receive()
            except BaseException:
                sock.close()
                raise
            if peer.ack["type"] == "error":
                sock.close()
                raise ShedError(peer.ack["code"], peer.ack.get("retry_after_ms", 1000) / 1000)
            return peer

    async def _upgrade(self, target: Target, key: str | None, after: int | None) -> None:
        query = "" if key is None else f"?session={key}" + ("" if after is None else f"&after={after}")
        nonce = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET {target.path}{query} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\nAuthorization: Bearer {target.token}\r\n\r\n"
        )
        try:
            await self.stream.send_all(head.encode())
            while b"\r\n\r\n" not in self._data:
                await self._more()
        except trio.BrokenResourceError:
            raise EndedError(1006) from None
        answer, _, self._data = self._data.partition(b"\r\n\r\n")
        status = answer.partition(b"\r\n")[0].decode("latin-1")
        if " 101 " not in status:
            wait = re.search(rb"(?i)retry-after: *(\d+)", answer)
            raise ShedError(status, float(wait[1]) if wait else 1.0)

    async def _more(self) -> None:
        try:
            data = await self.stream.receive_some(RECEIVE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise EndedError(1006) from None
        if not data:
            raise EndedError(1006)
        self.received_bytes += len(data)
        self._data += data

    async def send(self, *frames: Frame) -> None:
        """Send frames in one write. Raises EndedError."""
        data = b"".join(client_frame(json.dumps(frame).encode(), os.urandom(4)) for frame in frames)
        await self.send_bytes(data)

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are. Raises EndedError."""
        try:
            async with self._lock:
                await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise EndedError(1006) from None

    async def receive(self) -> Frame:
        """Return the next text frame; answers pings. Raises EndedError."""
        while True:
            await trio.lowlevel.checkpoint()
            while (taken := self._take()) is None:
                await self._more()
            opcode, payload = taken
            if opcode == TEXT:
                frame: Frame = json.loads(payload)
                return frame
            if opcode == PING:
                await self.send_bytes(client_frame(payload, os.urandom(4), PONG))
            elif opcode == CLOSE:
                raise EndedError(int.from_bytes(payload[:2], "big") if payload else 1005)

    def _take(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 2:
            return None
        length, body = data[1], 2
        if length > 125:
            wide = 2 if length == 126 else 8
            if len(data) < body + wide:
                return None
            length, body = int.from_bytes(data[body : body + wide], "big"), body + wide
        if len(data) < body + length:
            return None
        self._data = data[body + length :]
        return data[0] & 0x0F, data[body : body + length]

    async def close(self) -> None:
        """Say goodbye as far as it is taken at once, and close the socket."""
        with trio.move_on_after(1.0, shield=True):
            try:
                await self.send_bytes(client_frame((1000).to_bytes(2, "big"), os.urandom(4), CLOSE))
                while True:
                    await self.receive()
            except EndedError:
                pass
        await trio.aclose_forcefully(self.stream)


async def open_patiently(
    target: Target,
    key: str | None,
    after: int | None,
    on_shed: Callable[[str], None],
    deadline: float,
    seconds: float = CONNECT_SECONDS,
) -> Peer:
    """Open a link, again after each refusal as long as it says, until `deadline` (trio time).

    One attempt may take `seconds`: a load that has no time to read what it is answered must not give up what
    was served, and have it served again. Raises trio.TooSlowError when it never was let in.
    """
    with trio.fail_at(deadline):
        while True:
            try:
                return await Peer.open(target, key, after, seconds=seconds)
            except ShedError as shed:
                on_shed(str(shed))
                await trio.sleep(shed.seconds)
            except (EndedError, OSError, trio.TooSlowError) as error:
                on_shed(f"{type(error).__name__}: {error}")
                await trio.sleep(0.2)
