"""Generated frames, on the codec and on the whole daemon: same process, bounded memory."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.flows.daemon_process import DaemonProcess
from tests.fuzz import codec
from tests.fuzz.daemon import SETTINGS, Assault

FRAMES = 20_000
LONG_CODEC_FRAMES = 7_200_000
LONG_DAEMON_FRAMES = 2_800_000
"""Ten million together."""
SEED = 20_261_130
CODEC_BYTES = 4 * 1024 * 1024
"""Of memory while a stream of some hundred kilobytes is decoded."""
DAEMON_BYTES = 300_000_000


def check_codec(frames: int, seed: int) -> codec.Tally:
    """Decode so many frames; what was done."""
    tally = codec.run(frames, seed)
    assert tally.compared
    assert tally.peak_bytes < CODEC_BYTES
    return tally


def check_daemon(folder: Path, frames: int, seed: int) -> Assault:
    """Send a daemon so many frames; what was done."""
    with DaemonProcess(folder, SETTINGS) as daemon:
        assault = Assault(daemon, seed)
        assault.run(frames)
        assert max(assault.resident) < DAEMON_BYTES
        assert daemon.terminate() == 0
    return assault


def test_some_frames_through_the_codec() -> None:
    """A hundred streams, each of which is broken in one of the ways there are."""
    check_codec(FRAMES, SEED)


def test_some_frames_at_a_daemon(tmp_path: Path) -> None:
    """The same over real sockets, beside honest clients."""
    check_daemon(tmp_path, FRAMES, SEED)


@pytest.mark.long
def test_millions_of_frames_through_the_codec(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the seed and what was done."""
    seed = secrets.randbelow(1_000_000)
    tally = check_codec(LONG_CODEC_FRAMES, seed)
    with capsys.disabled():
        print(f"\nseed {seed}: {tally}")


@pytest.mark.long
def test_millions_of_frames_at_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the seed and what was done."""
    assault = check_daemon(tmp_path, LONG_DAEMON_FRAMES, secrets.randbelow(1_000_000))
    with capsys.disabled():
        print(f"\n{assault.summary()}")
