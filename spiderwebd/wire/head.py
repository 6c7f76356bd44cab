"""One HTTP request head: read, checked, and turned into what the door asks for. No I/O.

Nearly every head comes whole and has nothing unusual about it, and is taken apart here; all others are h11's,
whose word it is what is well formed. A test holds that both read such a head alike.

wsproto decodes Host as IDNA and three headers as ASCII without catching what that raises, which
lets one request kill a bare trio-websocket server. Nothing of a client's head reaches it: after
these checks the door writes a head of its own (`upgrade_head`).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from spiderwebd.core.codes import Code, Refused

if TYPE_CHECKING:
    import h11

SESSION_NAMES = frozenset({"session", "sessionId", "session_id", "sessionKey", "session-key"})
"""Query names of a session key; the first with a value counts, in the order of the URL."""

HIGHEST_SEQ = 2**63 - 1
"""Sequence numbers are SQLite integers."""

_STREAM_PATH = re.compile(r"/v1/agents/([^/]*)/stream")
_AGENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_AFTER = re.compile(r"[0-9]{1,19}")
_QUOTED = re.compile(r"[: ]*(?:bytearray\()?b['\"].*", re.DOTALL)
_QUERY_FIELDS = 64
_ASCII_HEADERS = (b"host", b"connection", b"upgrade")

_ORDINARY = re.compile(
    rb"(GET|HEAD) ([!-~]+) HTTP/1\.1\r\n"
    rb"((?:[-!#$%&'*+.^_`|~0-9A-Za-z]+:[\t -~]*\r\n)+)\r\n"
)
"""A head in which every byte is plain; no two of its parts can take the same byte, so it costs one pass."""
_BODY_HEADERS = (b"content-length", b"transfer-encoding")


class HttpRefused(Refused):
    """A request is answered with an HTTP status instead of what it asked for."""

    def __init__(
        self,
        status: HTTPStatus,
        code: Code,
        message: str,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        retry_after_ms: int | None = None,
    ) -> None:
        """`headers` go into the answer as they are; `retry_after_ms` also becomes Retry-After."""
        super().__init__(message, code, retry_after_ms)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Head:
    """A request head that is well formed."""

    method: str
    path: str
    query: str
    http_version: str
    headers: tuple[tuple[bytes, bytes], ...]
    """Names in lower case."""
    rest: bytes
    """What was read beyond the head."""

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of every header of this name (lower case), in order."""
        return [value for key, value in self.headers if key == name]

    def tokens(self, name: bytes) -> set[bytes]:
        """Return the comma-separated tokens of a header, in lower case."""
        joined = b",".join(self.values(name)).lower()
        return {token.strip() for token in joined.split(b",")}


class HeadReader:
    """Collect bytes until a head is complete; never more than `limit` of them."""

    def __init__(self, limit: int) -> None:
        """Take at most `limit` bytes, request line and blank line included."""
        self._connection: h11.Connection | None = None
        self._limit = limit
        self._taken = 0

    @property
    def room(self) -> int:
        """How many bytes may be read next, at least 1."""
        return self._limit - self._taken

    @property
    def empty(self) -> bool:
        """Whether nothing was read yet."""
        return self._taken == 0

    def feed(self, data: bytes | bytearray) -> Head | None:
        """Take what was read, b"" for the end of the stream; None while the head is incomplete.

        Raises HttpRefused with 400, 431 or 501.
        """
        whole = self._taken == 0
        self._taken += len(data)
        head = _ordinary_head(bytes(data)) if whole else None
        return head or self._read_on(bytes(data))

    def _read_on(self, data: bytes) -> Head | None:
        import h11  # most heads are ordinary: to be ready, and for those, it need not be there

        if self._connection is None:
            self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limit)
        try:
            self._connection.receive_data(data)
            event = self._connection.next_event()
        except h11.RemoteProtocolError as error:
            # h11 quotes what it could not read, and that may be a line with a token.
            raise _bad_head(_QUOTED.sub("", str(error)), HTTPStatus(error.error_status_hint)) from None
        if isinstance(event, h11.Request):
            return _head_of(
                event.method,
                event.target,
                event.http_version,
                tuple(event.headers),
                self._connection.trailing_data[0],
            )
        if self.room < 1:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise _bad_head(f"The request head is longer than {self._limit} bytes.", status)
        return None


def _ordinary_head(data: bytes) -> Head | None:
    """Take apart a whole head without anything unusual; None when h11 has to look at it."""
    match = _ORDINARY.match(data)
    if match is None:
        return None
    method, target, lines = match.groups()
    headers = []
    hosts = 0
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _BODY_HEADERS:
            return None
        hosts += name == b"host"
        headers.append((name, value.strip(b" \t")))
    if hosts != 1:
        return None
    return _head_of(method, target, b"1.1", tuple(headers), data[match.end() :])


def _head_of(
    method: bytes, target: bytes, version: bytes, headers: tuple[tuple[bytes, bytes], ...], rest: bytes
) -> Head:
    path, _, query = target.decode("ascii").partition("?")
    return Head(method.decode("ascii"), path, query, version.decode("ascii"), headers, rest)


@dataclass(frozen=True, slots=True)
class StreamTarget:
    """What the URL of a stream names; the session key is a secret, keep it out of logs."""

    agent: str
    session_key: str | None
    after: int | None


def check_text(head: Head) -> None:
    """Refuse bytes beyond ASCII where a name, a token or a key belongs, and a malformed IDNA host.

    Raises HttpRefused with 400.
    """
    for name, value in head.headers:
        if (name in _ASCII_HEADERS or name.startswith(b"sec-websocket-")) and not value.isascii():
            raise _bad_head(f"The header {name.decode('ascii')} has bytes beyond ASCII.")
    for host in head.values(b"host"):
        try:
            host.decode("idna")
        except UnicodeError:
            raise _bad_head("The header host is no valid host name.") from None


def check_origin(head: Head, allowed: Collection[str]) -> None:
    """Refuse what a web page sends, unless its origin is allowed. Raises HttpRefused with 403."""
    for origin in head.values(b"origin"):
        if origin.decode("latin-1") not in allowed:
            message = "Requests from web pages are refused; allow this Origin in the configuration."
            raise HttpRefused(HTTPStatus.FORBIDDEN, Code.FORBIDDEN, message)


def check_method(head: Head, *methods: str) -> None:
    """Raise HttpRefused with 405 for any other method."""
    if head.method not in methods:
        message = f"{head.path} answers {' and '.join(methods)} only."
        allow = (("Allow", ", ".join(methods)),)
        raise HttpRefused(HTTPStatus.METHOD_NOT_ALLOWED, Code.BAD_FRAME, message, headers=allow)


def bearer_token(head: Head) -> str | None:
    """Return the token of `Authorization: Bearer`; None without that header.

    Raises HttpRefused with 401 for any other scheme, two headers, or bytes beyond ASCII.
    """
    values = head.values(b"authorization")
    if not values:
        return None
    scheme, _, token = values[0].partition(b" ")
    token = token.strip()
    if len(values) > 1 or scheme.lower() != b"bearer" or not token or not token.isascii():
        raise unauthorized("Authorization must be one header: Bearer and a token.")
    return token.decode("ascii")


def unauthorized(message: str) -> HttpRefused:
    """Return the 401 refusal, which names the scheme (RFC 9110 section 15.5.2)."""
    challenge = (("WWW-Authenticate", "Bearer"),)
    return HttpRefused(HTTPStatus.UNAUTHORIZED, Code.UNAUTHORIZED, message, headers=challenge)


def stream_target(head: Head) -> StreamTarget | None:
    """Read agent, session key and `after` from the URL; None when the path is no stream.

    Raises HttpRefused with 403 for an agent id that cannot be one, 400 for a bad query.
    """
    match = _STREAM_PATH.fullmatch(head.path)
    if match is None:
        return None
    agent = unquote(match[1])
    if not _AGENT_ID.fullmatch(agent):
        message = "An agent id is 1 to 64 of A-Z a-z 0-9 _ and -."
        raise HttpRefused(HTTPStatus.FORBIDDEN, Code.AGENT_INVALID, message)
    try:
        fields = parse_qsl(head.query, max_num_fields=_QUERY_FIELDS)
    except ValueError:
        raise _bad_head(f"The query has more than {_QUERY_FIELDS} fields.") from None
    session_key = next((value for name, value in fields if name in SESSION_NAMES), None)
    after = next((value for name, value in fields if name == "after"), None)
    if after is None:
        return StreamTarget(agent, session_key, None)
    if not _AFTER.fullmatch(after) or int(after) > HIGHEST_SEQ:
        raise _bad_head("The query field after must be a sequence number, 0 or more.")
    return StreamTarget(agent, session_key, int(after))


def websocket_key(head: Head) -> bytes:
    """Check the upgrade of RFC 6455 section 4.2.1 and return Sec-WebSocket-Key.

    Raises HttpRefused: 405 when it is no GET, 426 without an upgrade to version 13, 400 for a
    missing or malformed key and for a request with a body.
    """
    check_method(head, "GET")
    upgrades = b"websocket" in head.tokens(b"upgrade") and b"upgrade" in head.tokens(b"connection")
    if not upgrades or head.http_version != "1.1":
        raise _upgrade_required("This address speaks websocket only: send a websocket upgrade.")
    if head.values(b"sec-websocket-version") != [b"13"]:
        raise _upgrade_required("Only websocket version 13 is spoken here.")
    if head.values(b"transfer-encoding") or any(head.tokens(b"content-length") - {b"", b"0"}):
        raise _bad_head("A websocket upgrade has no body.")
    keys = head.values(b"sec-websocket-key")
    try:
        nonce = base64.b64decode(b"".join(keys), validate=True)
    except binascii.Error:
        nonce = b""
    if len(keys) != 1 or len(nonce) != 16:
        raise _bad_head("Sec-WebSocket-Key must be 16 bytes in base64.")
    return keys[0]


def upgrade_head(key: bytes) -> bytes:
    """Write the request head that stands for a checked client's towards trio-websocket."""
    return (
        b"GET / HTTP/1.1\r\nHost: checked\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
    )


def render_answer(
    status: HTTPStatus,
    body: bytes,
    content_type: str,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    without_body: bool = False,
) -> bytes:
    """Write a whole HTTP answer that ends the connection; `without_body` answers HEAD."""
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    head = "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"
    return head if without_body else head + body


def render_refusal(refused: HttpRefused, *, without_body: bool = False) -> bytes:
    """Write the answer to a refused request: JSON with code, message, retry_after_ms, scope and limit."""
    content: dict[str, str | int] = {"code": refused.code.value, "message": refused.message}
    if refused.scope is not None and refused.limit is not None:
        content.update(scope=refused.scope, limit=refused.limit)
    headers = refused.headers
    if refused.retry_after_ms is not None:
        content["retry_after_ms"] = refused.retry_after_ms
        headers += (("Retry-After", str(-(-refused.retry_after_ms // 1000))),)
    body = json.dumps(content).encode("ascii") + b"\n"
    return render_answer(refused.status, body, "application/json", headers=headers, without_body=without_body)


def _bad_head(message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> HttpRefused:
    return HttpRefused(status, Code.BAD_FRAME, message)


def _upgrade_required(message: str) -> HttpRefused:
    headers = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
    return HttpRefused(HTTPStatus.UPGRADE_REQUIRED, Code.BAD_FRAME, message, headers=headers)
