"""Nothing acknowledged is lost, whenever the daemon is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash import thousand
from tests.crash.rounds import Rounds

ROUNDS = 12
SEED = 20_260_215


def test_twelve_rounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed twelve times under the traffic of eight clients, in every way a round can end."""
    rounds = Rounds(tmp_path, SEED)
    rounds.run(ROUNDS)
    with capsys.disabled():
        print(f"\n{rounds.summary()}")
    assert sum(len(client.accepted) for client in rounds.clients) > 100


@pytest.mark.long
def test_a_thousand_rounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same a thousand times, in parts with seeds of their own, which are printed."""
    with capsys.disabled():
        print()
        assert thousand.main([f"--folder={tmp_path}"]) == 0
