"""A client written from README.md and the published schema alone: nothing of the daemon is imported.

Every frame it receives is checked: one strict JSON object in valid Unicode, a type and fields that the
schema publishes and no others, an error code of the published table, and `seq` without a gap.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import wsproto
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from tests.conformance.published_schema import PUBLISHED, Frame, ProtocolBroken, strict_json

DEADLINE = 20.0
"""Seconds that any single wait may take; a frame that does not come in time fails the test."""


class LinkClosed(Exception):
    """The link ended; `code` is the close code, 1006 when there was none.

    `frames` are those that Link.closed read before the end.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with {code}: {reason}")
        self.code = code
        self.reason = reason
        self.frames: list[Frame] = []


class LinkRefused(Exception):
    """The upgrade was refused over HTTP; `status` is the status code and `body` its text."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"refused with HTTP {status}: {body}")
        self.status = status
        self.body = body


class Link:
    """One websocket to the daemon; with a token it is open when the constructor returns.

    `address` is HOST:PORT. With `header` the token goes into Authorization, else into a connect
    frame; without a token nothing is sent after the upgrade and `ack` stays empty. `session` and
    `after` resume, by the URL or, with `resume_by_frame`, in the connect frame. Raises LinkRefused
    when the upgrade is refused and LinkClosed when the link ends before session.ack.
    """

    def __init__(
        self,
        address: str,
        token: str | None = None,
        *,
        agent: str = "default",
        header: bool = True,
        session: str | None = None,
        after: int | None = None,
        resume_by_frame: bool = False,
        query: Mapping[str, str] | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(DEADLINE)
        self._socket.connect((host.strip("[]"), int(port)))
        self._protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._frames: list[Frame] = []
        self._text = ""
        self._closed: LinkClosed | None = None
        self._counter = 0
        self._asked: set[str] = set()
        self._expected: int | None = None if after is None else after + 1
        self.ack: Frame = {}
        """The session.ack of this link; empty before it came."""
        arguments = dict(query or {})
        if session is not None and not resume_by_frame:
            arguments["session"] = session
            if after is not None:
                arguments["after"] = str(after)
        try:
            self._upgrade(address, agent, arguments, token if header else None)
            if token is None:
                return
            if not header:
                resume = {"sessionKey": session, "after": after} if session and resume_by_frame else None
                self.send({"type": "connect", "token": token, "protocol": 1, "resume": resume})
            self._attach()
        except BaseException:
            self.close()
            raise

    # -- sending ------------------------------------------------------------------------------

    def send(self, frame: Mapping[str, Any]) -> None:
        """Send one frame, checked against the schema; None fields are left out."""
        present = {name: value for name, value in frame.items() if value is not None}
        PUBLISHED.check_sent(present)
        self._asked.add(present.get("id", ""))
        self.send_text(json.dumps(present))

    def send_text(self, text: str) -> None:
        """Send one text message as it is, unchecked."""
        self._write(self._protocol.send(TextMessage(text)))

    def send_bytes(self, data: bytes) -> None:
        """Send one binary message."""
        self._write(self._protocol.send(BytesMessage(data)))

    def send_raw(self, data: bytes) -> None:
        """Send bytes on the socket below the websocket."""
        self._write(data)

    def next_id(self) -> str:
        """A request id that this link has not used."""
        self._counter += 1
        return f"{id(self):x}-{self._counter}"

    # -- receiving ----------------------------------------------------------------------------

    def receive(self, timeout: float = DEADLINE) -> Frame:
        """The next frame, checked. Raises LinkClosed, and TimeoutError after `timeout` seconds."""
        deadline = monotonic() + timeout
        while not self._frames:
            if self._closed is not None:
                raise self._closed
            self._read(deadline)
        return self._frames.pop(0)

    def until(self, wanted: Callable[[Frame], bool], timeout: float = DEADLINE) -> list[Frame]:
        """Every frame up to the first that is `wanted`, which is the last of the list."""
        deadline = monotonic() + timeout
        seen: list[Frame] = []
        while not seen or not wanted(seen[-1]):
            try:
                seen.append(self.receive(max(deadline - monotonic(), 0.001)))
            except TimeoutError:
                raise TimeoutError(f"the awaited frame did not come; these did: {seen}") from None
        return seen

    def closed(self, timeout: float = DEADLINE) -> LinkClosed:
        """Read to the end of the link and return how it closed. Raises TimeoutError."""
        deadline = monotonic() + timeout
        frames = []
        try:
            while True:
                frames.append(self.receive(max(deadline - monotonic(), 0.001)))
        except LinkClosed as end:
            end.frames = frames
            return end

    # -- the protocol by name -------------------------------------------------------------------

    def request(self, type_: str, /, **fields: Any) -> Frame:
        """Send a frame with an id and return the first frame that answers it, others passed over.

        A memory.event, which tells every link what the request did, is not the answer to it.
        """
        identity = fields.pop("id", None) or self.next_id()
        self.send({"type": type_, "id": identity, **fields})
        return self.until(lambda frame: frame.get("request") == identity and frame["type"] != "memory.event")[
            -1
        ]

    def chat(self, text: str, **fields: Any) -> Frame:
        """Say something and return the session.receive, or error, that ends the turn."""
        identity = fields.pop("id", None) or self.next_id()
        self.send({"type": "chat.send", "id": identity, "content": text, **fields})
        return self.until(lambda frame: answers(frame, identity, "session.receive"))[-1]

    def goal(self, text: str, **fields: Any) -> list[Frame]:
        """Give a goal and return its whole story, session.accepted to execution/complete."""
        identity = fields.pop("id", None) or self.next_id()
        self.send({"type": "agent.control", "action": "goal", "goal": text, "id": identity, **fields})
        story = self.until(lambda frame: ends_goal(frame, identity))
        return [frame for frame in story if frame.get("request") == identity]

    def state(self) -> Frame:
        """The agent.state that agent.control answers to `state`."""
        return self.request("agent.control", action="state")

    @property
    def key(self) -> str:
        """The key of the attached session."""
        return str(self.ack["sessionKey"])

    @property
    def seq(self) -> int:
        """The seq of the newest journalled frame that this link knows of."""
        return int(self.ack.get("seq", 0)) if self._expected is None else self._expected - 1

    def replay_from(self, after: int) -> None:
        """Expect the frames after `after` next, as a connect frame with resume asks for them."""
        self._expected = after + 1

    # -- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Drop the socket without a word, as a client that dies does."""
        self._socket.close()

    def __enter__(self) -> Self:
        """The link itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the socket."""
        self.close()

    # -- below the frames -----------------------------------------------------------------------

    def _upgrade(self, address: str, agent: str, query: Mapping[str, str], token: str | None) -> None:
        target = f"/v1/agents/{agent}/stream" + (f"?{urlencode(query)}" if query else "")
        headers = [] if token is None else [(b"Authorization", f"Bearer {token}".encode())]
        self._write(self._protocol.send(Request(address, target, extra_headers=headers)))
        deadline = monotonic() + DEADLINE
        while self._protocol.state is wsproto.connection.ConnectionState.CONNECTING:
            self._read(deadline)
        if self._closed is not None:
            raise self._closed

    def _attach(self) -> None:
        first = self.receive()
        if first["type"] == "error":
            end = self.closed()
            end.frames.insert(0, first)
            raise end
        if first["type"] != "session.ack":
            raise ProtocolBroken(f"the first frame is not session.ack: {first}")
        self.ack = first

    def _write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self._read(monotonic() + DEADLINE)  # the reason may still wait to be read

    def _read(self, deadline: float) -> None:
        self._socket.settimeout(max(deadline - monotonic(), 0.001))
        try:
            data = self._socket.recv(65_536)
        except ConnectionResetError:
            data = b""
        if not data:
            self._closed = self._closed or LinkClosed(1006, "the connection ended without a close frame")
            return
        self._protocol.receive_data(data)
        self._take(self._protocol.events())

    def _take(self, events: Iterable[object]) -> None:
        refused: RejectConnection | None = None
        body = b""
        for event in events:
            match event:
                case TextMessage():
                    self._text += event.data
                    if event.message_finished:
                        self._frames.append(self._checked(self._text))
                        self._text = ""
                case BytesMessage():
                    raise ProtocolBroken("a binary message came")
                case Ping():
                    self._socket.sendall(self._protocol.send(event.response()))
                case CloseConnection():
                    self._closed = LinkClosed(event.code, event.reason or "")
                    if event.code not in PUBLISHED.close_codes:
                        raise ProtocolBroken(f"close code {event.code} is not in the published table")
                case RejectConnection():
                    refused = event
                case RejectData():
                    body += event.data
                case AcceptConnection() | _:
                    pass
        if refused is not None:
            self._socket.close()
            raise LinkRefused(refused.status_code, body.decode("utf-8", "replace"))

    def _checked(self, text: str) -> Frame:
        frame = strict_json(text)
        PUBLISHED.check_received(frame)
        seq = frame.get("seq")
        match frame["type"]:
            case "session.ack" if self._expected is None and not self.ack:
                self._expected = frame["seq"] + 1
            case "session.gap":
                self._expected = None  # goes on with whatever is kept and was not sent on this link
            case kind if seq is not None and kind in PUBLISHED.journalled:
                if self._expected is not None and seq < self._expected and frame["request"] in self._asked:
                    return frame  # the answer of before, to a request that was sent again
                if self._expected not in {seq, None}:
                    raise ProtocolBroken(f"seq {self._expected} was due: {frame}")
                self._expected = seq + 1
        return frame


def answers(frame: Frame, request: str, type_: str) -> bool:
    """Whether `frame` ends `request`: by a frame of that type, or by an error."""
    return frame.get("request") == request and frame["type"] in {type_, "error"}


def ends_goal(frame: Frame, request: str) -> bool:
    """Whether `frame` is the last one of a goal's story."""
    if frame.get("request") != request:
        return False
    return frame["type"] == "error" or (
        frame["type"] == "agent.progress"
        and frame["phase"] == "execution"
        and frame["status"] in {"complete", "failed"}
        and "taskId" not in frame
    )
