"""The heartbeat's rules: when the agent speaks unasked, and what next step it proposes.

Texts and order of the agent.progress lines are the original's. A quiet session costs nothing and
says nothing; an unchanged report about work that waits for a person is repeated at doubling
intervals up to an hour, so that a session paused for a week does not fill its log.
"""

from __future__ import annotations

from spiderwebd.core import goals
from spiderwebd.core.saturation import tell_prolonged
from spiderwebd.core.state import State, Step
from spiderwebd.core.story import AgentHeartbeat, Suggestion
from spiderwebd.core.telling import tell_progress

SWEEP_REQUEST = "heartbeat-sweep"
LONGEST_PAUSE_MS = 3_600_000
"""Longest time between two unchanged reports."""


def proposals(state: State) -> list[Suggestion]:
    """Return what a person might do next, most useful first; empty when nothing is to be done."""
    found: list[Suggestion] = []
    waiting = state.queued_tasks + state.active_tasks
    if state.mode == "paused" and waiting:
        found.append(
            {
                "id": f"resume-{state.revision}",
                "kind": "resume",
                "title": "Resume the paused work",
                "reason": f"{waiting} tasks wait because the session is paused.",
                "action": {"type": "agent.control", "action": "resume"},
            }
        )
    blocked = state.beat.get("blocked")
    if isinstance(blocked, dict):
        found.append(
            {
                "id": f"rephrase-{blocked['goalId']}-{blocked['taskId']}",
                "kind": "rephrase",
                "title": f"Reword the task '{blocked['title']}'",
                "reason": str(blocked["reason"]),
                "action": {"type": "chat.send", "content": f"/goal {blocked['title']}"},
            }
        )
    return found


def due_at(state: State) -> int | None:
    """Return the wall time (ms) from which `beat` has something to do unasked, None for never."""
    if not has_to_speak(state):
        return None
    deadline = min((goal.deadline_ms for goal in state.goals.values()), default=None)
    due = _interval_ends(state)
    return due if deadline is None else min(due, deadline)


def _interval_ends(state: State) -> int:
    last: int = state.beat.get("last_ms", 0)
    if last == 0:
        return 0
    quiet: int = state.beat.get("quiet_ms", 0)
    return last + (quiet or state.rules.heartbeat_ms)


def has_to_speak(state: State) -> bool:
    """Whether a heartbeat has anything to say unasked, now or later."""
    if state.goals:
        return True
    blocked = state.beat.get("blocked")
    return isinstance(blocked, dict) and not blocked.get("told")


def beat(step: Step, request: str, *, forced: bool) -> None:
    """Evaluate the heartbeat; forced always answers, a timer only when there is something to say.

    Goals that passed their deadline while they waited are expired on the way. The first unforced beat
    of a session only starts its interval (compatibility 8.1).
    """
    goals.advance(step)
    state, now = step.state, step.now_ms
    if not forced:
        last: int = state.beat.get("last_ms", 0)
        if last == 0:
            state.beat["last_ms"] = now
            return
        # A wall clock stepped back must not silence the heartbeat until it has caught up.
        if not has_to_speak(state) or last <= now < _interval_ends(state):
            return
    state.beat["last_ms"] = now
    queued, active = state.queued_tasks, state.active_tasks
    if not state.goals:
        if forced:
            idle = "Heartbeat status: no worker tasks are queued or active."
            tell_progress(step, request, "heartbeat", "idle", idle)
    else:
        tell_prolonged(step, request)
        if state.mode == "paused":
            blocked = (
                f"Heartbeat detected {queued} queued and {active} active tasks are blocked by pause state."
            )
            tell_progress(step, request, "heartbeat", "blocked", blocked)
        else:
            watching = (
                f"Heartbeat status: {queued} queued + {active} active worker tasks remain for the current "
                "goal."
            )
            tell_progress(step, request, "heartbeat", "watching", watching)
    _tell_heartbeat(step, request, queued, active)


def _tell_heartbeat(step: Step, request: str, queued: int, active: int) -> None:
    """Journal agent.heartbeat; proposals in it count as told."""
    state, now = step.state, step.now_ms
    sequence: int = state.beat.get("sequence", 0) + 1
    state.beat["sequence"] = sequence
    oldest = min((goal.created_ms for goal in state.goals.values()), default=now)
    suggestions = proposals(state)
    frame: AgentHeartbeat = {
        "type": "agent.heartbeat",
        "request": request,
        "sessionKey": state.key,
        "sequence": sequence,
        "mode": state.mode,
        "queuedTasks": queued,
        "activeTasks": active,
        "oldestAgeMs": max(0, now - oldest),
        "suggestions": suggestions,
    }
    blocked = state.beat.get("blocked")
    if isinstance(blocked, dict):
        blocked["told"] = True
    _slow_down(state, [suggestion["id"] for suggestion in suggestions])
    step.journal(frame)


def _slow_down(state: State, told: list[str]) -> None:
    """Double the interval while the same proposals go unheeded; work that runs keeps its pace."""
    if state.mode == "paused" and told and told == state.beat.get("told_ids"):
        quiet: int = state.beat.get("quiet_ms", 0) or state.rules.heartbeat_ms
        state.beat["quiet_ms"] = min(max(quiet * 2, state.rules.heartbeat_ms), LONGEST_PAUSE_MS)
    else:
        state.beat["quiet_ms"] = 0
    state.beat["told_ids"] = told
