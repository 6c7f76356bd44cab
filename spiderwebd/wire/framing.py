"""The bounds of an incoming websocket byte stream, read off frame headers before anything is kept.

trio-websocket bounds messages in characters, keeps empty fragments without limit and hands binary
messages on; the meter sees each frame's header first (RFC 6455 section 5.2) and says how many bytes
may pass. What a frame means, and whether it is well formed, stays wsproto's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from spiderwebd.core.codes import Close

_CONTINUATION, _TEXT, _BINARY, _CLOSE = 0x0, 0x1, 0x2, 0x8
_FINAL, _MASKED = 0x80, 0x80
_LONGEST_HEADER = 14


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """What one peer may send."""

    message_bytes: int = 262_144
    """Of one message, all fragments together."""
    fragments: int = 1_024
    """Frames of one message; a 256 KiB message in pieces of 256 bytes still passes."""
    frames_per_second: float = 2_000.0
    """Sustained, control frames included."""
    burst: int = 4_000
    """Frames at once after a pause."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a peer's stream ends here."""

    code: Close
    reason: str


class FrameMeter:
    """Follow one peer's frames and stop at the first that breaks a bound.

    Pure: time is an argument (seconds, monotonic). After a verdict no byte passes any more.
    """

    __slots__ = (
        "_fragments",
        "_limits",
        "_message",
        "_partial",
        "_skip",
        "_tokens",
        "_tokens_at",
        "close_seen",
        "frames",
        "verdict",
    )

    def __init__(self, limits: FrameLimits, now: float) -> None:
        """Start with a full burst."""
        self._limits = limits
        self._tokens = float(limits.burst)
        self._tokens_at = now
        self._skip = 0
        self._partial = b""
        self._message = 0
        self._fragments = 0
        self.frames = 0
        """Frames seen so far."""
        self.close_seen = False
        """Whether the peer sent a close frame."""
        self.verdict: Verdict | None = None
        """Set once, by the frame that broke a bound."""

    def pass_on(self, data: bytes | bytearray, now: float) -> int:
        """Say how many leading bytes of `data` may pass: all, or those before the offending frame."""
        if self.verdict is not None:
            return 0
        self._refill(now)
        position, end = 0, len(data)
        while position < end:
            if self._skip:
                step = min(self._skip, end - position)
                self._skip -= step
                position += step
                continue
            had = len(self._partial)
            header = self._partial + data[position : position + _LONGEST_HEADER - had]
            size = _header_size(header)
            if size > len(header):
                self._partial = header
                return end
            self._partial = b""
            length = _payload_length(header)
            self.verdict = self._judge(header[0], length)
            if self.verdict is not None:
                return position
            self._skip = length
            position += size - had
        return end

    def _refill(self, now: float) -> None:
        earned = (now - self._tokens_at) * self._limits.frames_per_second
        self._tokens = min(float(self._limits.burst), self._tokens + earned)
        self._tokens_at = now

    def _judge(self, first: int, length: int) -> Verdict | None:
        limits = self._limits
        self.frames += 1
        if self._tokens < 1:
            return Verdict(Close.POLICY, f"more than {limits.frames_per_second:g} frames a second")
        self._tokens -= 1
        opcode = first & 0x0F
        if opcode == _BINARY:
            return Verdict(Close.UNSUPPORTED_DATA, "binary messages are not part of the protocol")
        if opcode == _CLOSE:
            self.close_seen = True
        if opcode > _BINARY:
            return None
        self._message += length
        self._fragments += 1
        if self._message > limits.message_bytes:
            return Verdict(Close.TOO_BIG, f"a message is longer than {limits.message_bytes} bytes")
        if self._fragments > limits.fragments:
            return Verdict(Close.POLICY, f"a message in more than {limits.fragments} fragments")
        if first & _FINAL:
            self._message = self._fragments = 0
        return None


def _header_size(header: bytes | bytearray) -> int:
    if len(header) < 2:
        return 2
    length = header[1] & 0x7F
    extended = 2 if length == 126 else 8 if length == 127 else 0
    return 2 + extended + (4 if header[1] & _MASKED else 0)


def _payload_length(header: bytes | bytearray) -> int:
    length = header[1] & 0x7F
    if length == 126:
        return int.from_bytes(header[2:4], "big")
    if length == 127:
        return int.from_bytes(header[2:10], "big")
    return length


def control_frame(opcode: int, payload: bytes = b"") -> bytes:
    """Render an unmasked, unfragmented control frame as a server sends it.

    Raises ValueError when the payload is longer than the 125 bytes of RFC 6455 section 5.5.
    """
    if len(payload) > 125:
        raise ValueError("a control frame carries at most 125 bytes")
    return bytes((_FINAL | opcode, len(payload))) + payload


PING_FRAME = control_frame(0x9)


def close_frame(code: int, reason: str) -> bytes:
    """Render a close frame; the reason is cut at a character so that it fits."""
    return control_frame(_CLOSE, code.to_bytes(2, "big") + cut_reason(reason).encode())


def cut_reason(reason: str) -> str:
    """Cut a close reason to the 123 bytes of UTF-8 that a close frame has room for."""
    return reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore")
