"""Frames by the million: honest ones, broken ones, and honest ones with some of their bytes changed."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable

from tests.wire.loopback import BINARY, CLOSE, PING, PONG, TEXT, frame

CONTINUATION = 0x0
DEEP = 20_000
WORDS = ("tea", "caf\u00e9", "\U0001f375", "", "a" * 200, "\\u0000", "NaN", "-0", "1e999", "\ud800")

FIELDS: dict[str, tuple[object, ...]] = {
    "type": (
        "ping", "chat.send", "memory.create", "memory.load", "memory.update", "memory.evict", "memory.query",
        "memory.recall", "memory.summarize", "agent.control", "agent.list", "agent.get", "agent.heartbeat",
        "connect", "session.reset", "nonsense", "", None, 7, [], {},
    ),
    "id": ("r-1", "r-2", "", "x" * 300, 7, None, True),
    "content": ("tea", "", "/goal report status", "/goal ", "x" * 5000, None, {}, ["a"], "\x00"),
    "memoryId": (1, 2, 0, -1, 2**63, 2**64, 1.5, "1", None, True, []),
    "action": ("state", "pause", "resume", "cancel", "watch", "unwatch", "explode", None, 3),
    "search": ("tea", '"', "NEAR(", "*", "a OR b", "x" * 3000, "", 9),
    "limit": (1, 0, -5, 10**30, "5", None),
    "scope": ("session", "agent", "all", "house", 1),
    "kind": ("entry", "summary", "other", None),
    "goalId": (1, 0, -1, 2**70, "g"),
    "pauseBefore": (1, 0, -1, "2", None),
}  # fmt: skip
"""What fields of client frames may hold, right and wrong."""

ODD_TEXTS = (
    b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"type":' + b"[" * DEEP,
    b'{"type":"ping","type":"chat.send"}', b'{"type":"ping","id":' + b"9" * 5000 + b"}",
    b'{"type":"ping","id":"\\ud800"}', b'{"type":"ping"}{"type":"ping"}', b"\xef\xbb\xbf{}", b"null",
    b"0", b'""', b"",
    b'{"type":"chat.send","content":"' + b"\\u0000" * 500 + b'"}', b'{"type":NaN}', b'{"type":"ping",}',
    b"\x00" * 50,
    b'{"' + b"k" * 10_000 + b'":1}', b"{" + b",".join(b'"%d":0' % n for n in range(3000)) + b"}",
)  # fmt: skip
"""Texts that are deep, huge or nearly JSON."""


def text(chance: random.Random) -> bytes:
    """A client frame with some of its fields right and some wrong; at times bytes are changed."""
    roll = chance.random()
    if roll < 0.004:
        return chance.choice(ODD_TEXTS)
    fields = chance.sample(list(FIELDS), chance.randint(0, 4))
    message = {name: chance.choice(FIELDS[name]) for name in fields}
    message["type"] = chance.choice(FIELDS["type"])
    data = json.dumps(message).encode()
    return changed(data, chance) if roll < 0.3 else data


def changed(data: bytes, chance: random.Random) -> bytes:
    """Some bytes flipped, cut out, doubled or put in."""
    mutable = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(mutable) + 1)
        match chance.randrange(4):
            case 0 if place < len(mutable):
                mutable[place] ^= 1 << chance.randrange(8)
            case 1:
                del mutable[place : place + chance.randint(1, 20)]
            case 2:
                mutable[place:place] = chance.randbytes(chance.randint(1, 8))
            case _:
                mutable[place:place] = mutable[place : place + chance.randint(1, 20)]
    return bytes(mutable)


def fragments(data: bytes, chance: random.Random) -> list[bytes]:
    """A text in pieces, characters cut in two included, at times with a ping between."""
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randint(1, 4)))
    edges = [0, *cuts, len(data)]
    made = [
        frame(TEXT if number == 0 else CONTINUATION, data[start:end], final=number == len(cuts))
        for number, (start, end) in enumerate(itertools.pairwise(edges))
    ]
    if chance.random() < 0.3:
        made.insert(1, frame(PING, b"between"))
    return made


def valid(chance: random.Random) -> list[bytes]:
    """One message or control frame that keeps the rules of the framing, as one or more frames."""
    roll = chance.random()
    if roll < 0.45:
        return [frame(TEXT, as_utf8(text(chance)))]
    if roll < 0.55:
        return fragments(as_utf8(text(chance)), chance)
    if roll < 0.8:
        return [frame(PING, chance.randbytes(chance.randint(0, 125)))]
    return [frame(PONG, chance.randbytes(chance.randint(0, 125)))]


def as_utf8(data: bytes) -> bytes:
    """The same with what is no UTF-8 replaced."""
    return data.decode("utf-8", "replace").encode()


BREACHES: tuple[Callable[[random.Random], bytes], ...] = (
    lambda chance: frame(chance.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), chance.randbytes(5)),
    lambda chance: frame(chance.choice((TEXT, PING, CLOSE)), b"x", masked=False),
    lambda chance: frame(chance.choice((TEXT, PING)), b"x", rsv=chance.choice((16, 32, 64, 112))),
    lambda chance: frame(chance.choice((PING, PONG, CLOSE)), final=False),
    lambda chance: frame(chance.choice((PING, PONG)), chance.randbytes(chance.randint(126, 300))),
    lambda chance: frame(CONTINUATION, b"of nothing"),
    lambda chance: frame(TEXT, b"one", final=False) + frame(TEXT, b"two"),
    lambda chance: frame(TEXT, chance.choice((b"\xff", b"\xed\xa0\x80", b"\xe2\x82", b"\xc0\x80")) + b"x"),
    lambda chance: b"\x81\xff" + b"\xff" * 8 + chance.randbytes(20),
    lambda chance: b"\x81\xff" + (2**62 + chance.randrange(2**32)).to_bytes(8, "big") + chance.randbytes(20),
    lambda chance: b"\x81\xfe" + chance.randint(0, 125).to_bytes(2, "big") + chance.randbytes(140),
    lambda chance: frame(CLOSE, chance.choice((b"\x03", b"\x03\xed", b"\x03\xe7", b"\x03\xe8\xff", b""))),
    lambda chance: frame(BINARY, chance.randbytes(30)),
    lambda chance: chance.randbytes(chance.randint(1, 60)),
    lambda chance: changed(b"".join(valid(chance)), chance),
)
"""How a stream may break the rules, or end."""


class Pool:
    """Frames made before they are needed and, a part at a time, made anew."""

    def __init__(self, chance: random.Random, size: int = 3_000) -> None:
        self._chance = chance
        self._made = [valid(chance) for _ in range(size)]

    def stream(self, messages: int) -> tuple[bytes, int]:
        """So many messages that keep the framing's rules, then a breach; the bytes and their frames."""
        chance, made = self._chance, self._made
        for _ in range(max(1, messages // 8)):
            made[chance.randrange(len(made))] = valid(chance)
        chosen = chance.choices(made, k=messages)
        parts = [part for message in chosen for part in message]
        parts.append(chance.choice(BREACHES)(chance))
        return b"".join(parts), len(parts)
