"""The whole daemon in this process, so that bugs can be planted in it; the sockets and the files are real."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from typing_extensions import override

from spiderwebd import log
from spiderwebd.config import load
from spiderwebd.daemon import Daemon
from spiderwebd.session.registry import Registry
from spiderwebd.session.session import Session
from tests.wire.loopback import PING, TEXT, RawClient, frame, upgrade

SECONDS = 20.0
FAULTS = ("session_fault", "work_fault", "link_fault", "loop_fault")

Frame = dict[str, Any]


@dataclass(slots=True)
class Announced(Daemon):
    """A daemon that says to the test where it listens."""

    ready: trio.Event = field(default_factory=trio.Event)
    address: str = ""

    @override
    def _say_ready(self, endpoints: Any) -> None:
        # super() without arguments does not find the class that slots=True made anew.
        Daemon._say_ready(self, endpoints)
        self.address = endpoints[0].address
        self.ready.set()


@dataclass
class Served:
    """The running daemon, its token, and every operator event it logged."""

    daemon: Announced
    token: str
    lines: list[tuple[str, dict[str, object]]]
    told: trio.Event = field(default_factory=trio.Event)
    """Set when a line was logged; another one then."""

    @property
    def sessions(self) -> list[Session]:
        """Every awake session."""
        registry = self.daemon._storage_changed.__self__  # type: ignore[attr-defined]  # its note_storage
        assert isinstance(registry, Registry)
        return list(registry.awake.values())

    async def until_fault(self) -> None:
        """Wait until a fault is in the log."""
        with trio.fail_after(SECONDS):
            while not self.faults:
                await self.told.wait()

    @property
    def faults(self) -> list[tuple[str, object]]:
        """(event, where) of each fault in the log."""
        return [(name, fields["where"]) for name, fields in self.lines if name in FAULTS]

    @asynccontextmanager
    async def link(self, key: str | None = None, after: int | None = None) -> AsyncIterator[Link]:
        """Open a link and read its session.ack."""
        query = "" if key is None else f"?session={key}" + ("" if after is None else f"&after={after}")
        host, _, port = self.daemon.address.rpartition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            client = RawClient(stream)
            token = f"Authorization: Bearer {self.token}".encode()
            await client.send(upgrade(f"/v1/agents/default/stream{query}", token))
            assert (await client.read_head()).startswith(b"HTTP/1.1 101 ")
            link = Link(client)
            link.ack = await link.until("session.ack")
            yield link


class Link:
    """A client's end."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self.ack: Frame = {}

    @property
    def address(self) -> str:
        """Its end as the daemon sees it."""
        assert isinstance(self._client.stream, trio.SocketStream)
        host, port = self._client.stream.socket.getsockname()
        return f"{host}:{port}"

    @property
    def key(self) -> str:
        """The session key that session.ack told."""
        key: str = self.ack["sessionKey"]
        return key

    async def say(self, kind: str, /, **fields: object) -> None:
        """Send a client frame."""
        await self._client.send(frame(TEXT, json.dumps({"type": kind, **fields}).encode()))

    async def until(self, kind: str, /, **fields: object) -> Frame:
        """Hear frames up to the first of this type with these fields."""
        while True:
            opcode, payload = await self._client.read_frame()
            if opcode == PING:
                continue
            assert opcode == TEXT, (opcode, payload)
            heard: Frame = json.loads(payload)
            if heard["type"] == kind and all(heard.get(name) == fields[name] for name in fields):
                return heard

    async def works(self) -> None:
        """Prove that the session at the other end answers from disk and memory."""
        await self.say("chat.send", id="works", content="still here?")
        await self.until("session.receive", request="works")

    async def hang_up(self) -> None:
        """Break the connection."""
        await trio.aclose_forcefully(self._client.stream)

    async def close_code(self) -> int:
        """Hear frames until the link ends, and return its close code."""
        code = await self._client.read_close()
        await self._client.stream.aclose()
        return code


@asynccontextmanager
async def served(
    folder: Path, monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Served]:
    """Run the daemon on loopback until the block ends."""
    lines: list[tuple[str, dict[str, object]]] = []

    def event(name: str, /, **fields: object) -> None:
        lines.append((name, fields))
        house.told.set()
        house.told = trio.Event()

    configuration = folder / "empty.toml"
    configuration.touch()
    options = {
        "listen.address": "127.0.0.1:0",
        "state.directory": str(folder / "state"),
        "heartbeat.interval_seconds": "0.2",
        "heartbeat.jitter_seconds": "0",
        "sessions.hibernate_seconds": "0.6",
        **(settings or {}),
    }
    read = partial(load, configuration, {}, {}, options)
    daemon = Announced(read(), reload=read)
    house = Served(daemon, "", lines)
    monkeypatch.setattr(log, "event", event)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon.main)
        with trio.fail_after(SECONDS):
            await daemon.ready.wait()
        house.token = (folder / "state" / "token").read_text().strip()
        yield house
        daemon._stop.set()


def plant(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, when: Callable[..., bool]) -> None:
    """Make a function raise for the calls that `when` picks."""
    real = getattr(target, name)

    def broken(*arguments: Any, **more: Any) -> Any:
        if when(*arguments):
            raise ZeroDivisionError("planted")
        return real(*arguments, **more)

    monkeypatch.setattr(target, name, broken)
