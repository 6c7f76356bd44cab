"""What each room lives by, taken from the settings; a reload takes it again."""

from __future__ import annotations

from spiderwebd.config_settings import Settings
from spiderwebd.core.compaction import Thresholds
from spiderwebd.core.overload import Limits, Overload
from spiderwebd.core.ram import Budget
from spiderwebd.core.state import Rules
from spiderwebd.pulse import soft_memory_limit
from spiderwebd.wire.door import DoorRules
from spiderwebd.wire.framing import FrameLimits
from spiderwebd.wire.link import LinkLimits

MEMORY_RATIO = 0.9
"""Part of the unit's memory.high from which new links are shed: before the kernel slows everything."""


def rules_of(settings: Settings) -> Rules:
    """Return what sessions live by, from the settings."""
    memory, manager = settings.memory, settings.memory_manager
    return Rules(
        budget=Budget(
            max_entries=memory.max_entries,
            max_bytes=memory.max_bytes,
            max_tokens=memory.max_tokens,
            max_tombstones=memory.max_tombstones,
            max_summaries=memory.max_summaries,
            max_summary_bytes=memory.max_summary_bytes,
        ),
        thresholds=Thresholds(
            entry_ratio=manager.entry_ratio, byte_ratio=manager.byte_ratio, batch=manager.batch
        ),
        message_bytes=settings.limits.message_bytes,
        summary_bytes=memory.summary_bytes,
        max_tasks=settings.planner.max_tasks,
        parallel_tasks=settings.workers.per_session,
        goals_queued=settings.limits.goals_queued,
        chats_queued=settings.limits.inbox,
        goal_ms=int(settings.workers.goal_seconds * 1000),
        requests_kept=settings.events.requests_kept,
        heartbeat_ms=int(settings.heartbeat.interval_seconds * 1000),
    )


def announced_limits(settings: Settings) -> dict[str, int]:
    """Return the limits that session.ack tells every client."""
    return {
        "frameBytes": settings.limits.frame_bytes,
        "messageBytes": settings.limits.message_bytes,
        "inbox": settings.limits.inbox,
        "queries": settings.limits.queries,
        "goalsQueued": settings.limits.goals_queued,
        "tasksPerGoal": settings.planner.max_tasks,
        "tasksParallel": settings.workers.per_session,
        "eventsKept": settings.events.keep_count,
        "requestsKept": settings.events.requests_kept,
    }


def link_limits_of(settings: Settings) -> LinkLimits:
    """Return the bounds of one link."""
    limits = settings.limits
    return LinkLimits(
        frames=FrameLimits(
            message_bytes=limits.frame_bytes,
            frames_per_second=limits.frames_per_second,
            burst=int(limits.frames_per_second * 2),
        ),
        fast=limits.fast_links,
        outbox_frames=limits.outbox_frames,
        outbox_bytes=limits.outbox_bytes,
        open_seconds=limits.head_seconds,
        write_seconds=limits.write_seconds,
    )


def overload_of(settings: Settings) -> Overload:
    """Return where overload begins; without a setting the soft memory limit is the unit's own."""
    limits = settings.overload
    memory = limits.memory_bytes or int(soft_memory_limit() * MEMORY_RATIO)
    return Overload(Limits(limits.lag_seconds, limits.store_seconds, memory))


def door_rules_of(settings: Settings) -> DoorRules:
    """Return the bounds of the door."""
    limits = settings.limits
    return DoorRules(
        head_bytes=limits.head_bytes,
        head_seconds=limits.head_seconds,
        handshakes=limits.attach_handshakes,
        links=limits.links,
        allowed_origins=frozenset(settings.listen.allowed_origins),
    )
