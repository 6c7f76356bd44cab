"""One websocket to the daemon: blocking, on a plain socket, with a deadline on every wait.

wsproto does the protocol without any input or output of its own. Frames are handed out parsed, in
the order they came; pings are answered on the way.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
from collections import deque
from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from spiderwebd.client.discovery import Place
from spiderwebd.client.errors import ClientError, DeadlineError, LinkLostError, ProtocolError, RefusedError
from spiderwebd.client.transport import OPEN_SECONDS, Frame, open_socket
from spiderwebd.core.codes import CLOSE_MEANINGS, Close, Code

RECEIVE_BYTES = 65_536
MESSAGE_CHARACTERS = 16_777_216
"""Longest message taken from the daemon; its largest answer is 128 full memories."""
REFUSAL_BYTES = 65_536
SEND_SECONDS = 10.0
CLOSE_SECONDS = 1.0

_NOT_AUTHORISED = {Close.UNAUTHORIZED, Close.REVOKED, Close.CONNECT_TIMEOUT}
_BROKEN = {1002, Close.UNSUPPORTED_DATA, Close.INVALID_DATA, Close.POLICY, Close.TOO_BIG}


class Connection:
    """A link to one session of one agent; made by `open`, ended by `close` or a with block."""

    def __init__(self, place: Place, connected: socket.socket) -> None:
        """Take over a connected socket; `open` is what callers want."""
        self.place = place
        self.heard_at = monotonic()
        """When the daemon last sent anything, control frames included (time.monotonic)."""
        self._socket = connected
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._frames: deque[Frame] = deque()
        self._pieces: list[str] = []
        self._size = 0
        self._refusal: RejectConnection | None = None
        self._refusal_body = b""
        self._opened = False
        self._end: ClientError | None = None

    @classmethod
    def open(
        cls,
        place: Place,
        agent: str = "default",
        *,
        session: str | None = None,
        after: int | None = None,
        timeout: float = OPEN_SECONDS,
    ) -> Self:
        """Connect and upgrade within `timeout` seconds; the daemon's first frame is session.ack.

        `session` is the key of a session to attach to (None: a new one); with `after`, everything
        journalled after this seq is sent again first.

        Raises UnreachableError, RefusedError (by its code: not authorised, draining, ...), ProtocolError or
        DeadlineError.
        """
        deadline = monotonic() + timeout
        connection = cls(place, open_socket(place.address, timeout, place.ca_file))
        try:
            if place.token is None and place.address.scheme != "unix":
                raise RefusedError(
                    f"no token for {place.address.url} was found; name its file with --token-file",
                    Code.UNAUTHORIZED,
                )
            connection._upgrade(agent, session, after, deadline)
        except BaseException:
            connection._socket.close()
            raise
        return connection

    def _upgrade(self, agent: str, session: str | None, after: int | None, deadline: float) -> None:
        fields = {"session": session, "after": None if session is None else after}
        query = urlencode({name: value for name, value in fields.items() if value is not None})
        token = self.place.token
        request = Request(
            host=self.place.address.authority,
            target=f"{self.place.address.path_prefix}/v1/agents/{agent}/stream"
            + (f"?{query}" if query else ""),
            extra_headers=[] if token is None else [(b"Authorization", b"Bearer " + token.encode("ascii"))],
        )
        self._write(self._protocol.send(request), deadline)
        while not self._opened:
            if self._end is not None:
                raise self._end
            self._read(deadline, None)

    def fileno(self) -> int:
        """Return the socket's descriptor, for a selector."""
        return self._socket.fileno()

    def send(self, frame: Mapping[str, Any], timeout: float = SEND_SECONDS) -> None:
        """Send one client frame. Raises LinkLostError when the link has ended, DeadlineError."""
        text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
        # A lone surrogate (from a JSON escape or a shell's odd bytes) is no UTF-8; it goes out as U+FFFD.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        self._emit(TextMessage(data=text), timeout)

    def ping(self, timeout: float = SEND_SECONDS) -> None:
        """Send a websocket ping; the answer shows in `heard_at`. Raises as `send`."""
        self._emit(Ping(), timeout)

    def receive(self, timeout: float, also: int | None = None) -> Frame | None:
        """Return the next frame, waiting at most `timeout` seconds.

        With `also`, a descriptor, None is returned as soon as that can be read and no frame is here.

        Raises DeadlineError (the link is as good as before), or how the link ended: LinkLostError,
        RefusedError for a token that is no longer valid, ProtocolError.
        """
        deadline = monotonic() + timeout
        while not self._frames:
            if self._end is not None:
                raise self._end
            if not self._read(deadline, also):
                return None
        return self._frames.popleft()

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Say goodbye, wait for the answer at most `timeout` seconds, close the socket. Never raises."""
        deadline = monotonic() + timeout
        with contextlib.suppress(ClientError, OSError):
            if self._end is None:
                self._emit(CloseConnection(code=Close.NORMAL), timeout)
                while self._end is None:
                    self._frames.clear()
                    self._read(deadline, None)
        self._socket.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _emit(self, event: Event, timeout: float) -> None:
        if self._end is not None:
            raise self._end
        try:
            data = self._protocol.send(event)
        except LocalProtocolError as error:
            raise LinkLostError(f"the link to {self.place.address.url} has ended: {error}") from None
        self._write(data, monotonic() + timeout)

    def _write(self, data: bytes, deadline: float) -> None:
        left = memoryview(data)
        try:
            while left:
                self._socket.settimeout(max(deadline - monotonic(), 0.001))
                left = left[self._socket.send(left) :]
        except TimeoutError:
            raise self._ended(
                LinkLostError(f"{self.place.address.url} did not take a frame in time")
            ) from None
        except OSError as error:
            raise self._ended(LinkLostError(f"the link to {self.place.address.url} broke: {error}")) from None

    def _read(self, deadline: float, also: int | None) -> bool:
        """Take in what has come; False when `also` can be read instead."""
        if also is not None and not self._readable(deadline, also):
            return False
        left = deadline - monotonic()
        try:
            # At 0 a socket would not wait at all, and what is here already must still be read.
            self._socket.settimeout(max(left, 0.001))
            data = self._socket.recv(RECEIVE_BYTES)
        except TimeoutError:
            raise DeadlineError(f"no answer from {self.place.address.url} in time") from None
        except OSError as error:
            raise self._ended(LinkLostError(f"the link to {self.place.address.url} broke: {error}")) from None
        self.heard_at = monotonic()
        if data:
            self._take(data)
        elif self._refusal is not None:
            self._end = self._refused(self._refusal)
        else:
            self._end = LinkLostError(f"{self.place.address.url} closed the link without goodbye", 1006)
        return True

    def _readable(self, deadline: float, also: int) -> bool:
        pending = getattr(self._socket, "pending", None)  # TLS: bytes decrypted, but not yet read
        if pending is not None and pending():
            return True
        # poll, because epoll refuses plain files, and input may be redirected from one.
        with selectors.PollSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(also, selectors.EVENT_READ)
            ready = selector.select(max(deadline - monotonic(), 0))
        if not ready:
            raise DeadlineError(f"no answer from {self.place.address.url} in time")
        return any(key.fd != also for key, _ in ready)

    def _take(self, data: bytes) -> None:
        try:
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                self._on(event)
        except RemoteProtocolError as error:
            self._end = ProtocolError(f"{self.place.address.url} does not speak websocket: {error}")
        except ProtocolError as error:
            self._end = error

    def _on(self, event: Event) -> None:
        match event:
            case TextMessage():
                self._text(event)
            case Ping():
                self._write(self._protocol.send(event.response()), monotonic() + SEND_SECONDS)
            case AcceptConnection():
                self._opened = True
            case RejectConnection():
                self._refusal = event
                if not event.has_body:
                    self._end = self._refused(event)
            case RejectData():
                self._refusal_body += bytes(event.data)
                if self._refusal is not None and (
                    event.body_finished or len(self._refusal_body) > REFUSAL_BYTES
                ):
                    self._end = self._refused(self._refusal)
            case CloseConnection():
                with contextlib.suppress(LocalProtocolError, ClientError):
                    self._write(self._protocol.send(event.response()), monotonic() + CLOSE_SECONDS)
                self._end = self._closed(event.code, event.reason)
            case BytesMessage():
                raise ProtocolError(f"{self.place.address.url} sent a binary message; the protocol is text")

    def _text(self, event: TextMessage) -> None:
        self._size += len(event.data)
        if self._size > MESSAGE_CHARACTERS:
            raise ProtocolError(
                f"{self.place.address.url} sent a message beyond {MESSAGE_CHARACTERS} characters"
            )
        self._pieces.append(event.data)
        if not event.message_finished:
            return
        text = "".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        try:
            frame = json.loads(text)
        except ValueError as error:
            raise ProtocolError(f"{self.place.address.url} sent a frame that is no JSON: {error}") from None
        if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
            raise ProtocolError(f"{self.place.address.url} sent a frame without a type")
        self._frames.append(frame)

    def _ended(self, error: ClientError) -> ClientError:
        self._end = error
        return error

    def _closed(self, code: int, reason: str | None) -> ClientError:
        meaning = CLOSE_MEANINGS[Close(code)] if code in list(Close) else "the link was closed"
        message = f"{self.place.address.url}: {reason or meaning} (close code {code})"
        if code in _NOT_AUTHORISED:
            return RefusedError(message, Code.UNAUTHORIZED)
        if code in _BROKEN:
            return ProtocolError(message)
        return LinkLostError(message, code)

    def _refused(self, answer: RejectConnection) -> ClientError:
        """Say what an HTTP answer other than 101 means."""
        try:
            said = json.loads(self._refusal_body)
        except ValueError:
            said = None
        if isinstance(said, dict) and isinstance(said.get("code"), str):
            message = f"{self.place.address.url} refused the link: {said.get('message')}"
            return RefusedError(message, said["code"], said.get("retry_after_ms"))
        message = f"{self.place.address.url} answered HTTP {answer.status_code} instead of a websocket"
        if answer.status_code == 401:
            return RefusedError(message, Code.UNAUTHORIZED)
        return RefusedError(message, Code.DRAINING) if answer.status_code == 503 else ProtocolError(message)
