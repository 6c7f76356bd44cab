"""Nothing acknowledged is lost, whenever the daemon is killed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from tests.crash.rounds import Rounds

ROUNDS = 12
SEED = 20_260_215
LONG_ROUNDS = 1_000
PART_ROUNDS = 25
SEED_VARIABLE = "CRASH_SEED"
"""To do a failed run again, or to go on with one: the seed that it printed, and `-k` with the part."""
LONG_SEED = int(os.environ.get(SEED_VARIABLE) or secrets.randbelow(1_000_000))


def test_twelve_rounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed twelve times under the traffic of eight clients, in every way a round can end."""
    rounds = Rounds(tmp_path, SEED)
    rounds.run(ROUNDS)
    with capsys.disabled():
        print(f"\n{rounds.summary()}")
    assert len(rounds.starts) == ROUNDS + 1
    assert sum(len(client.accepted) for client in rounds.clients) > 100


@pytest.mark.long
@pytest.mark.parametrize("part", range(-(-LONG_ROUNDS // PART_ROUNDS)))
def test_a_thousand_rounds(tmp_path: Path, capsys: pytest.CaptureFixture[str], part: int) -> None:
    """The same a thousand times, a fresh daemon every few; the seed is printed, and repeats the run."""
    with capsys.disabled():
        print(f"\n{SEED_VARIABLE}={LONG_SEED} part {part}", flush=True)
    rounds = Rounds(tmp_path, LONG_SEED + part)
    rounds.run(PART_ROUNDS)
    with capsys.disabled():
        print(rounds.summary(), flush=True)
