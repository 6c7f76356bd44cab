"""What becomes of a client's frame when its session comes to it: refused, put down, or done.

While the disk fails or the daemon stops, what only looks or stops work is let through.
"""

from __future__ import annotations

from spiderwebd import log
from spiderwebd.core import limits, turn
from spiderwebd.core.admission import RETRY_MS, refuse
from spiderwebd.core.codes import Code
from spiderwebd.core.protocol import SIGNALS, AgentControl, AnyFrame, Ping
from spiderwebd.core.state import Step
from spiderwebd.session.ports import Client, House
from spiderwebd.session.tally import ERROR

AUDITED = ("pause", "resume", "cancel")
"""Actions of agent.control that the log keeps, with who asked for them."""


def take_in(
    house: House, step: Step, client: Client, frame: AnyFrame, *, waited: float, held: int, draining: bool
) -> None:
    """Do what the frame asks for in this step, or refuse it.

    Args:
        house: what every session shares.
        step: the step that the frame is part of; it has the session's state.
        client: the link that it came from.
        frame: what it says.
        waited: seconds from its coming to this step.
        held: steps of the session that the store would not take yet.
        draining: whether the session starts no further work.
    """
    step.requests += not isinstance(frame, SIGNALS)
    changes, request = turn.changes(frame), frame.id or ""
    if changes and draining:
        step.refuse(client, request, "The daemon is stopping.", Code.DRAINING, RETRY_MS)
        return
    # What looks or stops work has a bound of its own.
    overfull = held >= house.inbox_limit and not isinstance(frame, Ping)
    if overfull or (changes and not house.writer.accepting):
        message = "The disk cannot be written and memory is full; nothing was accepted."
        refuse(step, client, request, limits.STORE_BACKLOG, message)
    elif changes and waited > house.inbox_seconds:
        # Whoever asked may have given up; what looks or stops work does no harm when it is late.
        message = "This request waited too long for its session; nothing was accepted."
        refuse(step, client, request, limits.INBOX, message)
    elif isinstance(frame, AgentControl) and frame.action in AUDITED:
        _control(house, step, client, frame)
    else:
        turn.receive(step, client, frame, house.fresh_id)


def _control(house: House, step: Step, client: Client, frame: AgentControl) -> None:
    """Pause, resume or cancel, and put down who did it."""
    state, request, said = step.state, frame.id or house.fresh_id(), len(step.outgoing)
    turn.receive(step, client, frame, lambda: request)
    if any(out.text.startswith(ERROR) for out in step.outgoing[said:]):
        return
    log.event(
        "control",
        action=frame.action,
        principal=state.principal,
        agent=state.agent,
        session=state.key,
        request=request,
        goal=frame.goalId,
    )
