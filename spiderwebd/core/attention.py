"""Which sessions the sweeps look at: those that the mere passing of time can give something to do.

Asked after every step, since nothing but a step changes it. A sweep then costs what the sessions at
work cost, and the idle ones nothing, however many they are.
"""

from __future__ import annotations

from spiderwebd.core.compaction import due
from spiderwebd.core.state import State
from spiderwebd.core.suggestions import has_to_speak


def needs_attention(state: State) -> bool:
    """Whether a deadline, a heartbeat or a compaction may come due in a session though nothing is sent to it.

    A lowered memory budget is not among these: it is new to every session at once.
    """
    return state.busy or has_to_speak(state) or due(state.ram, state.rules.thresholds)
