"""A client's websocket frames, built ahead of time, and the cheapest reading of a server's that is right.

RFC 6455 section 5.2. Only what a load program needs: whole text messages out, a count of what
comes in, and the control frames it must answer.
"""

from __future__ import annotations

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
_FINAL, _MASKED = 0x80, 0x80


def masked(payload: bytes, key: bytes) -> bytes:
    """Return `payload` with the 4-byte `key` applied (RFC 6455 section 5.3); twice gives it back."""
    size = len(payload)
    stream = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


def client_frame(payload: bytes, key: bytes, opcode: int = TEXT) -> bytes:
    """Return one final, masked frame with a payload of any size."""
    size = len(payload)
    if size < 126:
        head = bytes((_FINAL | opcode, _MASKED | size))
    elif size < 65_536:
        head = bytes((_FINAL | opcode, _MASKED | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | opcode, _MASKED | 127)) + size.to_bytes(8, "big")
    return head + key + masked(payload, key)


class FrameScanner:
    """Counts a server's frames as their bytes come, and those whose payload starts with `mark`.

    A server does not mask, so a frame is skipped by its length alone. Fragments of one message are
    not joined: neither server here fragments.
    """

    __slots__ = ("_rest", "bytes", "control", "frames", "mark", "marked_bytes")

    def __init__(self, mark: bytes = b"") -> None:
        self.mark = mark
        """What a payload must start with to be counted as a reply; empty counts every data frame."""
        self.frames = 0
        """Data frames so far."""
        self.bytes = 0
        """Bytes taken so far, what is not whole yet included."""
        self.marked_bytes = 0
        """Size of the payload last counted."""
        self.control: list[tuple[int, bytes]] = []
        """(opcode, payload) of control frames; whoever reads them empties the list."""
        self._rest = b""

    def feed(self, data: bytes) -> int:
        """Take bytes as received; return how many replies became whole with them."""
        self.bytes += len(data)
        if self._rest:
            data = self._rest + data
        mark, position, end, found = self.mark, 0, len(data), 0
        while end - position >= 2:
            length, body = data[position + 1], position + 2
            if length > 125:
                wide = 2 if length == 126 else 8
                if end - body < wide:
                    break
                length = int.from_bytes(data[body : body + wide], "big")
                body += wide
            stop = body + length
            if stop > end:
                break
            opcode = data[position] & 0x0F
            if opcode & 0x8:
                self.control.append((opcode, data[body:stop]))
            else:
                self.frames += 1
                if data.startswith(mark, body, stop):
                    found += 1
                    self.marked_bytes = length
            position = stop
        self._rest = data[position:]
        return found
