"""The log tells one goal's story under its request id, and never what was said."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio.testing
from structlog.testing import capture_logs

from tests.session.household import open_household


@pytest.fixture
def secret() -> str:
    """A text that must not reach the log."""
    return "the door code is 4711"


async def test_a_goal_can_be_followed_by_its_request(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, secret: str
) -> None:
    """Acceptance, each task's end and the goal's end stand under the request, in order, without texts."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        with capture_logs() as lines:
            await link.ask("chat.send", id="g-1", content=f"/goal remember that {secret}; fly to the moon")
            await trio.testing.wait_all_tasks_blocked()
        told = [line for line in lines if line.get("request") == "g-1" and line["log_level"] == "info"]
        assert [line["event"] for line in told] == [
            "a goal was accepted", "a task ended", "a task ended", "a goal ended",
        ]  # fmt: skip
        assert [line.get("outcome") for line in told] == [None, "complete", "blocked", "blocked"]
        assert told[2]["code"] == "no_worker"
        assert all(line["goal"] == 1 for line in told)
        assert secret not in str(lines)


async def test_a_chat_stands_at_debug_level_only(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, secret: str
) -> None:
    """One line a message would drown the journal at the default level."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        with capture_logs() as lines:
            await link.ask("chat.send", id="c-1", content=secret)
            await trio.testing.wait_all_tasks_blocked()
        about = [line for line in lines if line.get("request") == "c-1"]
        assert {line["log_level"] for line in about} == {"debug"}
        assert secret not in str(lines)
