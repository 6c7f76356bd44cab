"""How much a link may hand on, by how long the turn of the loop has lasted."""

from __future__ import annotations

import trio
import trio.testing

from spiderwebd.wire.turn import BURST, TURN_SECONDS, loop_turn


async def test_a_young_turn_gives_a_burst_and_an_old_one_a_message(
    mock_clock: trio.testing.MockClock,
) -> None:
    """The turn begins when the loop has looked for what came in."""
    turn = loop_turn()
    await trio.lowlevel.checkpoint()
    assert turn.burst == BURST
    mock_clock.jump(1.1 * TURN_SECONDS)
    assert turn.burst == 1
    await trio.lowlevel.checkpoint()
    assert turn.burst == BURST


async def test_there_is_one_a_run() -> None:
    """All links of a run share it."""
    turn = loop_turn()
    await trio.lowlevel.checkpoint()
    assert loop_turn() is turn


def test_each_run_has_its_own() -> None:
    """It ends with its run, and the next has a new one that works."""

    async def main() -> object:
        turn = loop_turn()
        await trio.lowlevel.checkpoint()
        assert turn.burst == BURST
        return turn

    assert trio.run(main) is not trio.run(main)
