"""Which way a new link is carried, by LinkLimits.fast."""

from __future__ import annotations

import trio.abc

from spiderwebd.wire.link import Link, LinkLimits
from spiderwebd.wire.listen import Peer


def link_on(stream: trio.abc.Stream, peer: Peer, limits: LinkLimits) -> Link:
    """Return a link on a stream that stands before its checked upgrade request."""
    if limits.fast:
        return Link(stream, peer, limits)
    from spiderwebd.wire.plain import PlainLink  # its libraries need not be there to be ready

    return PlainLink(stream, peer, limits)
