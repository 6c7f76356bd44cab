"""In the box: one client that stays attached through whatever happens, and checks what it is sent.

It says one chat after the other, resumes by `seq` when its link is lost, and ends at the end of its
standard input. It prints "attached" after its first answer, and at the end one JSON line: how many
chats were said, answered and acknowledged, how often the link was lost, and every fault it saw.
"""

import json
import selectors
import sys
from time import monotonic

sys.path.insert(0, "/usr/lib/spiderwebd")

from spiderwebd.client.address import Address
from spiderwebd.client.discovery import SYSTEM_SOCKET, Place
from spiderwebd.client.errors import ClientError
from spiderwebd.client.stream import SessionStream, seq_of
from spiderwebd.core.codes import Code

SECONDS = 30.0


class Check:
    """What one session's journalled frames must be: each seq once, in order, none left out."""

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.accepted: list[str] = []
        self.answered: list[str] = []
        self.faults: list[str] = []

    def see(self, frame: dict[str, object]) -> None:
        """Take one frame."""
        seq = seq_of(frame)
        if seq is not None:
            if seq != self.seq + 1:
                self.faults.append(f"seq {seq} after {self.seq}: {frame['type']}")
            self.seq = seq
        if frame["type"] == "session.accepted":
            self.accepted.append(str(frame["request"]))
            if frame.get("durable") is False:
                self.faults.append("acknowledged without being durable")
        elif frame["type"] == "session.receive":
            self.answered.append(str(frame["request"]))
        elif frame.get("code") != Code.DRAINING and frame["type"] in ("error", "session.gap"):
            self.faults.append(json.dumps(frame))


def come_back(stream: SessionStream, seq: int) -> None:
    """Leave a daemon that stops and refuses what is new, as it says, and attach to its successor."""
    stream.close()
    deadline = monotonic() + SECONDS
    while True:
        try:
            stream.open(stream.key, seq, SECONDS)
        except ClientError:
            if monotonic() > deadline:
                raise
        else:
            return


def main() -> None:
    """Say, count, report."""
    stream = SessionStream(Place(Address("unix", "localhost", 0, str(SYSTEM_SOCKET))), "default")
    ack = stream.open(None, None, SECONDS)
    check = Check(int(ack.get("seq", 0)))
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    said: list[str] = []
    returns = 0
    while not selector.select(0):
        text = f"remember number {len(said)}"
        request = stream.send({"type": "chat.send", "content": text})
        said.append(request)
        try:
            while request not in check.answered:
                frame = stream.receive(SECONDS)
                assert frame is not None
                check.see(frame)
                if frame.get("code") == Code.DRAINING:
                    come_back(stream, check.seq)
                    returns += 1
                    stream.send({"type": "chat.send", "id": request, "content": text})
        except ClientError as error:
            accepted = "accepted" if request in check.accepted else "not accepted"
            check.faults.append(f"chat {len(said)} ({request}, {accepted}) after seq {check.seq}: {error}")
            break
        if len(said) == 1:
            print("attached", flush=True)
    for name, requests in (("accepted", check.accepted), ("answered", check.answered)):
        if requests != said:
            check.faults.append(f"{name} {len(requests)} of {len(said)} chats, or in another order")
    report = {
        "said": len(said),
        "reconnects": stream.reconnects + returns,
        "session": stream.key,
        "faults": check.faults,
    }
    print(json.dumps(report), flush=True)
    stream.close()


main()
