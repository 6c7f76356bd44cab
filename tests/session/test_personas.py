"""Identities are merged off the loop, kept while their files stay the same, and their faults told once."""

from pathlib import Path

import pytest

from spiderwebd.core.codes import Refused
from spiderwebd.session.agents import AgentFolder
from spiderwebd.session.personas import FRESH_SECONDS, KEPT, Personas
from spiderwebd.work.blocking import run_inline


class HandClock:
    """A clock that stands an hour further at each look, unless it is told to stand still."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 3600.0

    def monotonic(self) -> float:
        """Return the time, then let an hour pass."""
        self.now += self.step
        return self.now

    def wall_ms(self) -> int:
        """Return the same in milliseconds."""
        return int(self.now * 1000)


def personas(root: Path, notices: list[tuple[str, str]], clock: HandClock | None = None) -> Personas:
    """Make personas over a folder, collecting what would be logged."""
    clock = clock or HandClock()
    return Personas(AgentFolder(root), run_inline, lambda agent, text: notices.append((agent, text)), clock)


async def test_a_changed_file_is_picked_up_by_the_next_look(tmp_path: Path) -> None:
    """The digest changes with the text and stays the same as long as the files do."""
    (tmp_path / "kim").mkdir()
    soul = tmp_path / "kim" / "SOUL.md"
    soul.write_text("# Tone\nCalm.\n")
    known = personas(tmp_path, [])
    first = await known.current("kim")
    assert await known.current("kim") is first
    assert known.known_digest("kim") == first.digest
    soul.write_text("# Tone\nCalm and brief.\n")
    second = await known.current("kim")
    assert second.digest != first.digest
    assert "brief" in second.identity.prompt


async def test_links_that_attach_together_cost_one_look(tmp_path: Path) -> None:
    """Within FRESH_SECONDS the disk is not asked again; after them a change is seen."""
    clock = HandClock()
    known = personas(tmp_path, [], clock)
    first = await known.current("kim")
    clock.step = 0.0
    (tmp_path / "kim").mkdir()
    (tmp_path / "kim" / "SOUL.md").write_text("# Tone\nCalm.\n")
    assert await known.current("kim") is first
    clock.now += FRESH_SECONDS
    assert (await known.current("kim")).digest != first.digest


async def test_a_conflict_is_told_once_for_each_state_of_the_files(tmp_path: Path) -> None:
    """Looking again at unchanged files logs nothing more."""
    (tmp_path / "kim").mkdir()
    (tmp_path / "kim" / "SOUL.md").write_text("# Tone\nCalm.\n")
    (tmp_path / "kim" / "AGENT.md").write_text("# Tone\nLoud.\n")
    notices: list[tuple[str, str]] = []
    known = personas(tmp_path, notices)
    await known.current("kim")
    await known.current("kim")
    assert len(notices) == 1
    assert notices[0][0] == "kim"
    assert "Tone" in notices[0][1]


async def test_an_invalid_agent_id_is_refused(tmp_path: Path) -> None:
    """An id that could name a path outside the folder never reaches the disk."""
    with pytest.raises(Refused):
        await personas(tmp_path, []).current("../etc")


async def test_identities_kept_are_bounded(tmp_path: Path) -> None:
    """Made-up agent ids push out the oldest instead of growing for ever."""
    known = personas(tmp_path, [])
    for number in range(KEPT + 5):
        await known.current(f"agent-{number}")
    assert known.known_digest("agent-0") == ""
    assert known.known_digest(f"agent-{KEPT + 4}") != ""
