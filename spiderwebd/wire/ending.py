"""How a link ended, for the log, the metrics and the close frame."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spiderwebd.core.codes import CLOSE_MEANINGS, Close
from spiderwebd.wire.framing import cut_reason

ABNORMAL = 1006
"""RFC 6455 section 7.4.1: no close frame came. Never sent, only reported."""


class EndedBy(StrEnum):
    """Who brought a link's end about."""

    DAEMON = "daemon"
    PEER = "peer"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """How a link ended."""

    code: int
    """Websocket close code; 1006 when the socket just went, 1005 when the peer gave none."""
    reason: str
    by: EndedBy


LOST = LinkEnd(ABNORMAL, "the connection was lost", EndedBy.NETWORK)
GONE = LinkEnd(ABNORMAL, "gone before the upgrade", EndedBy.NETWORK)
LATE = LinkEnd(ABNORMAL, "no upgrade in time", EndedBy.NETWORK)


def by_daemon(code: Close, reason: str = "") -> LinkEnd:
    """Describe an end that the daemon decided; without a reason, by the meaning of its code."""
    return LinkEnd(int(code), cut_reason(reason or CLOSE_MEANINGS[code]), EndedBy.DAEMON)
