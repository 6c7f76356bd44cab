"""A small real websocket server on loopback: each connection plays the next scene of a script."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError

from spiderwebd.client.address import Address
from spiderwebd.client.discovery import Place

PATIENCE = 10.0
"""Seconds after which a test fails instead of hanging."""
TOKEN = "sw_scripted"
KEY = "k" * 32


class Scene:
    """The server's end of one connection."""

    def __init__(self, connected: socket.socket, server: ScriptedServer) -> None:
        self.server = server
        self.target = ""
        self.headers: dict[str, str] = {}
        self.pongs = 0
        self._socket = connected
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._events: list[Event] = []

    def next(self) -> Event:
        """Return the peer's next event; EOFError when it has gone."""
        while not self._events:
            data = self._socket.recv(65_536)
            if not data:
                raise EOFError
            self._protocol.receive_data(data)
            self._events.extend(self._protocol.events())
        return self._events.pop(0)

    def emit(self, event: Event) -> None:
        """Send an event."""
        self._socket.sendall(self._protocol.send(event))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def request(self) -> None:
        """Read the upgrade request."""
        request = self.next()
        assert isinstance(request, Request)
        self.target = request.target
        self.headers = {name.decode().lower(): value.decode() for name, value in request.extra_headers}

    def accept(self) -> None:
        """Read the upgrade request and accept it."""
        self.request()
        self.emit(AcceptConnection())

    def refuse(self, status: int, body: bytes) -> None:
        """Read the upgrade request and answer it with an HTTP refusal."""
        self.request()
        headers = [(b"content-length", str(len(body)).encode())]
        self.emit(RejectConnection(status_code=status, headers=headers, has_body=True))
        self.emit(RejectData(data=body, body_finished=True))

    def frame(self, **fields: Any) -> None:
        """Send one server frame."""
        self.emit(TextMessage(data=json.dumps(fields)))

    def ack(self, seq: int = 0, *, key: str = KEY, restored: bool = False) -> None:
        """Accept and send session.ack."""
        self.accept()
        self.frame(
            type="session.ack", sessionKey=key, agentId="default", restored=restored, seq=seq, firstSeq=1
        )

    def event(self, seq: int, text: str = "", request: str = "r") -> None:
        """Send a journalled frame."""
        self.frame(
            type="session.receive", content=text or f"event {seq}", memoryId=seq, request=request, seq=seq
        )

    def received(self) -> dict[str, Any]:
        """Return the next client frame; pongs are counted on the way."""
        while True:
            event = self.next()
            if isinstance(event, Pong):
                self.pongs += 1
            elif isinstance(event, Ping):
                self.emit(event.response())
            elif isinstance(event, TextMessage):
                frame: dict[str, Any] = json.loads(event.data)
                return frame
            elif isinstance(event, CloseConnection):
                raise EOFError

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame."""
        self.emit(CloseConnection(code=code, reason=reason))

    def ping(self) -> None:
        """Send a websocket ping."""
        self.emit(Ping(payload=b"are you there"))

    def binary(self) -> None:
        """Send a binary message."""
        self.emit(BytesMessage(data=b"\x00"))

    def piece(self, text: str, *, last: bool) -> None:
        """Send one fragment of a text message."""
        self.emit(TextMessage(data=text, message_finished=last))

    def wait_for_end(self) -> None:
        """Read until the peer has gone."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                event = self.next()
                if isinstance(event, CloseConnection):
                    with contextlib.suppress(LocalProtocolError):  # when it answers our own goodbye
                        self.emit(event.response())

    def reset(self) -> None:
        """End the connection without a goodbye."""
        self._socket.close()


Script = Callable[[Scene], None]


class ScriptedServer:
    """Serves the scripts one connection after the other, then refuses; a with block ends it.

    An assertion that fails in a script fails the test, when the with block ends.
    """

    def __init__(
        self, *scripts: Script, path: str | None = None, context: ssl.SSLContext | None = None
    ) -> None:
        self.scenes: list[Scene] = []
        self.failures: list[Exception] = []
        self._scripts: Sequence[Script] = scripts
        self._context = context
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            host, port = self._listener.getsockname()[:2]
            scheme = "ws" if context is None else "wss"
            self.address = Address(scheme, "localhost" if context else host, port)
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen()
            self.address = Address("unix", "localhost", 0, path)
        self._listener.settimeout(PATIENCE)
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def place(self) -> Place:
        """The server as a client finds it."""
        return Place(self.address, TOKEN)

    def _run(self) -> None:
        with self._listener:
            for script in self._scripts:
                try:
                    accepted, _ = self._listener.accept()
                except OSError:
                    return  # the test ended before it connected so often
                accepted.settimeout(PATIENCE)
                self._play(accepted, script)

    def _play(self, accepted: socket.socket, script: Script) -> None:
        with accepted:
            try:
                stream = accepted
                if self._context is not None:
                    stream = self._context.wrap_socket(accepted, server_side=True)
                with stream:
                    scene = Scene(stream, self)
                    self.scenes.append(scene)
                    script(scene)
            except (EOFError, OSError):
                pass  # the client left in the middle, as some tests want
            except Exception as error:
                self.failures.append(error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "a script still waits"
        if error is None and self.failures:
            raise self.failures[0]
