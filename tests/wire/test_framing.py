"""The meter over a peer's frames, and the frames the daemon writes itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiderwebd.core.codes import Close
from spiderwebd.wire.framing import (
    FrameLimits,
    FrameMeter,
    close_frame,
    control_frame,
    cut_reason,
    text_frame,
)
from tests.wire.loopback import BINARY, CLOSE, MASK, PING, TEXT, frame

CONTINUATION = 0x0


def measured(data: bytes, cuts: list[int], limits: FrameLimits) -> tuple[FrameMeter, int]:
    """Feed data in pieces cut at the given places; return the meter and the bytes that passed."""
    meter = FrameMeter(limits, 0.0)
    passed, start = 0, 0
    for end in [*sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]:
        passed += meter.pass_on(data[start:end], 0.0)
        start = end
    return meter, passed


frames_in = st.lists(
    st.tuples(st.sampled_from([TEXT, CONTINUATION, PING]), st.binary(max_size=300), st.booleans()),
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(frames_in, st.lists(st.integers(0, 5000), max_size=12))
def test_honest_frames_pass_however_they_are_cut(
    frames: list[tuple[int, bytes, bool]], cuts: list[int]
) -> None:
    """Every byte passes and every frame is counted, wherever TCP cuts the stream."""
    data = b"".join(frame(opcode, payload, masked=masked) for opcode, payload, masked in frames)
    meter, passed = measured(data, cuts, FrameLimits())
    assert (passed, meter.frames, meter.verdict) == (len(data), len(frames), None)


@settings(max_examples=100, deadline=None)
@given(frames_in, st.lists(st.integers(0, 5000), max_size=12))
def test_the_first_offending_frame_is_found_however_it_is_cut(
    frames: list[tuple[int, bytes, bool]], cuts: list[int]
) -> None:
    """All frames before it pass whole; of the offending one no byte of payload does."""
    before = b"".join(frame(opcode, payload, masked=masked) for opcode, payload, masked in frames)
    meter, passed = measured(before + frame(BINARY, b"payload") + frame(TEXT, b"after"), cuts, FrameLimits())
    assert meter.verdict is not None
    assert meter.verdict.code == Close.UNSUPPORTED_DATA
    assert len(before) <= passed < len(before) + 6


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x" * 101), Close.TOO_BIG),
        (frame(TEXT, b"x" * 60, final=False) + frame(CONTINUATION, b"x" * 60), Close.TOO_BIG),
        (b"\x81\xff" + b"\xff" * 8 + MASK, Close.TOO_BIG),
        (frame(TEXT, final=False) + frame(CONTINUATION, final=False) * 4, Close.POLICY),
        (frame(PING) * 11, Close.POLICY),
        (frame(BINARY), Close.UNSUPPORTED_DATA),
    ],
    ids=["oversize", "oversize in fragments", "2**64-1", "empty fragments", "ping flood", "binary"],
)
def test_what_breaks_a_bound(data: bytes, code: Close) -> None:
    """Each bound has its close code, and nothing passes after a verdict."""
    limits = FrameLimits(message_bytes=100, fragments=4, frames_per_second=5, burst=10)
    meter, passed = measured(data, [], limits)
    assert meter.verdict is not None
    assert meter.verdict.code == code
    assert passed < len(data)
    assert meter.pass_on(b"\x81\x00", 1000.0) == 0


def test_a_message_of_exactly_the_limit_passes() -> None:
    """The limit is what may come, and a finished message frees it for the next."""
    limits = FrameLimits(message_bytes=100)
    data = frame(TEXT, b"x" * 50, final=False) + frame(CONTINUATION, b"x" * 50) + frame(TEXT, b"x" * 100)
    meter, passed = measured(data, [], limits)
    assert (passed, meter.verdict) == (len(data), None)


def test_tokens_come_back_with_time() -> None:
    """A burst is paid back at the sustained rate, never beyond the burst."""
    meter = FrameMeter(FrameLimits(frames_per_second=10, burst=5), 0.0)
    five = frame(TEXT) * 5
    assert meter.pass_on(five, 0.0) == len(five)
    assert meter.pass_on(five, 0.5) == len(five)
    assert meter.pass_on(five, 100.0) == len(five)
    assert meter.pass_on(frame(TEXT), 100.05) == 0
    assert meter.verdict is not None


def test_bytes_come_back_with_time() -> None:
    """Payload bytes are bounded like frames: a burst of twice the rate, paid back at the rate."""
    meter = FrameMeter(FrameLimits(bytes_per_second=100), 0.0)
    full = frame(TEXT, b"x" * 100)
    assert meter.pass_on(full * 2, 0.0) == 2 * len(full)
    assert meter.pass_on(full, 1.0) == len(full)
    assert meter.pass_on(full * 2, 100.0) == 2 * len(full)
    assert meter.pass_on(full, 100.9) == 0
    assert meter.verdict is not None
    assert meter.verdict.code == Close.POLICY
    assert "100 bytes a second" in meter.verdict.reason


def test_a_close_frame_is_noticed() -> None:
    """Who closed first is known from the peer's close frame."""
    meter, _ = measured(frame(CLOSE, b"\x03\xe8"), [1], FrameLimits())
    assert meter.close_seen


def test_frames_written_by_the_daemon() -> None:
    """Control frames are unmasked and bounded; a long reason is cut at a character."""
    assert control_frame(0x9) == b"\x89\x00"
    assert close_frame(1001, "bye") == b"\x88\x05\x03\xe9bye"
    assert len(close_frame(1008, "\u20ac" * 100)) <= 127
    assert cut_reason("\u20ac" * 100) == "\u20ac" * 41
    with pytest.raises(ValueError, match="125 bytes"):
        control_frame(0x9, b"x" * 126)


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f" + (65_536).to_bytes(8, "big")),
    ],
)
def test_a_text_is_one_frame_with_the_shortest_length(size: int, head: bytes) -> None:
    """Lengths are written as RFC 6455 section 5.2 wants them, in bytes of UTF-8."""
    assert text_frame("x" * size) == head + b"x" * size
    assert text_frame("\u20ac") == b"\x81\x03" + "\u20ac".encode()


def test_a_close_frame_without_a_code_is_empty() -> None:
    """A peer that gave no code gets none back."""
    assert close_frame(1005, "") == b"\x88\x00"
