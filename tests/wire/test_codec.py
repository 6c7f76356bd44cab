"""The decoder of a client's frames, held against wsproto: same messages, same verdicts."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

from spiderwebd.wire.codec import FrameDecoder, FrameEvent, PeerClose, PeerPing
from spiderwebd.wire.framing import FrameLimits
from tests.wire.loopback import BINARY, CLOSE, MASK, PING, PONG, TEXT, frame

CONTINUATION = 0x0
NO_BOUNDS = FrameLimits(
    message_bytes=2**64, fragments=10**9, frames_per_second=1e9, burst=10**9, bytes_per_second=2.0**64
)
"""Bounds are ours alone; wsproto knows none."""

BROKEN = "broken"
Told = list[tuple[str | int, object]]


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut data at the given places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def ours(data: bytes, cuts: Iterable[int], limits: FrameLimits = NO_BOUNDS) -> Told:
    """Say what our decoder makes of a stream: its events, then its verdict's code."""
    decoder = FrameDecoder(limits, 0.0)
    events: list[FrameEvent] = []
    for piece in pieces(data, cuts):
        events += decoder.feed(piece, 0.0)
    told: Told = []
    for event in events:
        match event:
            case str():
                told.append(("text", event))
            case PeerPing():
                told.append(("ping", event.payload))
            case PeerClose():
                told.append((event.code, event.reason))
    if decoder.verdict is not None:
        told.append((BROKEN, int(decoder.verdict.code)))
    return told


def theirs(data: bytes, cuts: Iterable[int]) -> Told:
    """Say what wsproto makes of it; it hands texts on in pieces and names a breach by an event."""
    connection = Connection(ConnectionType.SERVER)
    told: Told = []
    text = ""
    for piece in pieces(data, cuts):
        connection.receive_data(piece)
        for event in connection.events():
            match event:
                case TextMessage():
                    text += event.data
                    if event.message_finished:
                        told.append(("text", text))
                        text = ""
                case Ping():
                    told.append(("ping", bytes(event.payload)))
                case Pong():
                    pass
                case CloseConnection() if connection.state.name == "OPEN":
                    told.append((BROKEN, int(event.code)))
                    return told
                case CloseConnection():
                    told.append((int(event.code), event.reason or ""))
                    return told
    return told


euros = st.text(max_size=300).map(str.encode)

honest = st.one_of(
    euros.map(lambda text: [frame(TEXT, text)]),
    st.tuples(
        st.text(min_size=1, max_size=60).map(str.encode), st.lists(st.integers(0, 200), max_size=5)
    ).map(lambda message: fragments(*message)),
    st.binary(max_size=125).map(lambda payload: [frame(PING, payload)]),
    st.binary(max_size=125).map(lambda payload: [frame(PONG, payload)]),
)

cuttings = st.lists(st.integers(0, 20_000), max_size=15)


def fragments(text: bytes, cuts: list[int]) -> list[bytes]:
    """Write a text message in fragments, characters cut in two included, with a ping inside."""
    parts = pieces(text, cuts)
    frames = [
        frame(TEXT if number == 0 else CONTINUATION, part, final=number == len(parts) - 1)
        for number, part in enumerate(parts)
    ]
    return [*frames[:1], frame(PING, b"between"), *frames[1:]]


closes = st.one_of(
    st.just(frame(CLOSE)),
    st.builds(
        lambda code, reason: frame(CLOSE, code.to_bytes(2, "big") + reason),
        st.one_of(st.integers(990, 1020), st.sampled_from([0, 2999, 3000, 4999, 5000, 65_535])),
        st.one_of(st.text(max_size=30).map(str.encode), st.binary(max_size=30)),
    ),
    st.just(frame(CLOSE, b"\x03")),
)

faulty = st.one_of(
    closes,
    st.builds(frame, st.sampled_from([*range(3, 8), *range(11, 16)]), st.binary(max_size=20)),
    st.builds(frame, st.sampled_from([TEXT, PING, CLOSE]), st.just(b"x"), masked=st.just(False)),
    st.builds(frame, st.sampled_from([TEXT, PING]), st.just(b"x"), rsv=st.sampled_from([16, 32, 64, 112])),
    st.builds(frame, st.sampled_from([PING, PONG, CLOSE]), st.just(b""), final=st.just(False)),
    st.builds(frame, st.sampled_from([PING, PONG]), st.binary(min_size=126, max_size=130)),
    st.just(frame(CONTINUATION, b"of nothing")),
    st.just(frame(TEXT, b"one", final=False) + frame(TEXT, b"two")),
    st.binary(min_size=1, max_size=8).map(lambda text: frame(TEXT, b"\xff" + text)),
    st.just(frame(TEXT, b"\xed\xa0\x80")),
    st.just(frame(TEXT, "\u20ac".encode()[:2])),
    st.just(frame(TEXT, "\u20ac".encode()[:2], final=False) + frame(CONTINUATION, b"x")),
    st.integers(0, 125).map(lambda size: b"\x81\xfe" + size.to_bytes(2, "big") + MASK + bytes(size)),
    st.integers(0, 300).map(lambda size: b"\x81\xff" + size.to_bytes(8, "big") + MASK + bytes(size)),
    st.just(b"\x81\xff\x80" + bytes(7) + MASK),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(honest, max_size=8), st.one_of(st.just(b""), closes), cuttings)
def test_an_honest_stream_says_the_same_to_both(
    messages: list[list[bytes]], end: bytes, cuts: list[int]
) -> None:
    """Texts, pings and the close frame come out as from wsproto, wherever TCP cuts the stream."""
    data = b"".join(part for message in messages for part in message) + end
    assert ours(data, cuts) == theirs(data, cuts)


@settings(max_examples=200, deadline=None)
@given(st.lists(honest, max_size=3), faulty, st.lists(honest, max_size=2), cuttings)
@example([], frame(TEXT, b"open", final=False) + frame(CLOSE, b"\x03\xe8"), [], [])
@example([], frame(CLOSE, b"\x03\xe8") + frame(3, b"after the end"), [], [5])
def test_what_one_refuses_the_other_refuses(
    before: list[list[bytes]], fault: bytes, after: list[list[bytes]], cuts: list[int]
) -> None:
    """The same messages before the breach, the same code for it, and nothing behind it."""
    data = b"".join(part for message in before for part in message) + fault
    data += b"".join(part for message in after for part in message)
    assert ours(data, cuts) == theirs(data, cuts)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), cuttings)
def test_any_bytes_say_the_same_to_both(data: bytes, cuts: list[int]) -> None:
    """Random bytes are refused, or waited for, by both.

    Binary frames are refused by ours alone; the UTF-8 of a frame that never ends, by wsproto alone.
    """
    data += bytes(20)  # so that no header stays cut off, which one looks at earlier than the other
    told, expected = ours(data, cuts), theirs(data, cuts)
    if told[-1:] != [(BROKEN, 1003)] and expected[-1:] != [(BROKEN, 1007)]:
        assert told == expected


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 125, 126, 65_535, 65_536, 200_000])
def test_every_form_of_length(size: int) -> None:
    """A text of each length class is unmasked whole, at once and byte by byte at its edges."""
    text = os.urandom(size).hex()[:size]
    data = frame(TEXT, text.encode())
    assert ours(data, []) == [("text", text)]
    assert ours(data, [*range(20), len(data) - 1]) == [("text", text)]


def test_bounds_come_before_form() -> None:
    """A frame is judged by its header alone: an oversize one is never waited for."""
    limits = FrameLimits(message_bytes=100, fragments=3, frames_per_second=1, burst=20)
    cases = {
        frame(TEXT, bytes(101))[:8]: 1009,
        b"\x81\xff" + b"\xff" * 8 + MASK: 1009,
        frame(TEXT, bytes(60), final=False) + frame(CONTINUATION, bytes(60)): 1009,
        frame(TEXT, final=False) + frame(CONTINUATION, final=False) * 3: 1008,
        frame(PING) * 21: 1008,
        frame(BINARY, b"x"): 1003,
    }
    for data, code in cases.items():
        assert ours(data, [], limits)[-1] == (BROKEN, code)


def test_nothing_is_said_after_the_end() -> None:
    """After a close frame, and after a breach, no byte means anything."""
    for end in (frame(CLOSE, b"\x03\xe8"), frame(BINARY)):
        decoder = FrameDecoder(NO_BOUNDS, 0.0)
        assert decoder.feed(frame(TEXT, b"last") + end + frame(TEXT, b"late"), 0.0)[0] == "last"
        assert decoder.feed(frame(TEXT, b"later"), 1.0) == []
