"""Walls: a bug planted in a session, a link, a worker, a query or a sweep costs that one thing.

Each costs one line in the log and one count in the metrics, and everybody else goes on.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from spiderwebd.core import turn
from spiderwebd.core.protocol import AgentList
from spiderwebd.session import lookups, sweeps
from spiderwebd.session.registry import Registry
from spiderwebd.wire import conversation
from spiderwebd.work.research import ResearchWorker
from tests.flows.planted import SECONDS, plant, served


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
        await bad.say("chat.send", content="/goal search for tea", pauseBefore=1)
        assert await bad.close_code() == 1011
        await good.say("chat.send", content="/goal search for tea", pauseBefore=1)
        await good.until("agent.heartbeat", sequence=2)
        assert house.faults == [("session_fault", "session")]
        assert house.daemon.metrics.faults == {"session": 1}
