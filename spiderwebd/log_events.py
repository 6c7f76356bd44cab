"""The operator events: what an administrator may watch for, each with a fixed MESSAGE_ID.

An id, once released, keeps its meaning; `journalctl MESSAGE_ID=...` and message catalogs rely on it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

EventName = Literal[
    "started",
    "ready",
    "reloaded",
    "reload_refused",
    "stopping",
    "stopped",
    "failed",
    "configuration_invalid",
    "session_fault",
    "work_fault",
    "link_fault",
    "storage_degraded",
    "storage_recovered",
    "storage_salvaged",
    "authentication_refused",
    "loop_fault",
    "overload_began",
    "overload_ended",
    "clock_stepped",
    "database_migrated",
    "legacy_imported",
    "token_added",
    "token_revoked",
    "control",
    "attach",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One operator event."""

    message_id: str
    """128 random bits, hexadecimal."""
    priority: int
    """As syslog(3) numbers them: 2 critical, 3 error, 4 warning, 5 notice, 6 informational."""
    text: str

    @property
    def level(self) -> int:
        """The level of Python's logging by which the event is filtered."""
        if self.priority <= 2:
            return logging.CRITICAL
        return {3: logging.ERROR, 4: logging.WARNING}.get(self.priority, logging.INFO)


EVENTS: dict[EventName, Event] = {
    "started": Event("264552f5d059a1d231ceaf59f8f1f085", 6, "spiderwebd starts"),
    "ready": Event("e113d6bf328e46eb410ce3ab7d572ba5", 5, "spiderwebd serves"),
    "reloaded": Event("38bb1dc3dedba4e88b51f6dd824a9f03", 5, "the configuration was reloaded"),
    "reload_refused": Event(
        "1c4a1a974521e89d35e29f17da1ef51f",
        3,
        "the new configuration is refused, the old one stays; run `spiderwebd check-config`",
    ),
    "stopping": Event(
        "b716dfbdbcbf1892c7164d13e0767ff6", 5, "spiderwebd stops: no new requests, sessions finish"
    ),
    "stopped": Event("9bf46ba511084a57f130615dee7fbd29", 5, "spiderwebd has stopped"),
    "failed": Event("be4fee2b2dbb4b0f9cdd5a2a9d4a3fd9", 2, "spiderwebd cannot go on"),
    "configuration_invalid": Event(
        "312193840765719567778b92ca131552", 3, "the configuration is refused; run `spiderwebd check-config`"
    ),
    "session_fault": Event(
        "cd1d9fe32b7aae5597e81ef2492ab45f",
        3,
        "a session was ended by a fault of the daemon; it comes back from disk at the next attach",
    ),
    "work_fault": Event(
        "dab048a1445cc378e9df9ce5c6c26dbc",
        3,
        "an answer, a query or a task failed by a fault of the daemon; its session goes on",
    ),
    "link_fault": Event(
        "545f1c8aae5f6936680d37de973de53c",
        3,
        "a link was closed by a fault of the daemon; its session lives on",
    ),
    "storage_degraded": Event(
        "c1c5824ee2b538a87696be84224e8d20",
        2,
        "the disk cannot be written: nothing new is accepted once the backlog is full",
    ),
    "storage_recovered": Event("d4aa797cabeba4e6a880fb33d4513000", 5, "the disk can be written again"),
    "storage_salvaged": Event(
        "6ec55dfd38eb8bc333da0eccc7ba439b",
        2,
        "the database was damaged; it was kept aside and what could be read was saved",
    ),
    "authentication_refused": Event(
        "4682d5fdf7b5cf0f1ce39948d6277a62", 4, "a client was refused: no valid token"
    ),
    "loop_fault": Event(
        "74010ca814f7236eabcd38de8898271c", 2, "a loop of the daemon failed and was started again"
    ),
    "overload_began": Event(
        "a31a810c49bcc8416218e61ac56a9ac7", 4, "the daemon refuses work: a limit is reached"
    ),
    "overload_ended": Event("5450a584899f2018fba6086eea5eca3e", 5, "the daemon accepts work again"),
    "clock_stepped": Event(
        "457027361f255ca767bb5c6959d489c0",
        4,
        "the system's clock was set; what waits keeps its time, and the daemon follows when nothing waits",
    ),
    "database_migrated": Event(
        "8e737ae41a5cbe3ad6eb55a2a2ee5c2e", 5, "the database was brought to the current version"
    ),
    "legacy_imported": Event(
        "41fecd40ad6186f58e22bd240f1cfd0b", 5, "memories of the earlier program were imported"
    ),
    "token_added": Event("d6c8c445e5c38f545c0c92ad1de8e8b3", 5, "a token was added"),
    "token_revoked": Event("765ec09d776e6fbf4c2d3c6236406408", 5, "a token was revoked"),
    "control": Event("89ce5a34344285e19054240074fcd14e", 6, "a client controlled a session"),
    "attach": Event("d66954331ac3fedfbce5f03d077dd1c4", 6, "a client attached to a session"),
}
