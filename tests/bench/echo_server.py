"""The yardstick: trio-websocket's own server, nothing changed, echoing every message.

Run as a process of its own, on the core of the server that is measured against it:
`python -m tests.bench.echo_server`. Prints the daemon's ready line, ends on SIGTERM.
"""

from __future__ import annotations

import json
import signal
import sys

import trio
import trio_websocket


async def echo(request: trio_websocket.WebSocketRequest) -> None:
    """Send back every message of one link until it closes."""
    link = await request.accept()
    try:
        while True:
            await link.send_message(await link.get_message())
    except trio_websocket.ConnectionClosed:
        pass  # how every link ends


async def main() -> None:
    """Serve on a free port of loopback until SIGTERM."""
    with trio.open_signal_receiver(signal.SIGTERM) as arrivals:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(trio_websocket.serve_websocket, echo, "127.0.0.1", 0, None)
            sys.stdout.write(json.dumps({"event": "ready", "listen": f"127.0.0.1:{server.port}"}) + "\n")
            sys.stdout.flush()
            async for _ in arrivals:
                nursery.cancel_scope.cancel(reason="SIGTERM")
                break


if __name__ == "__main__":
    trio.run(main)
