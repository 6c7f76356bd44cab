"""The interval loops over awake sessions: heartbeat, memory manager, hibernation.

One loop each over all sessions, never a timer a session: 10,000 sleepers cost several percent of a core
(reference/performance.md, 5). Those that come every second look only at sessions that have something under
way (`core/attention`): to look at each of 10,000 idle ones cost several percent as well.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from random import Random

import trio

from spiderwebd.core import deadlines, suggestions
from spiderwebd.core.compaction import due
from spiderwebd.core.state import Rules
from spiderwebd.session.registry import Registry
from spiderwebd.session.session import Session

LONGEST_STEP_SECONDS = 1.0
"""A due heartbeat is seen at most this long after its time."""
SHORTEST_STEP_SECONDS = 0.01


async def every(
    seconds: Callable[[], float], visit: Callable[[], None], fault: Callable[[BaseException], None]
) -> None:
    """Call `visit` at fixed slots until cancelled; a slot that was missed is skipped, not made up.

    `seconds` is asked before each slot, so that a reload is heeded. A bug in one visit is walled: it is
    reported and the next slot comes as usual.
    """
    slot = trio.current_time()
    while True:
        period = seconds()
        late = trio.current_time() - slot
        slot += period * max(1, ceil(late / period))
        await trio.sleep_until(slot)
        try:
            visit()
        except Exception as error:
            fault(error)


async def heartbeat_sweep(registry: Registry, jitter_seconds: float, random: Random) -> None:
    """Let sessions whose heartbeat is due speak, whether a client is attached or not.

    Each comes after its interval and at most `jitter_seconds` later, the sweep's own step included where
    the jitter is as long as that.
    """
    delays_ms: dict[str, float] = {}

    now = 0

    def visit() -> None:
        nonlocal now
        now = registry.house.clock.wall_ms()
        registry.each_attentive(look_at)
        for key in delays_ms.keys() - registry.house.attentive.keys():
            del delays_ms[key]

    def look_at(session: Session) -> None:
        due_ms = suggestions.due_at(session.state)
        if due_ms is None:
            if delays_ms:
                delays_ms.pop(session.key, None)
            return
        key = session.key
        delay = delays_ms.get(key)
        if delay is None:
            # Sessions made at the same moment must not all speak at the same moment.
            delay = delays_ms[key] = random.uniform(0, max(0.0, jitter_seconds - step())) * 1000
        if due_ms == 0 or now >= due_ms + delay or now < session.state.beat.get("last_ms", 0):
            session.tick_heartbeat()
            registry.house.metrics.heartbeats += 1
            registry.house.metrics.last_heartbeat_ms = now
            del delays_ms[key]

    def step() -> float:
        return _step(registry.house.rules.heartbeat_ms / 1000)

    await every(step, visit, _report(registry, "heartbeat"))


async def memory_manager_sweep(registry: Registry, interval: Callable[[], float]) -> None:
    """Compact sessions above their thresholds between turns; also catches a lowered budget."""

    fitted: Rules | None = None
    """The rules that the memory of every session was last found to fit."""
    exceeding = 0

    def visit() -> None:
        nonlocal fitted, exceeding
        rules, exceeding = registry.house.rules, 0
        if fitted is rules:
            registry.each_attentive(look_at)
            return
        registry.each(look_at)
        # A tick that was not taken (the disk fails) must come again: then once more over all.
        fitted = None if exceeding else rules

    def look_at(session: Session) -> None:
        nonlocal exceeding
        rules, ram = registry.house.rules, session.state.ram
        if ram.budget != rules.budget or due(ram, rules.thresholds):
            exceeding += 1
            if not session.state.chats:
                session.tick_memory_manager()

    await every(interval, visit, _report(registry, "memory manager"))


async def telemetry_sweep(registry: Registry) -> None:
    """Tell how far running tasks are, the latest of each, as often as a watch is told."""
    house = registry.house
    tell = partial(house.telemetry.tell, house.metrics)
    await every(lambda: house.watch_seconds, tell, _report(registry, "telemetry"))


async def deadline_sweep(registry: Registry) -> None:
    """Expire what waits in a queue beyond its deadline, at most one step of the sweep late."""

    def visit() -> None:
        now = registry.house.clock.wall_ms()
        registry.each_attentive(lambda session: look_at(session, now))

    def look_at(session: Session, now: int) -> None:
        if session.state.busy:
            due_ms = deadlines.due_at(session.state)
            if due_ms is not None and due_ms <= now:
                session.tick_deadlines()

    await every(lambda: LONGEST_STEP_SECONDS, visit, _report(registry, "deadlines"))


async def hibernation_sweep(registry: Registry) -> None:
    """Close sessions that have been quiet for long enough."""

    def step() -> float:
        # Nobody waits for a sleep: a session may have it a twelfth later than it could.
        return max(registry.hibernate_seconds / 12, SHORTEST_STEP_SECONDS)

    await every(step, registry.hibernate, _report(registry, "hibernation"))


def _step(interval: float) -> float:
    return min(LONGEST_STEP_SECONDS, max(interval / 5, SHORTEST_STEP_SECONDS))


def _report(registry: Registry, name: str) -> Callable[[BaseException], None]:
    return lambda error: registry.house.on_fault(name, error, "")
