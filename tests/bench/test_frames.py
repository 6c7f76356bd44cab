"""Frames as the load program builds and counts them: pure bytes, checked against RFC 6455."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from tests.bench.frames import CLOSE, PING, TEXT, FrameScanner, client_frame, masked


def server_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Write a frame as a server does: final, not masked."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, size))
    elif size < 65_536:
        head = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
    return head + payload


def test_the_masked_hello_of_the_rfc_is_built_byte_for_byte() -> None:
    """RFC 6455 section 5.7 gives a masked "Hello"; ours is the same."""
    built = client_frame(b"Hello", b"\x37\xfa\x21\x3d")
    assert built == bytes.fromhex("818537fa213d7f9f4d5158")


@given(payload=st.binary(max_size=300), key=st.binary(min_size=4, max_size=4))
def test_masking_is_exclusive_or_and_its_own_inverse(payload: bytes, key: bytes) -> None:
    """The whole-number form of masking equals the byte by byte form of the RFC."""
    covered = masked(payload, key)
    assert covered == bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))
    assert masked(covered, key) == payload


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536])
def test_a_server_reads_every_length_of_frame_back(size: int) -> None:
    """wsproto, as a server, gets the payload out of a frame of each length form."""
    text = "x" * size
    server = FrameProtocol(client=False, extensions=[])
    server.receive_bytes(client_frame(text.encode(), b"\x01\x02\x03\x04"))
    frames = list(server.received_frames())
    assert [frame.opcode for frame in frames] == [Opcode.TEXT] * len(frames)
    assert "".join(str(frame.payload) for frame in frames) == text
    assert frames[-1].message_finished


@settings(max_examples=60)
@given(data=st.data())
def test_frames_are_counted_the_same_however_the_bytes_are_cut(data: st.DataObject) -> None:
    """Counts depend on the bytes alone, never on where one receive ended and the next began."""
    sizes = st.sampled_from([0, 1, 40, 125, 126, 500, 65_535, 65_536])
    messages = data.draw(st.lists(st.tuples(st.booleans(), sizes), max_size=8))
    stream = b""
    for wanted, size in messages:
        stream += server_frame((b"reply" if wanted else b"other") + b"." * size)
        stream += server_frame(b"now?", PING)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    scanner = FrameScanner(b"reply")
    found = 0
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += scanner.feed(stream[begin:end])
    assert found == sum(wanted for wanted, _ in messages)
    assert scanner.frames == len(messages)
    assert scanner.control == [(PING, b"now?")] * len(messages)
    assert scanner.bytes == len(stream)


def test_a_mark_that_only_begins_the_next_frame_is_not_counted() -> None:
    """A payload shorter than the mark does not borrow bytes from the frame behind it."""
    scanner = FrameScanner(b"ab")
    assert scanner.feed(b"\x81\x01a" + b"b" * 2) == 0
    assert scanner.frames == 1


def test_without_a_mark_every_data_frame_is_a_reply_and_control_frames_are_none() -> None:
    """The echo server is counted by frames alone."""
    scanner = FrameScanner()
    assert scanner.feed(server_frame(b"a") + server_frame(b"", CLOSE) + server_frame(b"")) == 2
    assert scanner.control == [(CLOSE, b"")]


def test_the_size_of_the_last_reply_is_kept() -> None:
    """session.ack is measured by it."""
    scanner = FrameScanner(b"{")
    scanner.feed(server_frame(b"{" + b"x" * 299) + server_frame(b"later"))
    assert scanner.marked_bytes == 300
