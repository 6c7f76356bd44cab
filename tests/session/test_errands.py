"""Queries and fetches beside the loop."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from tests.session.household import HeldDesk, open_household


async def test_queries_at_once_are_bounded(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """One query more than allowed is refused with queue_full; when they end, the next is answered."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk, query_limit=2) as household:
        link = await household.attach()
        for request in ("a", "b", "c"):
            link.say("memory.recall", id=request)
        refusal = await link.until(lambda frame: frame["type"] == "error")
        assert (refusal["request"], refusal["code"]) == ("c", "queue_full")
        assert refusal["retry_after_ms"] > 0
        desk.go.set()
        await link.until(lambda frame: frame.get("request") == "b")
        assert (await link.ask("memory.recall", id="d"))["type"] == "memory.recall"
        assert household.metrics.requests_refused == {"queue_full": 1}
