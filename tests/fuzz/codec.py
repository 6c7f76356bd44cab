"""Millions of frames through the decoder: nothing is raised, little is kept, and wsproto says the same."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import dataclass

from spiderwebd.wire.codec import FrameDecoder
from spiderwebd.wire.framing import FrameLimits
from tests.fuzz.mutation import Pool
from tests.wire.test_codec import BROKEN, ours, theirs

MESSAGES = 250
MEASURED = 150
"""Streams whose memory is measured: to measure all would take ten times as long."""
COMPARED = 30
"""One stream of so many is also given to wsproto, which takes ten times as long."""
LIMITS = FrameLimits(message_bytes=262_144, fragments=1_000, frames_per_second=1e9, burst=10**9)


@dataclass
class Tally:
    """What was done."""

    frames: int = 0
    """Frames looked at, up to the breach of each stream."""
    streams: int = 0
    breaches: int = 0
    compared: int = 0
    peak_bytes: int = 0


def run(frames: int, seed: int) -> Tally:
    """Decode at least so many frames. Raises whatever the decoder raises, and AssertionError."""
    chance = random.Random(seed)
    pool, tally = Pool(chance), Tally()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    while tally.frames < frames:
        data, _ = pool.stream(chance.randint(1, MESSAGES))
        decoder = FrameDecoder(LIMITS, 0.0)
        position = 0
        if tally.streams == MEASURED:
            tally.peak_bytes = tracemalloc.get_traced_memory()[1] - before
            tracemalloc.stop()
        while position < len(data):
            size = chance.choice((1, 7, 200, 4_096, 65_536)) if len(data) < 4_096 else 16_384
            decoder.feed(data[position : position + size], 0.0)
            position += size
        tally.frames += decoder.frames
        tally.breaches += decoder.verdict is not None
        if tally.streams % COMPARED == 0:
            compare(data)
            tally.compared += 1
        tally.streams += 1
    tracemalloc.stop()
    return tally


def compare(data: bytes) -> None:
    """Check that wsproto hands out the same and stops for the same reason.

    Not compared: binary frames, which ours alone refuses, and frames that never become whole, whose
    header or text one of the two judges earlier.
    """
    mine, other = ours(data, []), theirs(data, [])
    if mine == other or (BROKEN, 1003) in mine[-1:]:
        return
    whole = mine[:-1] if mine and mine[-1][0] == BROKEN else mine
    rest = other[:-1] if other and other[-1][0] == BROKEN else other
    assert whole == rest, (data, mine, other)
    assert (mine[-1:] == whole[-1:]) != (other[-1:] == rest[-1:]), (data, mine, other)
