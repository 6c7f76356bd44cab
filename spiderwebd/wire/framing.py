"""The bounds of what a peer may send, and the frames the daemon writes.

trio-websocket bounds messages in characters, keeps empty fragments without limit and hands binary
messages on; on its path the meter sees each frame's header first (RFC 6455 section 5.2) and says how
many bytes may pass. The decoder of `codec` judges by the same bounds where it decodes.
"""

from __future__ import annotations

from dataclasses import dataclass

from spiderwebd.core.codes import Close

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FINAL, MASKED = 0x80, 0x80
_LONGEST_HEADER = 14


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """What one peer may send."""

    message_bytes: int = 262_144
    """Of one message, all fragments together."""
    fragments: int = 1_024
    """Frames of one message; a 256 KiB message in pieces of 256 bytes still passes."""
    frames_per_second: float = 20_000.0
    """Sustained, control frames included; above what one core answers, so no honest client meets it."""
    burst: int = 40_000
    """Frames at once after a pause."""
    bytes_per_second: float = 67_108_864.0
    """Of payloads, sustained; twice as many at once after a pause."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a peer's stream ends here."""

    code: Close
    reason: str


class FrameBounds:
    """Judge one peer's frames by their headers.

    Pure: time is an argument (seconds, monotonic).
    """

    __slots__ = (
        "_bytes",
        "_fragments",
        "_limits",
        "_message",
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
        self._bytes = 2 * limits.bytes_per_second
        self._tokens_at = now
        self._message = 0
        self._fragments = 0
        self.frames = 0
        """Frames seen so far."""
        self.close_seen = False
        """Whether the peer sent a close frame."""
        self.verdict: Verdict | None = None
        """Set once, by the frame that broke a rule."""

    def refill(self, now: float) -> None:
        """Pay back the burst for the time that has passed."""
        limits, passed = self._limits, now - self._tokens_at
        self._tokens = min(float(limits.burst), self._tokens + passed * limits.frames_per_second)
        self._bytes = min(2 * limits.bytes_per_second, self._bytes + passed * limits.bytes_per_second)
        self._tokens_at = now

    def judge(self, first: int, length: int) -> Verdict | None:
        """Count a frame by its first byte and payload length; the verdict if it breaks a bound."""
        limits = self._limits
        self.frames += 1
        if self._tokens < 1:
            return Verdict(Close.POLICY, f"more than {limits.frames_per_second:g} frames a second")
        self._tokens -= 1
        self._bytes -= length
        opcode = first & 0x0F
        if opcode == BINARY:
            return Verdict(Close.UNSUPPORTED_DATA, "binary messages are not part of the protocol")
        if opcode == CLOSE:
            self.close_seen = True
        if opcode > BINARY:
            return None
        self._message += length
        self._fragments += 1
        if self._message > limits.message_bytes:
            return Verdict(Close.TOO_BIG, f"a message is longer than {limits.message_bytes} bytes")
        if self._fragments > limits.fragments:
            return Verdict(Close.POLICY, f"a message in more than {limits.fragments} fragments")
        if self._bytes < 0:
            return Verdict(Close.POLICY, f"more than {limits.bytes_per_second:g} bytes a second")
        if first & FINAL:
            self._message = self._fragments = 0
        return None


class FrameMeter(FrameBounds):
    """Follow one peer's frames without keeping them, and stop at the first that breaks a bound.

    After a verdict no byte passes any more.
    """

    __slots__ = ("_partial", "_skip")

    def __init__(self, limits: FrameLimits, now: float) -> None:
        """Start with a full burst."""
        super().__init__(limits, now)
        self._skip = 0
        self._partial = b""

    def pass_on(self, data: bytes | bytearray, now: float) -> int:
        """Say how many leading bytes of `data` may pass: all, or those before the offending frame."""
        if self.verdict is not None:
            return 0
        self.refill(now)
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
            self.verdict = self.judge(header[0], length)
            if self.verdict is not None:
                return position
            self._skip = length
            position += size - had
        return end


def _header_size(header: bytes | bytearray) -> int:
    if len(header) < 2:
        return 2
    length = header[1] & 0x7F
    extended = 2 if length == 126 else 8 if length == 127 else 0
    return 2 + extended + (4 if header[1] & MASKED else 0)


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
    return bytes((FINAL | opcode, len(payload))) + payload


PING_FRAME = control_frame(PING)

NO_STATUS = 1005
"""RFC 6455 section 7.4.1: a close frame that carried no code. Never sent, only reported."""

_TEXT_HEADS = [bytes((FINAL | TEXT, length)) for length in range(126)]


def close_frame(code: int, reason: str) -> bytes:
    """Render a close frame; the reason is cut at a character so that it fits. NO_STATUS sends none."""
    if code == NO_STATUS:
        return control_frame(CLOSE)
    return control_frame(CLOSE, code.to_bytes(2, "big") + cut_reason(reason).encode())


def text_frame(text: str) -> bytes:
    """Render one unfragmented text message as a server sends it.

    Raises UnicodeEncodeError for a lone surrogate, which UTF-8 cannot carry.
    """
    payload = text.encode()
    length = len(payload)
    if length < 126:
        return _TEXT_HEADS[length] + payload
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def cut_reason(reason: str) -> str:
    """Cut a close reason to the 123 bytes of UTF-8 that a close frame has room for."""
    return reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore")
