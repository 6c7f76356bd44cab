"""How long the present turn of trio's loop has lasted, so that links may give way in time.

In one turn every task that can run runs once, and only then trio looks for what came in. A ping that comes
meanwhile waits for all of them, so what floods may do in a turn is bounded by time, all together.
"""

from __future__ import annotations

import trio
import trio.abc
from typing_extensions import override

TURN_SECONDS = 0.004
"""After so long a link hands on one message a turn. With 64 sessions, 16 of which flood, the p99 of the turns
is then 13 ms, and 21 without (tests/bench/NOTES.md)."""

BURST = 8
"""Messages of one link handed on before all others have had their turn, while the turn is young: one costs
a tenth of a millisecond, and a read of a flood holds hundreds."""


class LoopTurn(trio.abc.Instrument):
    """The present turn of the loop that it was made in."""

    def __init__(self) -> None:
        self._began = trio.current_time()

    @override
    def after_io_wait(self, timeout: float) -> None:
        self._began = trio.current_time()

    @property
    def burst(self) -> int:
        """How many messages one link may hand on now."""
        return BURST if trio.current_time() - self._began < TURN_SECONDS else 1


_present: trio.lowlevel.RunVar[LoopTurn] = trio.lowlevel.RunVar("spiderwebd: turn of the loop")


def loop_turn() -> LoopTurn:
    """Return the one of this run of trio; the first call makes it, and it ends with the run."""
    try:
        return _present.get()
    except LookupError:
        turn = LoopTurn()
        trio.lowlevel.add_instrument(turn)
        _present.set(turn)
        return turn
