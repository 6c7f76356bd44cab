"""What a link hears first: session.ack, and for a restored session where it stands."""

from __future__ import annotations

from spiderwebd.core.frames import AgentProgress, SessionAck, render
from spiderwebd.core.protocol import PROTOCOL_VERSION
from spiderwebd.core.state import State, Step
from spiderwebd.session.ports import House

CAPABILITIES = ["resume", "request-ids", "memory-by-id", "memory-search", "goals", "heartbeat", "watch"]


def welcome(step: Step, seq: int, *, restored: bool, house: House) -> list[str]:
    """Return the rendered frames that open a link, session.ack first (at most 2 KB).

    `seq` is the last seq that links have been shown; what is pipelined behind it is still to come.
    """
    state = step.state
    ack: SessionAck = {
        "type": "session.ack",
        "sessionKey": state.key,
        "agentId": state.agent,
        "protocol": PROTOCOL_VERSION,
        "restored": restored,
        "seq": seq,
        "firstSeq": state.first_seq,
        "principal": state.principal,
        "identity": house.personas.known_digest(state.agent),
        "capabilities": CAPABILITIES,
        "limits": house.announced_limits,
    }
    frames = [render(ack)]
    if restored:
        frames.append(render(_reconnect(state)))
    return frames


def _reconnect(state: State) -> AgentProgress:
    queued, active = state.queued_tasks, state.active_tasks
    dropped: int = state.beat.get("dropped", 0)
    if queued or active or dropped:
        status = "backpressure_resumed"
        message = (
            f"Session restored with backlog: {queued} queued, {active} active, "
            f"{dropped} dropped tasks from previous run."
        )
    else:
        status = "state_restored"
        message = f"Session restored from previous process state: {state.last_goal}"
    return {
        "type": "agent.progress",
        "request": "session-restore",
        "sessionKey": state.key,
        "phase": "reconnect",
        "status": status,
        "message": message,
    }
