"""In the box, as root: give the daemon more and more to remember until it refuses new links.

    fill.py UNIT_MEMORY_EVENTS

Prints one JSON line: how many memories were acknowledged, what the refused link was told, whether the
attached ones were served after that, and what the kernel had done by then (memory.events; empty where
there is none).
"""

import json
import socket
import sys
from pathlib import Path

sys.path.insert(0, "/usr/lib/spiderwebd")

from spiderwebd.client.address import Address
from spiderwebd.client.discovery import SYSTEM_SOCKET, Place
from spiderwebd.client.stream import SessionStream

SECONDS = 60.0
TEXT = "x" * 200_000
PER_SESSION = 40
"""Below memory.max_bytes, so that nothing is compacted."""
MOST = 2_000
UPGRADE = (
    b"GET /v1/agents/default/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n"
)


def knock() -> str:
    """Ask for one more link; return the answer's head and body, of which an upgrade has only the head."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(SECONDS)
        link.connect(str(SYSTEM_SOCKET))
        link.sendall(UPGRADE)
        answer = link.recv(65_536)
        while b" 101 " not in answer and (more := link.recv(65_536)):
            answer += more
        # After the head of an upgrade a frame may come, which is no text.
        return answer.decode("latin-1")


def served(stream: SessionStream, frame: dict[str, object], kind: str) -> bool:
    """Send a frame and wait for its answer; whether it is of that kind."""
    request = stream.send(frame)
    while True:
        answer = stream.receive(SECONDS)
        assert answer is not None
        if answer.get("request") == request and answer["type"] in (kind, "error"):
            return answer["type"] == kind


def main() -> None:
    """Fill, and report."""
    place = Place(Address("unix", "localhost", 0, str(SYSTEM_SOCKET)))
    streams: list[SessionStream] = []
    acknowledged, answer = 0, ""
    while acknowledged < MOST and " 503 " not in answer:
        if acknowledged % PER_SESSION == 0:
            try:
                stream = SessionStream(place, "default", reconnect_seconds=0)
                stream.open(None, None, SECONDS)
            except Exception:
                answer = knock()
                continue
            streams.append(stream)
        assert served(streams[-1], {"type": "memory.create", "content": TEXT}, "session.accepted")
        acknowledged += 1
        if acknowledged % 5 == 0:
            answer = knock()
    events = Path(sys.argv[1])
    kernel = dict(line.split() for line in events.read_text().splitlines()) if events.exists() else {}
    works = served(streams[0], {"type": "chat.send", "content": "still here?"}, "session.receive")
    print(json.dumps({"acknowledged": acknowledged, "told": answer, "works": works, "kernel": kernel}))


main()
