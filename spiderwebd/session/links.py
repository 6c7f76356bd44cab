"""The links of one session: who hears what it says, and up to where each has heard it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from spiderwebd.core.codes import Close
from spiderwebd.session.ports import Client


@dataclass(slots=True)
class Attached:
    """One link. Of the seqs up to `sent` it was given those after `joined`, each once."""

    client: Client
    joined: int
    """Everything after this seq was given, live or by a replay."""
    sent: int
    """Last seq it was given."""
    live: bool = True
    """False while a replay tells it the past; frames then reach it through the replay."""
    replaying_after: int | None = None
    """What the replay under way was asked for."""


class Links:
    """Attached links, and those whose attaching still waits in the session's inbox."""

    __slots__ = ("_attached", "_joining")

    def __init__(self) -> None:
        self._attached: dict[Client, Attached] = {}
        self._joining: set[Client] = set()

    def __len__(self) -> int:
        """Count the links, those that join included."""
        return len(self._attached) + len(self._joining)

    def get(self, client: Client) -> Attached | None:
        """Return what is known of an attached link."""
        return self._attached.get(client)

    def expect(self, client: Client) -> None:
        """Say that a link will join; it is closed with the others should the session end first."""
        self._joining.add(client)

    def join(self, client: Client, seq: int) -> Attached | None:
        """Attach a link that hears everything after `seq`; None when it left while it waited."""
        if client not in self._joining:
            return None
        self._joining.discard(client)
        attached = Attached(client, joined=seq, sent=seq)
        self._attached[client] = attached
        return attached

    def leave(self, client: Client) -> None:
        """Forget a link, whether it had joined or not."""
        self._joining.discard(client)
        self._attached.pop(client, None)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Send what is said in the block in one write to each link."""
        clients = list(self._attached)
        for client in clients:
            client.hold()
        try:
            yield
        finally:
            for client in clients:
                client.release()

    def reply(self, client: Client, text: str) -> None:
        """Send a frame without seq to one link, if it is still here."""
        if client in self._attached:
            client.send(text)

    def tell(self, seq: int, text: str) -> None:
        """Send a journalled frame to every link that is live."""
        for attached in self._attached.values():
            if attached.live:
                attached.sent = seq
                attached.client.send(text)

    def mention(self, text: str) -> None:
        """Send a frame without seq to every link that is live."""
        for attached in self._attached.values():
            if attached.live:
                attached.client.send(text)

    def close_all(self, code: Close, reason: str) -> None:
        """Begin the end of every link, and forget them."""
        for client in (*self._attached, *self._joining):
            client.close(code, reason)
        self._attached.clear()
        self._joining.clear()
