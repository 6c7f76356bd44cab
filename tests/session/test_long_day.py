"""A day of saturation under the mock clock: what was true in the first hour is true in the last."""

from __future__ import annotations

import gc
import itertools
from collections import Counter
from pathlib import Path
from random import Random

import trio
import trio.testing

from spiderwebd.core.ram import Budget
from spiderwebd.core.state import Rules
from spiderwebd.session.figures import collect
from spiderwebd.session.sweeps import deadline_sweep, hibernation_sweep
from tests.session.household import Household, Listener, key_of, open_household

HOURS = 24
VISITS = 4
"""An hour: every quarter of an hour everybody is there, and asks more than may wait."""
SESSIONS = 4
RULES = Rules(
    budget=Budget(max_entries=16),
    goals_queued=2,
    chats_queued=3,
    goals_total=5,
    tasks_total=12,
    chat_ms=60_000,
    queue_ms=60_000,
    goal_ms=120_000,
    requests_kept=64,
)


async def test_a_day_leaves_nothing_behind(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Issue 5: through 24 hours of full queues and hibernation nothing accepted is lost or left.

    After every hour each request has its outcome and the sums are exact; tasks, awake sessions and
    objects at the end of the day are those of its second hour.
    """
    random, numbers = Random(5), itertools.count()
    heard: Counter[str] = Counter()
    sent: Counter[str] = Counter()
    tasks: list[int] = []
    objects: list[int] = []
    async with (
        open_household(tmp_path, rules=RULES, hibernate_seconds=30) as household,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(deadline_sweep, household.registry)
        nursery.start_soon(hibernation_sweep, household.registry)
        keys: list[str | None] = [None] * SESSIONS
        for _ in range(HOURS):
            for _ in range(VISITS):
                links = [await household.attach(key) for key in keys]
                keys = [key_of(link) for link in links]
                for link in links:
                    for _ in range(8):
                        _ask(link, random, f"q{next(numbers)}", sent)
                await trio.sleep(180)
                for link in links:
                    _count(link, heard)
                    assert link.session is not None
                    link.session.detach(link)
                await trio.sleep(720)
            _balanced(household, sent, heard)
            await trio.sleep(60)
            assert household.registry.awake == {}
            gc.collect()
            tasks.append(trio.lowlevel.current_statistics().tasks_living)
            objects.append(len(gc.get_objects()))
        assert household.faults == []
        nursery.cancel_scope.cancel()
    assert heard["error"] > 0
    assert heard["session.receive"] > HOURS * VISITS
    assert tasks[-1] == tasks[1]
    assert objects[-1] <= objects[1] * 1.02


def _ask(link: Listener, random: Random, request: str, sent: Counter[str]) -> None:
    kind = random.choice(("chat", "goal", "query"))
    sent[kind] += 1
    match kind:
        case "chat":
            link.say("chat.send", id=request, content=f"what of {request}?")
        case "goal":
            link.say("chat.send", id=request, content=f"/goal remember {request}; find {request}; report")
        case _:
            link.say("memory.query", id=request, topic=request)


def _count(link: Listener, heard: Counter[str]) -> None:
    """Count what ended a request: each id must have exactly one end."""
    ends: Counter[str] = Counter()
    for frame in link.frames:
        request = frame.get("request", "")
        ended = frame["type"] in ("session.receive", "error", "memory.query") or (
            frame["type"] == "agent.progress"
            and frame["phase"] == "execution"
            and frame["status"] == "expired"
        )
        if ended and request.startswith("q"):
            ends[request] += 1
            heard[frame["type"]] += 1
    assert set(ends.values()) <= {1}
    heard["ends"] += len(ends)


def _balanced(household: Household, sent: Counter[str], heard: Counter[str]) -> None:
    numbers = household.metrics
    collect(numbers, household.registry)
    ended = numbers.requests_answered + numbers.requests_failed
    ended += numbers.requests_cancelled + numbers.requests_expired
    assert (numbers.requests_running, numbers.requests_queued) == (0, 0)
    assert numbers.requests_accepted == ended
    assert (
        numbers.requests_accepted + numbers.requests_served + numbers.requests_refused.total() == sent.total()
    )
    assert heard["ends"] == sent.total()
    totals = household.house.totals
    assert (totals.goals, totals.tasks) == (0, 0)
