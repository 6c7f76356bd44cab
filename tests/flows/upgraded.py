"""A websocket to a real daemon whose head has no token: what the shipped client never sends."""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any, Self

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Request, TextMessage

from tests.flows.daemon_process import DaemonProcess

SECONDS = 20.0


class Upgraded:
    """One link that says by itself who it is."""

    def __init__(self, daemon: DaemonProcess) -> None:
        host, _, port = daemon.listen.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), SECONDS)
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []
        self._send(Request(host=daemon.listen, target="/v1/agents/default/stream"))
        assert isinstance(self._next(), AcceptConnection)

    def say(self, frame: dict[str, Any]) -> None:
        """Send a client frame."""
        self._send(TextMessage(data=json.dumps(frame)))

    def hear(self) -> dict[str, Any]:
        """Return the next frame."""
        event = self._next()
        assert isinstance(event, TextMessage), event
        frame: dict[str, Any] = json.loads(event.data)
        return frame

    def close_code(self) -> int:
        """Return the close code, which must come next."""
        event = self._next()
        assert isinstance(event, CloseConnection), event
        return int(event.code)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket."""
        self._socket.close()

    def _send(self, event: Event) -> None:
        self._socket.sendall(self._protocol.send(event))

    def _next(self) -> Event:
        while not self._events:
            data = self._socket.recv(65_536)
            assert data, "the daemon closed the link without goodbye"
            self._protocol.receive_data(data)
            self._events.extend(self._protocol.events())
        return self._events.pop(0)
