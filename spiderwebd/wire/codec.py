"""A client's frames, decoded by RFC 6455 in one pass with their bounds.

It refuses what wsproto's server refuses, with the same close codes (the tests hold one against the
other), and costs a quarter of it: no event, header and buffer objects a frame. Pure: bytes in, events
out, time is an argument.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from spiderwebd.core.codes import Close
from spiderwebd.wire.framing import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FINAL,
    MASKED,
    NO_STATUS,
    PING,
    PONG,
    TEXT,
    FrameBounds,
    FrameLimits,
    Verdict,
)

_WHOLE_TEXT = FINAL | TEXT
_RESERVED_BITS = 0x70
_OPCODES = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})

_ASSIGNED_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013})
"""Of 1000 to 2999, what an endpoint may send (RFC 6455 section 7.4 and the IANA registry)."""

_Decoder = codecs.getincrementaldecoder("utf-8")


@dataclass(frozen=True, slots=True)
class PeerPing:
    """The peer asks for a pong with this payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class PeerClose:
    """The peer's last frame; NO_STATUS when it gave no code."""

    code: int
    reason: str


FrameEvent = str | PeerPing | PeerClose
"""A whole text message, or a control frame that wants an answer."""


class FrameDecoder(FrameBounds):
    """Turn one client's bytes into events, up to its close frame or to the first broken rule.

    What came before the offending frame is handed out; `verdict` then says why nothing follows. At most
    one message (FrameLimits.message_bytes) is kept.
    """

    __slots__ = ("_frame", "_kept", "_message_parts")

    def __init__(self, limits: FrameLimits, now: float) -> None:
        """Start behind the upgrade; `now` in seconds."""
        super().__init__(limits, now)
        self._kept: bytearray | None = None
        self._frame: tuple[int, int, bytes] | None = None
        self._message_parts: tuple[list[str], codecs.IncrementalDecoder] | None = None

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._frame is not None

    def feed(self, data: bytes | bytearray, now: float) -> list[FrameEvent]:
        """Take the next bytes of the stream; return the events that they complete, in order."""
        if self.verdict is not None or (self.close_seen and self._frame is None):
            return []
        self.refill(now)
        kept = self._kept
        if kept is not None:
            # Amortised, and not looked at before the frame is whole: single bytes cost no more.
            kept += data
            if self._frame is not None and len(kept) < self._frame[1]:
                return []
            data, self._kept = kept, None
        return self._decode(data)

    def _decode(self, data: bytes | bytearray) -> list[FrameEvent]:
        events: list[FrameEvent] = []
        position, end = 0, len(data)
        while True:
            if self._frame is not None:
                first, length, key = self._frame
                start = position
            else:
                if end - position < 2:
                    break
                first, second = data[position], data[position + 1]
                length = second & 0x7F
                start = position + 2
                if length == 126:
                    start += 2
                    length = int.from_bytes(data[position + 2 : start], "big")
                elif length == 127:
                    start += 8
                    length = int.from_bytes(data[position + 2 : start], "big")
                if second & MASKED:
                    start += 4
                if start > end:
                    self.verdict = _malformed(first, second, None)
                    break
                self.verdict = (
                    self.judge(first, length)
                    or _malformed(first, second, length)
                    or self._out_of_turn(first & 0x0F)
                )
                if self.verdict is not None:
                    return events
                key = bytes(data[start - 4 : start])
            stop = start + length
            if stop > end:
                self._frame = (first, length, key)
                position = start
                break
            self._frame = None
            payload = _unmask(data[start:stop], key)
            position = stop
            if first == _WHOLE_TEXT:
                try:
                    events.append(str(payload, "utf-8"))
                except UnicodeDecodeError as fault:
                    self.verdict = _not_utf8(fault)
                    return events
                continue
            event = self._special(first, payload)
            if event is not None:
                events.append(event)
            if self.verdict is not None or self.close_seen:
                return events
        if position < end or self._frame is not None:
            self._kept = bytearray(data[position:])
        return events

    def _out_of_turn(self, opcode: int) -> Verdict | None:
        """Check that messages do not mix (RFC 6455 section 5.4)."""
        if opcode == TEXT and self._message_parts is not None:
            return _broken("a new message began inside another")
        if opcode == CONTINUATION and self._message_parts is None:
            return _broken("a continuation of no message")
        return None

    def _special(self, first: int, payload: bytes) -> FrameEvent | None:
        opcode = first & 0x0F
        if opcode == PING:
            return PeerPing(payload)
        if opcode == PONG:
            return None
        if opcode == CLOSE:
            return self._close(payload)
        return self._fragment(first, payload)

    def _fragment(self, first: int, payload: bytes) -> str | None:
        """Take a frame of a fragmented message; UTF-8 is checked piece by piece."""
        if self._message_parts is None:
            self._message_parts = ([], _Decoder())
        parts, utf8 = self._message_parts
        final = first >= FINAL
        try:
            parts.append(utf8.decode(payload, final))
        except UnicodeDecodeError as fault:
            self.verdict = _not_utf8(fault)
            return None
        if not final:
            return None
        self._message_parts = None
        return "".join(parts)

    def _close(self, payload: bytes) -> PeerClose | None:
        if not payload:
            return PeerClose(NO_STATUS, "")
        code = int.from_bytes(payload[:2], "big")
        if len(payload) == 1:
            self.verdict = _broken("a close frame of one byte")
        elif code not in _ASSIGNED_CLOSE_CODES and not 3000 <= code <= 4999:
            self.verdict = _broken(f"close code {code} may not be sent")
        else:
            try:
                return PeerClose(code, str(payload[2:], "utf-8"))
            except UnicodeDecodeError as fault:
                self.verdict = _not_utf8(fault)
        return None


def _unmask(payload: bytes | bytearray, key: bytes) -> bytes:
    """Undo RFC 6455 section 5.3: one XOR of two long integers."""
    length = len(payload)
    mask = int.from_bytes((key * (length // 4 + 1))[:length], "little")
    return (int.from_bytes(payload, "little") ^ mask).to_bytes(length, "little")


def _malformed(first: int, second: int, length: int | None) -> Verdict | None:
    """Check a header (RFC 6455 sections 5.1, 5.2 and 5.5); `length` is None while it is cut off."""
    opcode, short = first & 0x0F, second & 0x7F
    if opcode not in _OPCODES:
        return _broken(f"opcode {opcode} is reserved")
    if opcode >= CLOSE and (not first & FINAL or short > 125):
        return _broken("a control frame is one frame of at most 125 bytes")
    if first & _RESERVED_BITS:
        return _broken("a reserved bit is set")
    if not second & MASKED:
        return _broken("a client's frames are masked")
    if length is not None and (
        (short == 126 and length < 126) or (short == 127 and not 65_536 <= length < 2**63)
    ):
        return _broken("a length is not written in its shortest form")
    return None


def _broken(reason: str) -> Verdict:
    return Verdict(Close.PROTOCOL_ERROR, reason)


def _not_utf8(fault: UnicodeDecodeError) -> Verdict:
    return Verdict(Close.INVALID_DATA, f"a text is not UTF-8 at byte {fault.start}")
