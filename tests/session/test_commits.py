"""Commits: durable before visible, in order, and a disk that takes nothing for a while."""

from __future__ import annotations

import weakref
from pathlib import Path

import trio
import trio.testing

from spiderwebd.core.codes import Close, StorageUnavailable
from spiderwebd.core.records import Record
from spiderwebd.core.state import Step
from spiderwebd.session.commits import Commits, RecordsRefusedError
from spiderwebd.store.writer import Then, Writer
from tests.session.household import HeldDesk, LateRunner, key_of, open_household

GOAL = "search for tea; remember that tea is green; report"


async def test_nothing_is_shown_before_its_commit(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Until the store reports a commit, neither its acknowledgement nor what is behind it is sent."""
    runner = LateRunner()
    async with open_household(tmp_path, runner=runner) as household:
        link = await household.attach()
        runner.held = True
        link.say("memory.create", id="a", content="first")
        await trio.testing.wait_all_tasks_blocked()
        link.say("agent.control", id="b", action="state")
        link.say("memory.create", id="c", content="second")
        await trio.testing.wait_all_tasks_blocked()
        link.say("ping")
        await link.until(lambda frame: frame["type"] == "pong")
        await trio.testing.wait_all_tasks_blocked()
        assert [frame["type"] for frame in link.frames] == ["session.ack", "pong"]
        runner.release()
        await link.until(lambda frame: frame.get("request") == "c")
        assert [frame.get("request") for frame in link.frames[2:]] == ["a", "b", "c"]


async def test_pipelined_requests_are_answered_in_order(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Requests sent at once are accepted in the order in which they came, replies in their places."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        for number in range(20):
            link.say("memory.create", id=f"m{number}", content=f"memory {number}")
            link.say("agent.control", id=f"s{number}", action="state")
        await link.until(lambda frame: frame.get("request") == "s19")
        requests = [frame["request"] for frame in link.frames[1:] if frame["type"] != "memory.event"]
        assert requests == [f"{kind}{number}" for number in range(20) for kind in "ms"]


async def test_records_the_schema_refuses_end_the_session(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """When a step's records could never be written, its life is over and the next one starts from disk."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.ask("memory.create", id="a", content="first")
        session = link.session
        assert session is not None
        session.state.seq = 0  # the next event gets a seq that is taken
        link.say("memory.create", id="b", content="second")
        assert (await link.until_closed())[0] is Close.INTERNAL
        assert RecordsRefusedError in [type(error) for _, error, _ in household.faults]
        back = await household.attach(key_of(link), 0)
        await back.until_seq(1)
        assert (await back.ask("memory.create", id="b", content="second"))["seq"] == 2


class FullWriter:
    """The real writer, but as if its backlog were full while `full` is set."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.full = False

    @property
    def accepting(self) -> bool:
        return not self.full and self._writer.accepting

    @property
    def degraded(self) -> str | None:
        return "planted" if self.full else self._writer.degraded

    @property
    def statistics(self) -> object:
        return self._writer.statistics

    has_room = True

    def submit_nowait(self, records: list[Record], then: Then) -> None:
        if self.full:
            raise StorageUnavailable("planted: the backlog is full")
        self._writer.submit_nowait(records, then)

    async def submit(self, records: list[Record], then: Then) -> None:
        if self.full:
            raise StorageUnavailable("planted: the backlog is full")
        await self._writer.submit(records, then)

    async def settled(self) -> None:
        await self._writer.settled()


async def test_a_result_outlives_a_disk_that_takes_nothing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """While nothing can be kept input is refused and the rest answered; results wait, and none is lost."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk) as household:
        writer = FullWriter(household.store.writer)
        household.house.writer = writer  # type: ignore[assignment]  # stands in for a full backlog
        link = await household.attach()
        link.say("chat.send", id="g", content=f"/goal {GOAL}")
        await link.until(lambda frame: frame["type"] == "agent.plan")
        seen = link.seqs[-1]
        writer.full = True
        desk.go.set()
        await trio.testing.wait_all_tasks_blocked()
        refusal = await link.ask("chat.send", id="q", content="hello")
        assert (refusal["request"], refusal["code"]) == ("q", "storage_unavailable")
        assert (await link.ask("ping"))["type"] == "pong"
        assert (await link.ask("agent.control", action="state"))["type"] == "agent.state"
        await trio.sleep(60)  # of the mock clock
        assert link.seqs[-1] == seen
        household.registry.hibernate_seconds = 0
        household.registry.hibernate()
        writer.full = False
        answer = await link.until(lambda frame: frame["type"] == "session.receive")
        assert answer["content"].startswith("Done: ")
        assert link.seqs == list(range(1, link.seqs[-1] + 1))
        assert household.faults == []


async def test_what_waits_for_a_full_disk_is_bounded(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Even pause and resume, which are let through, are refused once as many steps wait as may."""
    async with open_household(tmp_path, inbox_limit=4) as household:
        writer = FullWriter(household.store.writer)
        household.house.writer = writer  # type: ignore[assignment]  # stands in for a full backlog
        link = await household.attach()
        writer.full = True
        for number in range(5):
            link.say("agent.control", id=f"p{number}", action=("pause", "resume")[number % 2])
            await trio.testing.wait_all_tasks_blocked()
        assert [frame["request"] for frame in link.of_type("error")] == ["p4"]
        writer.full = False
        await link.until(lambda frame: frame.get("request") == "p3")
        assert [frame["request"] for frame in link.of_type("agent.state")] == ["p0", "p1", "p2", "p3"]


class Watcher:
    """Who is shown a session's steps."""

    def __init__(self) -> None:
        self.shown: list[bool] = []

    def show(self, step: Step, durable: bool) -> None:
        """Take note."""
        self.shown.append(durable)

    def fail(self, error: BaseException) -> None:
        """Nothing fails here."""
        raise error


async def test_who_has_closed_is_let_go_when_the_last_step_is_shown(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """What the store took before the end is shown, and then nothing holds the one it was shown to."""
    runner = LateRunner()
    async with open_household(tmp_path, runner=runner) as household:
        link = await household.attach()
        assert link.session is not None
        state = link.session.state
        watcher = Watcher()
        shown = watcher.shown
        commits = Commits(household.store.writer, watcher.show, watcher.fail, state.record())
        runner.held = True
        step = Step(state, 1)
        step.journal({"type": "session.note", "message": "the last", "request": "r"})
        assert commits.take_nowait(step)
        commits.close()
        left = weakref.ref(watcher)
        del watcher
        assert left() is not None
        runner.release()
        await trio.testing.wait_all_tasks_blocked()
        assert (shown, left()) == ([True], None)
