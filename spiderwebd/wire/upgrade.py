"""The answer to a checked upgrade request, for links whose frames trio-websocket does not carry.

The door has checked the client's head and put one of its own in its place (`head`), so nothing is left to
decide. Answered here, a link costs no second parser, task and nursery that would end with its first frame.
"""

from __future__ import annotations

import base64
import hashlib

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""
_KEY = b"\r\nsec-websocket-key:"


def upgrade_answer(head: bytes) -> bytes:
    """Return the 101 of RFC 6455 section 4.2.2 for a request head; ValueError when it has no key."""
    at = head.lower().find(_KEY)
    if at < 0:
        raise ValueError("an upgrade request without Sec-WebSocket-Key came past the door")
    start = at + len(_KEY)
    key = head[start : head.index(b"\r\n", start)].strip()
    token = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + token + b"\r\n\r\n"
    )
