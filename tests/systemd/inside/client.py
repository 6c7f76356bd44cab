"""In the box: attach over the unix socket or TCP, say the chats given, print what came as one JSON line.

client.py [--tcp TOKEN_FILE] [--session KEY --after SEQ] [--id REQUEST] [TEXT...]
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, "/usr/lib/spiderwebd")

from spiderwebd.client.address import DEFAULT_ADDRESS, Address
from spiderwebd.client.discovery import SYSTEM_SOCKET, Place
from spiderwebd.client.stream import SessionStream

SECONDS = 20.0


def main() -> None:
    """Talk, then print {"ack": ..., "frames": [...]}."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tcp", type=Path)
    parser.add_argument("--session")
    parser.add_argument("--after", type=int)
    parser.add_argument("--id")
    parser.add_argument("texts", nargs="*")
    options = parser.parse_args()
    place = Place(Address("unix", "localhost", 0, str(SYSTEM_SOCKET)))
    if options.tcp:
        place = Place(DEFAULT_ADDRESS, options.tcp.read_text().strip())
    stream = SessionStream(place, "default", reconnect_seconds=0)
    ack = stream.open(options.session, options.after, SECONDS)
    frames = []
    for text in options.texts:
        chat = {"type": "chat.send", "content": text}
        request = stream.send(chat if options.id is None else {**chat, "id": options.id})
        while True:
            frame = stream.receive(SECONDS)
            assert frame is not None
            frames.append(frame)
            if frame["type"] in ("session.receive", "error") and frame.get("request") == request:
                break
    stream.close()
    print(json.dumps({"ack": ack, "frames": frames}))


main()
