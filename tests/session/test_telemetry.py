"""How far a running task is: the latest word of each, without a seq, and not more often than a watch."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from spiderwebd.session.sweeps import telemetry_sweep
from tests.session.household import HeldDesk, Listener, key_of, open_household

GOAL = "/goal find a; find b"


def words(link: Listener) -> list[tuple[int, str]]:
    """(task, what it said) of the telemetry that a link heard."""
    return [
        (frame["taskId"], frame["message"])
        for frame in link.of_type("agent.progress")
        if frame["status"] == "working"
    ]


async def test_the_latest_word_of_each_task_is_told_and_nothing_of_it_is_kept(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A thousand words are one frame a task; silence is none; a client that comes back is not told them."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk) as household, trio.open_nursery() as nursery:
        household.house.watch_seconds = 1.0
        nursery.start_soon(telemetry_sweep, household.registry)
        link, other = await household.attach(), await household.attach()
        link.say("chat.send", id="g", content=GOAL)
        with trio.fail_after(20):
            while len(desk.progress) < 2:
                await trio.testing.wait_all_tasks_blocked()
        assert words(link) == []
        for number in range(1000):
            desk.progress["find a"].say(f"{number} of 1000")
        desk.progress["find b"].say("half of it")
        await trio.sleep(5)
        assert sorted(words(link)) == [(1, "999 of 1000"), (2, "half of it")]
        assert household.metrics.progress_coalesced == 999
        desk.progress["find a"].say("all of it")
        await trio.sleep(5.5)  # between two sweeps: what is said now and ends now is not told
        assert words(link)[2:] == [(1, "all of it")]
        told = [frame for frame in link.frames if frame.get("status") == "working"]
        assert not [frame for frame in told if "seq" in frame]
        assert words(other) == []
        desk.go.set()
        await link.until(lambda frame: frame["type"] == "session.receive")
        desk.progress["find a"].say("too late")
        await trio.sleep(5)
        assert len(words(link)) == 3
        seqs = [frame["seq"] for frame in link.frames if "seq" in frame and frame["type"] != "session.ack"]
        assert seqs == list(range(1, len(seqs) + 1))
        again = await household.attach(key_of(link), 0)
        await again.until(lambda frame: frame["type"] == "session.receive")
        assert words(again) == []
        assert household.faults == []
        nursery.cancel_scope.cancel(reason="test ends")
