"""A door on loopback with an echo behind it, and a client that writes whatever bytes it is told to."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import trio
import trio.abc

from spiderwebd.tokens import Principal, Role
from spiderwebd.wire.carrier import link_on
from spiderwebd.wire.door import Admitted, Door, DoorRules
from spiderwebd.wire.link import Link, LinkEnd, LinkLimits
from spiderwebd.wire.listen import Endpoint, open_tcp

TOKEN = "sw_test-token"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
"""The example of RFC 6455 section 1.3; its answer is s3pPLMBiTxaQ9kYGzzhZRbK+xOo=."""
MASK = b"\x37\xfa\x21\x3d"
PATIENCE = 10.0
"""Seconds after which a test fails instead of hanging; nothing here waits for time to pass."""


class Path:
    """The way links carry their frames in these tests: both are put to the same tables."""

    fast = True


def on_path(limits: LinkLimits | None) -> LinkLimits:
    """Give limits the path that is being tested."""
    return replace(limits or LinkLimits(), fast=Path.fast)


TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


def upgrade(path: str = "/v1/agents/default/stream", *extra: bytes, without: Iterable[bytes] = ()) -> bytes:
    """Write an upgrade request; `extra` header lines are added, those named in `without` left out."""
    lines = [
        b"Host: localhost",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + KEY,
    ]
    kept = [line for line in lines if line.split(b":")[0] not in set(without)]
    return b"\r\n".join([b"GET " + path.encode() + b" HTTP/1.1", *kept, *extra, b"", b""])


def get(path: str, *extra: bytes, method: bytes = b"GET") -> bytes:
    """Write a plain request."""
    return b"\r\n".join([method + b" " + path.encode() + b" HTTP/1.1", b"Host: localhost", *extra, b"", b""])


def frame(
    opcode: int, payload: bytes = b"", *, final: bool = True, masked: bool = True, rsv: int = 0
) -> bytes:
    """Write a client's frame."""
    size = len(payload)
    bit = 0x80 if masked else 0
    head = bytes([(0x80 if final else 0) | rsv | opcode])
    if size < 126:
        head += bytes([bit | size])
    elif size < 65_536:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    if not masked:
        return head + payload
    mask = MASK * (size // 4 + 1)
    body = int.from_bytes(payload, "big") ^ int.from_bytes(mask[:size], "big")
    return head + MASK + body.to_bytes(size, "big")


@dataclass
class RawClient:
    """A client's end of a stream: sends bytes as they are, reads answers and frames."""

    stream: trio.abc.Stream
    buffer: bytearray = field(default_factory=bytearray)

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def read_to_end(self) -> bytes:
        """Read until the server has closed; a reset counts as closed."""
        await trio.lowlevel.checkpoint()
        with contextlib.suppress(EOFError, trio.BrokenResourceError):
            while True:
                await self._more()
        data, self.buffer = bytes(self.buffer), bytearray()
        return data

    async def read_head(self) -> bytes:
        """Read one HTTP head."""
        await trio.lowlevel.checkpoint()
        while b"\r\n\r\n" not in self.buffer:
            await self._more()
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        return head

    async def read_frame(self) -> tuple[int, bytes]:
        """Read one frame of a server: opcode and payload. Raises EOFError."""
        head = await self._take(2)
        size = head[1]
        if size == 126:
            size = int.from_bytes(await self._take(2), "big")
        elif size == 127:
            size = int.from_bytes(await self._take(8), "big")
        return head[0] & 0x0F, await self._take(size)

    async def read_close(self) -> int:
        """Read frames up to the close frame and return its code; 1006 when none came."""
        await trio.lowlevel.checkpoint()
        try:
            while True:
                opcode, payload = await self.read_frame()
                if opcode == CLOSE:
                    return int.from_bytes(payload[:2], "big")
        except (EOFError, trio.BrokenResourceError):
            return 1006

    async def _take(self, size: int) -> bytes:
        await trio.lowlevel.checkpoint()
        while len(self.buffer) < size:
            await self._more()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def _more(self) -> None:
        with trio.fail_after(PATIENCE):
            data = await self.stream.receive_some()
        if not data:
            raise EOFError
        self.buffer += data


@dataclass
class House:
    """A running door, and what happened behind it."""

    door: Door
    endpoint: Endpoint
    admitted: list[Admitted] = field(default_factory=list)
    clients: list[RawClient] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    ends: list[LinkEnd] = field(default_factory=list)
    faults: list[tuple[str, BaseException]] = field(default_factory=list)

    async def connect(self) -> RawClient:
        """Open a TCP connection to the door."""
        host, _, port = self.endpoint.address.rpartition(":")
        client = RawClient(await trio.open_tcp_stream(host, int(port)))
        self.clients.append(client)
        return client

    async def ask(self, request: bytes) -> bytes:
        """Send a request on a connection of its own and return all that came until it closed."""
        client = await self.connect()
        async with client.stream:
            await client.send(request)
            return await client.read_to_end()

    async def open(self, request: bytes) -> RawClient:
        """Send an upgrade request and read the 101."""
        client = await self.connect()
        await client.send(request)
        head = await client.read_head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        return client

    async def serves_an_honest_client(self) -> bool:
        """Say whether a well-behaved client is served: upgrade, echo, close handshake."""
        client = await self.open(upgrade())
        async with client.stream:
            await client.send(frame(TEXT, b"still there?"))
            answer = await client.read_frame()
            await client.send(frame(CLOSE, b"\x03\xe8"))
            return answer == (TEXT, b"echo: still there?") and await client.read_close() == 1000


def verify(token: str) -> Principal | None:
    """Know one token."""
    return Principal("ann", Role.USER) if token == TOKEN else None


@asynccontextmanager
async def open_house(
    rules: DoorRules | None = None,
    limits: LinkLimits | None = None,
    serve_link: Callable[[Admitted], Awaitable[None]] | None = None,
    endpoint: Endpoint | None = None,
    **callables: object,
) -> AsyncIterator[House]:
    """Run a door; behind it, unless told otherwise, links that echo each text."""

    async def echo(admitted: Admitted) -> None:
        house.admitted.append(admitted)
        link = link_on(admitted.stream, admitted.peer, on_path(limits))
        house.links.append(link)

        async def receive(text: str) -> None:
            link.send(f"echo: {text}")
            await trio.lowlevel.checkpoint()

        house.ends.append(await link.run(receive))

    parts: dict[str, object] = {
        "verify": verify,
        "readiness": lambda: None,
        "metrics": lambda: b"spiderwebd_links 0\n",
        "may_read_metrics": lambda principal, _peer: principal is not None,
        **callables,
    }
    door = Door(
        rules or DoorRules(),
        serve_link=serve_link or echo,
        on_fault=lambda where, fault: house.faults.append((where, fault)),
        **parts,
    )
    house = House(door, endpoint or (await open_tcp("127.0.0.1", 0))[0])
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_listeners, handler_nursery=nursery)
        await nursery.start(serve, door.serve, [house.endpoint.listener])
        try:
            yield house
        finally:
            with trio.move_on_after(PATIENCE, shield=True):
                for client in house.clients:
                    await trio.aclose_forcefully(client.stream)
            nursery.cancel_scope.cancel()
