"""What each room lives by, taken from the settings; a reload takes it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from spiderwebd import log
from spiderwebd.config import Loaded
from spiderwebd.config_settings import Settings
from spiderwebd.core.compaction import Thresholds
from spiderwebd.core.limits import ANNOUNCED_DEADLINES, LIMITS
from spiderwebd.core.overload import Limits, Overload
from spiderwebd.core.ram import Budget
from spiderwebd.core.state import Rules
from spiderwebd.pulse import soft_memory_limit
from spiderwebd.session.ports import House
from spiderwebd.wire.certificate import Certificate
from spiderwebd.wire.door import DoorRules
from spiderwebd.wire.framing import FrameLimits
from spiderwebd.wire.link import LinkLimits
from spiderwebd.wire.quotas import PrincipalRates

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
        chats_queued=settings.limits.chats_queued,
        goals_total=settings.limits.goals_total,
        tasks_queued=settings.limits.tasks_queued,
        tasks_total=settings.limits.tasks_total,
        goal_ms=int(settings.workers.goal_seconds * 1000),
        chat_ms=int(settings.workers.chat_seconds * 1000),
        queue_ms=int(settings.workers.queue_seconds * 1000),
        requests_kept=settings.events.requests_kept,
        heartbeat_ms=int(settings.heartbeat.interval_seconds * 1000),
    )


def announced_limits(settings: Settings) -> dict[str, int]:
    """Return the client's share of every limit, as session.ack tells it; a rate of 0 is no limit."""
    announced = {limit.announced: _figure(settings, limit.key) for limit in LIMITS if limit.announced}
    announced.update({name: _figure(settings, key) * 1000 for name, key in ANNOUNCED_DEADLINES.items()})
    return {name: int(figure) for name, figure in announced.items()}


def _figure(settings: Settings, key: str) -> float:
    section, _, name = key.partition(".")
    figure: float = getattr(getattr(settings, section), name)
    return figure


def link_limits_of(settings: Settings) -> LinkLimits:
    """Return the bounds of one link."""
    limits = settings.limits
    return LinkLimits(
        frames=FrameLimits(
            message_bytes=limits.frame_bytes,
            frames_per_second=limits.frames_per_second,
            burst=int(limits.frames_per_second * 2),
            bytes_per_second=limits.bytes_per_second,
        ),
        fast=limits.fast_links,
        outbox_frames=limits.outbox_frames,
        outbox_bytes=limits.outbox_bytes,
        open_seconds=limits.head_seconds,
        write_seconds=limits.write_seconds,
    )


def principal_rates_of(settings: Settings) -> PrincipalRates:
    """Return what one principal may send a second, over all its links."""
    limits = settings.limits
    return PrincipalRates(
        attaches=limits.principal_attaches_per_second,
        messages=limits.principal_frames_per_second,
        message_bytes=limits.principal_bytes_per_second,
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


@dataclass(slots=True)
class InForce:
    """The settings in force, and what is made of them that a reload replaces."""

    loaded: Loaded
    read: Callable[[], Loaded]
    """Reads the configuration again; raises ConfigError."""
    house: House | None = None
    certificate: Certificate | None = None
    overload: Overload | None = None
    rates: PrincipalRates = field(init=False)
    link_limits: LinkLimits = field(init=False)

    def __post_init__(self) -> None:
        self.rates = principal_rates_of(self.settings)
        self.link_limits = link_limits_of(self.settings)

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.loaded.settings

    def reload(self) -> None:
        """Take over the configuration and the certificate as their files are now.

        Raises ConfigError or CertificateError, and then everything stays as it was.
        """
        loaded = self.read()
        if self.certificate is not None:
            self.certificate.renew(loaded.settings.listen)
        self.loaded = loaded
        self.rates = principal_rates_of(loaded.settings)
        self.link_limits = link_limits_of(loaded.settings)
        if self.house is not None:
            self.house.rules = rules_of(loaded.settings)
            self.house.announced_limits = announced_limits(loaded.settings)
            # Sessions that are awake keep the inbox that they have.
            self.house.inbox_limit = loaded.settings.limits.inbox
            self.house.inbox_seconds = loaded.settings.limits.inbox_seconds
            self.house.query_limit = loaded.settings.limits.queries
            self.house.watch_seconds = loaded.settings.limits.watch_seconds
        if self.overload is not None:
            self.overload.limits = overload_of(loaded.settings).limits
        log.set_level(loaded.settings.log.level)
