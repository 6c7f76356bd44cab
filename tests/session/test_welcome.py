"""What a link hears first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio.testing

from spiderwebd.config_settings import Settings
from spiderwebd.daemon import announced_limits
from tests.session.household import HeldDesk, key_of, open_household


async def test_a_new_session_is_announced_in_one_small_frame(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """session.ack tells key, agent, principal, protocol, where the log stands and the limits, in 2 KB."""
    async with open_household(tmp_path) as household:
        household.house.announced_limits = announced_limits(Settings())
        link = await household.attach()
        await trio.testing.wait_all_tasks_blocked()
        assert len(link.frames) == 1
        ack = link.frames[0]
        assert ack["type"] == "session.ack"
        assert (ack["agentId"], ack["principal"], ack["restored"]) == ("default", "ann", False)
        assert (ack["seq"], ack["firstSeq"], ack["protocol"]) == (0, 1, 1)
        assert ack["limits"]["messageBytes"] == 4096
        assert "resume" in ack["capabilities"]
        assert len(json.dumps(ack)) <= 2048


async def test_a_restored_session_says_where_it_stands(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A known session without work gets the note state_restored with its last goal (compatibility 8.5)."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.answer("chat.send", "g", content="/goal search for tea")
        back = await household.attach(key_of(link))
        assert back.frames[1] == {
            "type": "agent.progress",
            "request": "session-restore",
            "sessionKey": key_of(link),
            "phase": "reconnect",
            "status": "state_restored",
            "message": "Session restored from previous process state: search for tea",
        }


async def test_a_backlog_is_told(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """A session with open work gets the note backpressure_resumed with its counters (compatibility 8.5)."""
    async with open_household(tmp_path, desk=HeldDesk()) as household:
        link = await household.attach()
        link.say("chat.send", content="/goal search for tea; search for milk; search for sugar")
        await link.until(lambda frame: frame["type"] == "agent.plan")
        back = await household.attach(key_of(link))
        note = back.frames[1]
        assert note["status"] == "backpressure_resumed"
        assert note["message"] == (
            "Session restored with backlog: 1 queued, 2 active, 0 dropped tasks from previous run."
        )


@pytest.mark.parametrize("after", [None, 0])
async def test_the_ack_comes_before_everything(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, after: int | None
) -> None:
    """Whatever the link asks to be replayed, session.ack is its first frame, the note its second."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.answer("chat.send", "q", content="hello")
        back = await household.attach(key_of(link), after)
        await trio.testing.wait_all_tasks_blocked()
        assert [frame["type"] for frame in back.frames[:2]] == ["session.ack", "agent.progress"]
        assert back.seqs == ([1, 2] if after == 0 else [])
