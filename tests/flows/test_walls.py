"""Walls: a bug planted in a session, a link, a worker, a query or a sweep costs that one thing.

The whole daemon runs in this process, so that bugs can be planted in it; the sockets are real. Each costs
one line in the log and one count in the metrics, and everybody else goes on.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
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
from spiderwebd.core import turn
from spiderwebd.core.protocol import AgentList
from spiderwebd.daemon import Daemon
from spiderwebd.session import lookups, sweeps
from spiderwebd.session.registry import Registry
from spiderwebd.wire import conversation
from spiderwebd.work.research import ResearchWorker
from tests.wire.loopback import TEXT, RawClient, frame, upgrade

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
            assert opcode == TEXT, (opcode, payload)
            heard: Frame = json.loads(payload)
            if heard["type"] == kind and all(heard.get(name) == fields[name] for name in fields):
                return heard

    async def works(self) -> None:
        """Prove that the session at the other end answers from disk and memory."""
        await self.say("chat.send", id="works", content="still here?")
        await self.until("session.receive", request="works")

    async def close_code(self) -> int:
        """Hear frames until the link ends, and return its close code."""
        code = await self._client.read_close()
        await self._client.stream.aclose()
        return code


@asynccontextmanager
async def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """Run the daemon on loopback until the block ends."""
    lines: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(log, "event", lambda name, /, **fields: lines.append((name, fields)))
    configuration = folder / "empty.toml"
    configuration.touch()
    options = {
        "listen.address": "127.0.0.1:0",
        "state.directory": str(folder / "state"),
        "heartbeat.interval_seconds": "0.2",
        "heartbeat.jitter_seconds": "0",
        "sessions.hibernate_seconds": "0.6",
    }
    read = partial(load, configuration, {}, {}, options)
    daemon = Announced(read(), reload=read)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon.main)
        with trio.fail_after(SECONDS):
            await daemon.ready.wait()
        yield Served(daemon, (folder / "state" / "token").read_text().strip(), lines)
        daemon._stop.set()


def plant(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, when: Callable[..., bool]) -> None:
    """Make a function raise for the calls that `when` picks."""
    real = getattr(target, name)

    def broken(*arguments: Any, **more: Any) -> Any:
        if when(*arguments):
            raise ZeroDivisionError("planted")
        return real(*arguments, **more)

    monkeypatch.setattr(target, name, broken)


async def test_a_bug_in_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends that session and its links with 1011; another one goes on, and this one resumes whole."""
    async with served(tmp_path, monkeypatch) as house, house.link() as other, house.link() as link:
        await link.say("memory.create", id="a", content="tea")
        accepted = await link.until("session.accepted")
        plant(monkeypatch, turn, "receive", lambda step, client, frame, fresh: isinstance(frame, AgentList))
        async with house.link(link.key) as second:
            await link.say("agent.list")
            assert await link.close_code() == await second.close_code() == 1011
        await other.works()
        async with house.link(link.key, 0) as back:
            assert await back.until("session.accepted") == accepted
            await back.works()
        assert house.faults == [("session_fault", "session")]
        assert house.daemon.metrics.faults == {"session": 1}


async def test_a_bug_in_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It closes that link with 1011; its session and the session's other link go on."""
    async with served(tmp_path, monkeypatch) as house, house.link() as other, house.link() as link:
        plant(monkeypatch, conversation, "parse", lambda text: "boom" in text)
        async with house.link(link.key) as second:
            await link.say("ping", id="boom")
            assert await link.close_code() == 1011
            await second.works()
            await other.works()
        assert house.faults == [("link_fault", "link")]
        assert house.daemon.metrics.faults == {"link": 1}


async def test_a_bug_in_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails that task with code internal; the goal's other tasks are done and the goal is answered."""
    async with served(tmp_path, monkeypatch) as house, house.link() as link:
        plant(monkeypatch, ResearchWorker, "__call__", lambda *arguments: True)
        await link.say("chat.send", id="g", content="/goal search for tea; remember tea is green")
        failed = await link.until("agent.status", taskId=1)
        assert (failed["status"], failed["code"]) == ("failed", "internal")
        assert (await link.until("agent.status", taskId=2))["status"] == "complete"
        await link.until("session.receive", request="g")
        await link.works()
        assert house.faults == [("work_fault", "task")]
        assert house.daemon.metrics.faults == {"task": 1}


async def test_a_bug_in_a_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered with code internal, and nothing else is lost."""
    async with served(tmp_path, monkeypatch) as house, house.link() as link:
        plant(monkeypatch, lookups, "agent_view", lambda agent: True)
        await link.say("agent.list", id="q")
        assert (await link.until("error", request="q"))["code"] == "internal"
        await link.works()
        assert house.faults == [("work_fault", "query")]
        assert house.daemon.metrics.faults == {"query": 1}


async def test_a_bug_in_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One broken visit is one line; the sweep goes on with the next."""
    visited = trio.Event()
    calls: list[None] = []
    real = Registry.hibernate

    def hibernate(self: Registry) -> None:
        calls.append(None)
        if len(calls) == 1:
            raise ZeroDivisionError("planted")
        visited.set()
        real(self)

    monkeypatch.setattr(Registry, "hibernate", hibernate)
    async with served(tmp_path, monkeypatch) as house, house.link() as link:
        with trio.fail_after(SECONDS):
            await visited.wait()
        await link.works()
        assert house.faults == [("loop_fault", "hibernation")]
        assert house.daemon.metrics.faults == {"hibernation": 1}


async def test_a_bug_in_one_session_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session whose heartbeat cannot be reckoned does not keep the others from theirs."""
    async with served(tmp_path, monkeypatch) as house, house.link() as bad, house.link() as good:
        plant(monkeypatch, sweeps.suggestions, "due_at", lambda state: state.key == bad.key)
        assert await bad.close_code() == 1011
        await good.say("chat.send", content="/goal search for tea", pauseBefore=1)
        await good.until("agent.heartbeat", sequence=2)
        assert house.faults == [("session_fault", "session")]
        assert house.daemon.metrics.faults == {"session": 1}
