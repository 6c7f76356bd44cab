"""The interval loops over awake sessions: heartbeat, memory manager, hibernation.

One loop each over all sessions, never a timer a session: at 10,000 sessions a sweep costs a fraction
of a millisecond, 10,000 sleepers cost several percent of a core (reference/performance.md, 5).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import trio

from spiderwebd.core import suggestions
from spiderwebd.core.compaction import due
from spiderwebd.session.registry import Registry

LONGEST_STEP_SECONDS = 1.0
"""A due heartbeat is seen at most this long after its time."""


async def every(seconds: Callable[[], float], visit: Callable[[], None], fault: Callable[[BaseException], None]) -> None:
    """Call `visit` at fixed slots until cancelled; a slot that was missed is skipped, not made up.

    A bug in one visit is walled: it is reported and the next slot comes as usual.
    """
    slot = trio.current_time()
    while True:
        period = seconds()
        slot = max(slot + period, trio.current_time())
        await trio.sleep_until(slot)
        try:
            visit()
        except Exception as error:
            fault(error)


async def heartbeat_sweep(registry: Registry, jitter_seconds: float, random: Random) -> None:
    """Let sessions whose heartbeat is due speak, whether a client is attached or not."""
    jitter: dict[str, float] = {}

    def visit() -> None:
        now = registry.house.clock.wall_ms()
        for key, session in registry.awake.items():
            due_ms = suggestions.due_at(session.state)
            if due_ms is None:
                jitter.pop(key, None)
                continue
            # Sessions made at the same moment must not all speak at the same moment.
            delay = jitter.setdefault(key, random.uniform(0, jitter_seconds))
            if due_ms == 0 or now >= due_ms + delay * 1000 or now < session.state.beat.get("last_ms", 0):
                session.tick_heartbeat()
                jitter.pop(key, None)
        for key in jitter.keys() - registry.awake.keys():
            del jitter[key]

    await every(lambda: _step(registry.house.rules.heartbeat_ms / 1000), visit, _report(registry, "heartbeat"))


async def memory_manager_sweep(registry: Registry, interval: Callable[[], float]) -> None:
    """Compact sessions above their thresholds between turns; also catches a lowered budget."""

    def visit() -> None:
        for session in registry.awake.values():
            if not session.state.chats and due(session.state.ram, session.state.rules.thresholds):
                session.tick_memory_manager()

    await every(interval, visit, _report(registry, "memory manager"))


async def hibernation_sweep(registry: Registry) -> None:
    """Close sessions that have been quiet for long enough."""
    await every(
        lambda: _step(registry.hibernate_seconds), registry.hibernate, _report(registry, "hibernation")
    )


def _step(interval: float) -> float:
    return min(LONGEST_STEP_SECONDS, max(interval / 5, 0.01))


def _report(registry: Registry, name: str) -> Callable[[BaseException], None]:
    return lambda error: registry.house.on_fault(name, error, "")
