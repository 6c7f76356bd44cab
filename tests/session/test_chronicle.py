"""The log tells one goal's story under its request id, and never what was said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import trio.testing

from tests.session.household import open_household


@pytest.fixture
def secret() -> str:
    """A text that must not reach the log."""
    return "the door code is 4711"


def lines_about(caplog: pytest.LogCaptureFixture, request: str) -> list[dict[str, Any]]:
    """Return the fields of every line that names the request, with its level."""
    found = [
        {**record.msg, "level": record.levelname} for record in caplog.records if isinstance(record.msg, dict)
    ]
    return [line for line in found if line.get("request") == request]


async def test_a_goal_can_be_followed_by_its_request(
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,
    secret: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Acceptance, each task's end and the goal's end stand under the request, in order, without texts."""
    caplog.set_level(logging.DEBUG, logger="spiderwebd")
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.ask("chat.send", id="g-1", content=f"/goal remember that {secret}; fly to the moon")
        await trio.testing.wait_all_tasks_blocked()
    told = [line for line in lines_about(caplog, "g-1") if line["level"] == "INFO"]
    assert [line["event"] for line in told] == [
        "a goal was accepted",
        "a task ended",
        "a task ended",
        "a goal ended",
    ]
    assert [line.get("outcome") for line in told] == [None, "complete", "blocked", "blocked"]
    assert told[2]["code"] == "no_worker"
    assert all(line["goal"] == 1 for line in told)
    assert secret not in caplog.text


async def test_a_chat_stands_at_debug_level_only(
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,
    secret: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line a message would drown the journal at the default level."""
    caplog.set_level(logging.DEBUG, logger="spiderwebd")
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.ask("chat.send", id="c-1", content=secret)
        await trio.testing.wait_all_tasks_blocked()
    assert {line["level"] for line in lines_about(caplog, "c-1")} == {"DEBUG"}
    assert secret not in caplog.text
