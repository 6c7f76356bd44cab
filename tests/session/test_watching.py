"""Links that watch a session hear of every change, the latest, and of nothing else."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.session.household import HeldDesk, Listener, key_of, open_household

GOAL = "/goal find a; find b; find c"


def states(link: Listener, request: str) -> list[dict[str, object]]:
    """The agent.state frames that a link heard under a request's id, its own answer first."""
    return [frame for frame in link.of_type("agent.state") if frame["request"] == request]


async def test_a_watch_tells_the_latest_and_ends(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Many changes at once are one frame without seq, a quarter of a second after the last; then silence."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk) as household:
        link, other = await household.attach(), await household.attach()
        await link.ask("agent.control", id="w", action="watch")
        start = trio.current_time()
        await trio.sleep(100)
        assert len(states(link, "w")) == 1
        link.say("chat.send", id="c", content="hello")
        link.say("chat.send", id="g", content=GOAL)
        await link.until(lambda frame: frame["type"] == "agent.state" and frame["lifecycle"] == "running")
        for _ in range(5):
            link.say("agent.control", action="pause")
            link.say("agent.control", action="resume")
        await trio.sleep(10)
        told = states(link, "w")
        assert len(told) <= 4
        assert all("seq" not in frame for frame in told)
        last = told[-1]
        assert last["lifecycle"] == "running"
        assert last["queues"] == {"chats": 1, "goals": 1, "tasks": 1, "started": 2, "working": 2}
        state = link.session.state if link.session is not None else None
        assert state is not None
        assert last["revision"] == state.revision
        assert states(other, "w") == []
        await link.ask("agent.control", id="u", action="unwatch")
        desk.go.set()
        await link.until(lambda frame: frame["type"] == "session.receive" and frame["request"] == "g")
        await trio.sleep(10)
        assert len(states(link, "w")) == len(told)
        assert trio.current_time() - start < 200


async def test_pushes_keep_their_distance(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """However often the state changes, two frames of a watch are watch_seconds apart."""
    async with open_household(tmp_path, desk=HeldDesk()) as household:
        household.house.watch_seconds = 2.0
        link = await household.attach()
        await link.ask("agent.control", id="w", action="watch")
        moments: list[float] = []
        with trio.move_on_after(21):
            while True:
                link.say("agent.control", action="pause")
                await trio.sleep(0.1)
                link.say("agent.control", action="resume")
                await trio.sleep(0.05)
                while len(states(link, "w")) > len(moments) + 1:
                    moments.append(trio.current_time())
        assert len(moments) in (9, 10)
        assert min(later - earlier for earlier, later in pairwise(moments)) > 1.8


async def test_revisions_only_grow(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """What a watcher hears has revisions in order, and ends with the state as it is."""
    async with open_household(tmp_path) as household:
        household.house.watch_seconds = 0.001
        link = await household.attach()
        await link.ask("agent.control", id="w", action="watch")
        for number in range(5):
            await link.answer("chat.send", f"g{number}", content=GOAL)
        await trio.sleep(1)
        revisions = [frame["revision"] for frame in states(link, "w")]
        assert revisions == sorted(revisions)  # type: ignore[type-var]  # they are integers
        assert link.session is not None
        assert revisions[-1] == link.session.state.revision
        assert states(link, "w")[-1]["lifecycle"] == "idle"


async def test_a_watcher_that_leaves_is_forgotten(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A link that has gone is sent nothing more and does not keep its session awake."""
    async with open_household(tmp_path, hibernate_seconds=5) as household:
        link, other = await household.attach(), await household.attach()
        await link.ask("agent.control", id="w", action="watch")
        session = link.session
        assert session is not None
        session.detach(link)
        heard = len(link.frames)
        again = await household.attach(key_of(link))
        await again.answer("chat.send", "g", content=GOAL)
        await trio.sleep(1)
        assert len(link.frames) == heard
        assert other.closed is None


async def test_a_failing_disk_is_a_change(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the store is degraded and sound again, who watches is told so: degraded, then idle."""
    async with open_household(tmp_path) as household:
        link, quiet = await household.attach(), await household.attach()
        await link.ask("agent.control", id="w", action="watch")
        with monkeypatch.context() as failing:
            failing.setattr(type(household.store.writer), "degraded", property(lambda writer: "disk full"))
            household.registry.note_storage()
            await trio.sleep(1)
            assert states(link, "w")[-1]["lifecycle"] == "degraded"
        household.registry.note_storage()
        await trio.sleep(1)
        assert [frame["lifecycle"] for frame in states(link, "w")] == ["idle", "degraded", "idle"]
        assert quiet.of_type("agent.state") == []
