"""In the box: a new client every 5 ms, each of which must be let in.

    load.py TOKEN_FILE

Each client connects by TCP, upgrades and waits for its first frame. Prints "running" when the first
was let in; ends at the end of standard input and prints one JSON line with what became of all.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, "/usr/lib/spiderwebd")

import trio

from spiderwebd.client.address import DEFAULT_PORT

PERIOD = 0.005
PATIENCE = 30.0
HEAD = (
    "GET /v1/agents/default/stream{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n"
)
GOODBYE = bytes([0x88, 0x80, 0, 0, 0, 0])  # a close frame, masked with zeros


class Load:
    """Counts of how clients fared."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.query = ""
        self.outcomes: Counter[str] = Counter()
        self.worst = 0.0

    async def client(self) -> bytes:
        """Be one client; return its first frame's bytes."""
        await trio.lowlevel.checkpoint()
        began = trio.current_time()
        received = b""
        try:
            with trio.fail_after(PATIENCE):
                received = await self._talk()
        except trio.TooSlowError:
            outcome = "no answer in time"
        except OSError as error:
            outcome = str(error)
        else:
            status = received.split(b"\r\n", 1)[0].decode()
            outcome = "served" if " 101 " in status else status or "closed without an answer"
        self.worst = max(self.worst, trio.current_time() - began)
        self.outcomes[outcome] += 1
        return received.partition(b"\r\n\r\n")[2]

    async def _talk(self) -> bytes:
        async with await trio.open_tcp_stream("127.0.0.1", DEFAULT_PORT) as stream:
            await stream.send_all(HEAD.format(query=self.query, token=self.token).encode())
            received = b""
            while b"session.ack" not in received or not received.endswith(b"}"):
                data = await stream.receive_some()
                received += data
                if not data:
                    break
                if b"\r\n\r\n" in received and b" 101 " not in received.split(b"\r\n", 1)[0]:
                    break
            await stream.send_all(GOODBYE)
            return received


async def main(token: str) -> None:
    """Run clients until standard input ends."""
    load = Load(token)
    first = await load.client()
    # All further clients attach to one session: what is tested is the door, not the number of sessions.
    key = re.search(rb'"sessionKey": ?"([A-Za-z0-9]+)"', first)
    assert key is not None, f"the first client was not let in: {load.outcomes}"
    load.query = f"?session={key[1].decode()}"
    print("running", flush=True)
    async with trio.open_nursery() as clients:
        with trio.CancelScope() as going:

            async def watch() -> None:
                # A thread: an inherited pipe must not be made non-blocking under its other holders.
                await trio.to_thread.run_sync(sys.stdin.read)
                going.cancel()

            clients.start_soon(watch)
            while True:
                clients.start_soon(load.client)
                await trio.sleep(PERIOD)
    print(json.dumps({"outcomes": load.outcomes, "worst_seconds": round(load.worst, 3)}), flush=True)


trio.run(main, Path(sys.argv[1]).read_text().strip())
