"""What the daemon says of itself: operator events, audit records, counts, and its status line for systemd.

The rooms call these as plain functions; none of them waits. An event's fields are those its entry in the
message catalog names (tests/systemd/test_catalog.py compares).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import trio

from spiderwebd import __version__, log, systemd
from spiderwebd.config import ConfigError
from spiderwebd.core.codes import Close
from spiderwebd.log_events import EventName
from spiderwebd.metrics import Metrics
from spiderwebd.pulse import Pulse, resident_bytes
from spiderwebd.session import figures
from spiderwebd.session.registry import Registry
from spiderwebd.store.legacy import ImportReport
from spiderwebd.store.salvage_report import SalvageReport
from spiderwebd.store.writer import Writer
from spiderwebd.tokens import Principal, TokenError
from spiderwebd.wire.certificate import CertificateError
from spiderwebd.wire.door import Door
from spiderwebd.wire.link import LinkEnd

EXTENSION_SECONDS = 30.0
"""How much more time systemd is asked for at once while starting, and beyond the grace while stopping."""
FAULT_EVENTS: dict[str, EventName] = {
    "session": "session_fault",
    "chat": "work_fault",
    "query": "work_fault",
    "task": "work_fault",
    "link": "link_fault",
    "door": "link_fault",
}
"""The operator event of a fault, by the wall that held it; anything else is a loop."""
STATUS_CHARACTERS = 200
"""Of a reason in the status line; the journal has all of it."""

STALLED = "the store does not answer; the disk stalls"

_LOGGER = log.get_logger(__name__)


@dataclass(slots=True)
class Rooms:
    """Where the numbers of the status line and of the gauges are read."""

    registry: Registry
    door: Door
    writer: Writer
    pulse: Pulse


@dataclass(slots=True)
class Reporter:
    """One daemon's voice: to the log, to systemd and to the metrics."""

    metrics: Metrics
    rooms: Rooms | None = None
    """Set when all rooms stand; before that there is nothing to read."""
    ready_json: bool = False
    """Whether readiness is also one JSON line on standard output."""
    _reload_refused: str = ""

    # The service's own life

    def started(self) -> None:
        """Say that the daemon starts."""
        log.event("started", version=__version__)

    def still_starting(self) -> None:
        """Ask systemd for more time: a migration or a recovery keeps the daemon from being ready."""
        systemd.notify(EXTEND_TIMEOUT_USEC=int(EXTENSION_SECONDS * 1_000_000), STATUS="starting")

    def imported(self, report: ImportReport) -> None:
        """Say what was taken over from the predecessor's files."""
        if report.snapshots or report.problems:
            log.event(
                "legacy_imported",
                snapshots=report.snapshots,
                sessions=report.sessions,
                entries=report.entries,
                problems=len(report.problems),
            )
        for problem in report.problems:
            _LOGGER.warning("a file of the earlier program was passed over", reason=problem)

    def ready(self, addresses: Sequence[str]) -> None:
        """Say that clients are served."""
        if self.ready_json:
            line = {"event": "ready", "listen": addresses[0], "addresses": addresses, "version": __version__}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        log.event("ready", listen=", ".join(addresses))
        systemd.notify(READY=1, STATUS=f"serving on {', '.join(addresses)}")

    def reload(self, reload: Callable[[], object]) -> None:
        """Run a reload and say how it went; one that is refused stays in the status line until a good one."""
        systemd.reloading()
        try:
            reload()
        except (ConfigError, CertificateError) as error:
            self._reload_refused = str(error)
            log.event("reload_refused", reason=str(error))
        else:
            self._reload_refused = ""
            log.event("reloaded")
        systemd.notify(READY=1, STATUS=self.status())

    def migrated(self, before: int, after: int) -> None:
        """Say that the tables were brought to this version's; called in the store's thread."""
        log.event("database_migrated", before=before, after=after)

    def draining(self, grace_seconds: float) -> None:
        """Say that the daemon stops, and ask systemd for the time it may take."""
        log.event("stopping", grace_seconds=grace_seconds)
        systemd.notify(
            STOPPING=1,
            STATUS=f"draining for at most {grace_seconds:g} s",
            EXTEND_TIMEOUT_USEC=int((grace_seconds + EXTENSION_SECONDS) * 1_000_000),
        )

    def stopped(self) -> None:
        """Say that the daemon has stopped."""
        log.event("stopped")

    def status(self) -> str:
        """Return the status line: what the daemon is busy with, and what an operator should look at."""
        if self.rooms is None:
            return "starting"
        writer = self.rooms.writer
        parts = [
            f"{len(self.rooms.registry.awake)} sessions awake, {self.rooms.door.links} links, "
            f"{writer.statistics.depth} writes queued, {self._last_heartbeat()}"
        ]
        trouble = writer.degraded or (STALLED if self.rooms.pulse.stalled else "")
        if trouble:
            parts.append(f"storage degraded: {trouble}")
        if self.rooms.pulse.overload.reason:
            parts.append(f"overloaded: {self.rooms.pulse.overload.reason}")
        if self._reload_refused:
            parts.append(f"last reload refused: {self._reload_refused[:STATUS_CHARACTERS]}")
        return "; ".join(parts)

    def _last_heartbeat(self) -> str:
        if not self.metrics.last_heartbeat_ms:
            return "no heartbeat yet"
        at = datetime.fromtimestamp(self.metrics.last_heartbeat_ms / 1000, UTC)
        return f"last heartbeat {at:%Y-%m-%d %H:%M:%SZ}"

    # What the rooms tell

    def fault(self, where: str, error: BaseException, key: str = "") -> None:
        """Log and count a bug that a wall held."""
        self.metrics.faults[where] += 1
        log.event(FAULT_EVENTS.get(where, "loop_fault"), where=where, session=key, exc_info=error)

    def attached(self, principal: Principal, agent: str, key: str, peer: str) -> None:
        """Put down who attached to which session, and from where."""
        self.metrics.links_opened += 1
        log.event(
            "attach", principal=principal.name, role=principal.role.value, agent=agent, session=key, peer=peer
        )

    def refused(self, peer: str) -> None:
        """Put down that somebody came without a valid token."""
        log.event("authentication_refused", peer=peer)

    def link_ended(self, end: LinkEnd, key: str) -> None:
        """Count a link that did not take its events in time."""
        if end.code == Close.SLOW_CONSUMER:
            self.metrics.outbox_drops += 1
        _LOGGER.debug("link ended", code=end.code, reason=end.reason, session=key)

    def tokens_unreadable(self, error: TokenError) -> None:
        """Say why nobody gets in."""
        _LOGGER.error("tokens cannot be checked; nobody gets in", reason=str(error))

    def identity(self, agent: str, message: str) -> None:
        """Say what is wrong with an agent's identity files."""
        _LOGGER.warning("an identity file has a fault", agent=agent, reason=message)

    def overload(self, reason: str, seconds: float, refused: int) -> None:
        """Say that new links are shed, and why; an empty reason ends it, with how bad it was."""
        if reason or self.rooms is None:
            log.event("overload_began", reason=reason)
            return
        worst = self.rooms.pulse.overload.worst
        log.event(
            "overload_ended",
            seconds=round(seconds, 1),
            links_refused=refused,
            lag_seconds=round(worst.lag_seconds, 2),
            store_seconds=round(worst.store_seconds, 2),
            memory_bytes=worst.memory_bytes,
        )

    def clock_stepped(self, seconds: float) -> None:
        """Say that the system's wall clock was set, and by how much."""
        log.event("clock_stepped", seconds=round(seconds, 3))

    def salvaged(self, report: SalvageReport) -> None:
        """Say what was saved of a damaged database."""
        log.event("storage_salvaged", reason=report.summary)

    def storage(self, degraded: bool, reason: str) -> None:
        """Say that the disk cannot be written, or can again."""
        if degraded:
            log.event("storage_degraded", reason=reason)
        else:
            log.event("storage_recovered")

    def stalled(self, stalled: bool) -> None:
        """Say that the store stopped answering, or answers again."""
        self.storage(stalled, STALLED)

    def refresh(self) -> None:
        """Set the gauges that somebody else counts; called before the metrics are rendered."""
        if self.rooms is None:
            return
        metrics, writer = self.metrics, self.rooms.writer.statistics
        figures.collect(metrics, self.rooms.registry)
        metrics.links = self.rooms.door.links
        metrics.log_drops = log.dropped()
        metrics.store_queue = metrics.queue_depth["store"] = writer.depth
        metrics.queue_oldest_seconds["store"] = writer.oldest_seconds
        metrics.overloaded = bool(self.rooms.pulse.overload.reason)
        metrics.loop_tasks = trio.lowlevel.current_statistics().tasks_living
        metrics.storage_degraded = self.rooms.writer.degraded is not None or self.rooms.pulse.stalled
        metrics.storage_backlog_bytes = writer.backlog_bytes
        metrics.resident_bytes = resident_bytes()
