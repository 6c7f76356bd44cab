"""What a frame from a link may do, by how long it waited and what the disk can take."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from tests.session.household import LateRunner, open_household

GOAL = "/goal search for tea; remember that tea is green; report"


async def test_a_request_that_waited_too_long_in_the_inbox_is_refused_and_never_done_late(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Behind a full store queue requests wait in the inbox; past their deadline new work is refused.

    What only looks or stops work is answered even then, and what came in time is done.
    """
    runner = LateRunner()
    async with open_household(tmp_path, runner=runner, inbox_seconds=5.0, queue_submissions=1) as household:
        link = await household.attach()
        runner.held = True
        for number in range(2):  # one on its way to the disk, one that waits for its place in the queue
            link.say("memory.create", id=f"m{number}", content=f"memory {number}")
            await trio.testing.wait_all_tasks_blocked()
        link.say("memory.create", id="late", content="late")
        link.say("chat.send", id="late-goal", content=GOAL)
        link.say("agent.control", id="look", action="state")
        await trio.sleep(4)
        link.say("memory.create", id="young", content="young")
        await trio.sleep(2)
        runner.release()
        await link.until(lambda frame: frame.get("request") == "young")
        told = {frame["request"]: frame for frame in link.frames if "request" in frame}
        for name in ("late", "late-goal"):
            assert told[name]["type"] == "error"
            assert (told[name]["code"], told[name]["limit"]) == ("queue_full", "limits.inbox")
            assert told[name]["retry_after_ms"] > 0
        assert told["look"]["type"] == "agent.state"
        assert {told[name]["type"] for name in ("m0", "m1", "young")} == {"session.accepted"}
        waits = household.metrics.inbox_wait_seconds
        assert waits.total == pytest.approx(6, abs=0.1)
        # The same id again is a new request: nothing of it was kept.
        assert (await link.ask("memory.create", id="late", content="late"))["type"] == "session.accepted"
