"""Which way a link goes, and what is not loaded for the other."""

from __future__ import annotations

import subprocess
import sys

import trio
import trio.testing

from spiderwebd.wire.carrier import link_on
from spiderwebd.wire.link import Link, LinkLimits
from spiderwebd.wire.listen import Peer
from spiderwebd.wire.plain import PlainLink

ON_DEMAND = ("trio_websocket", "wsproto", "prometheus_client")


async def test_the_setting_decides() -> None:
    """Our own codec, or trio-websocket throughout."""
    await trio.lowlevel.checkpoint()
    for fast, kind in ((True, Link), (False, PlainLink)):
        stream, _ = trio.testing.memory_stream_pair()
        assert type(link_on(stream, Peer("tcp", "memory"), LinkLimits(fast=fast))) is kind


def test_a_daemon_with_fast_links_loads_no_library_that_it_does_not_use() -> None:
    """To be ready sooner, and smaller; what is asked for later is loaded then."""
    program = (
        f"import sys, spiderwebd.cli, spiderwebd.daemon; print([n for n in {ON_DEMAND} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
