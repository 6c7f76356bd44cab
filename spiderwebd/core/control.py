"""What clients ask of a session's work: goals, pause, resume and cancel (compatibility 6.4, 6.5)."""

from __future__ import annotations

from spiderwebd.core import goals, suggestions
from spiderwebd.core.admission import goals_full, tasks_full, too_large
from spiderwebd.core.codes import Code, Refused
from spiderwebd.core.effects import Hold, LinkKey, Watch
from spiderwebd.core.plan import build_plan
from spiderwebd.core.protocol import AgentControl
from spiderwebd.core.requests import done_before
from spiderwebd.core.state import Step
from spiderwebd.core.state_frames import full_state_frame

BLANK = " \t\r\n"
"""What the original trims from a goal's text (compatibility 1.3)."""


def control(step: Step, link: LinkKey, request: str, frame: AgentControl) -> None:
    """Resolve agent.control in the order of 6.4; what the original passed over in silence is refused."""
    match frame.action:
        case "state" | "status":
            _answer(step, link, request, step.state.mode)
        case "watch":
            step.starts.append(Watch(link, request, step.state.figures()))
            _answer(step, link, request, step.state.mode)
        case "unwatch":
            step.starts.append(Watch(link, None))
            _answer(step, link, request, step.state.mode)
        case "heartbeat":
            suggestions.beat(step, request, forced=True)
        case "pause":
            set_mode(step, "paused")
            _answer(step, link, request, "workers.paused")
        case "resume":
            set_mode(step, "running")
            goals.advance(step)
            _answer(step, link, request, "workers.running")
        case "cancel":
            _cancel(step, link, request, frame.goalId)
        case "goal" | "plan" | None:
            _goal(step, link, request, frame)
        case _:
            step.refuse(link, request, "agent.control unsupported action", Code.CONTROL_UNSUPPORTED)


def set_mode(step: Step, mode: str) -> None:
    """Go over to a mode; every mode may follow every other. Only paused closes the workers' gate."""
    state = step.state
    if state.mode != mode:
        state.mode = mode
        state.revision += 1
        state.beat.pop("quiet_ms", None)
        step.changed = True
    step.starts.append(Hold(closed=mode == "paused"))


def ask_goal(
    step: Step, link: LinkKey, request: str, text: str, kind: str, payload: str, pause_before: int | None
) -> None:
    """Accept a goal, unless it is too long, cannot be planned or too many wait; `text` is trimmed."""
    if too_large(step, link, request, text) or goals_full(step, link, request):
        return
    try:
        plan = build_plan(text, max_tasks=step.state.rules.max_tasks)
    except Refused as refused:
        step.refuse(link, request, "Failed to build Primary Brain plan", refused.code)
        return
    if tasks_full(step, link, request, len(plan.tasks)):
        return
    goals.accept_goal(step, request, plan, kind, payload, pause_before)
    suggestions.beat(step, request, forced=False)


def _goal(step: Step, link: LinkKey, request: str, frame: AgentControl) -> None:
    if "goal" in frame.model_fields_set:
        text = frame.goal or ""
    else:
        text = frame.content if frame.content is not None else frame.text or ""
    text = text.strip(BLANK)
    payload = f"{frame.pauseBefore}\0{text}"
    if not text:
        step.refuse(link, request, "agent.control requires goal field or text", Code.CONTROL_GOAL_MISSING)
    elif not done_before(step, link, request, "agent.control", payload):
        ask_goal(step, link, request, text, "agent.control", payload, frame.pauseBefore)


def _cancel(step: Step, link: LinkKey, request: str, goal_id: int | None) -> None:
    """End one goal, or (without an id) every goal and the session's work until resume."""
    state = step.state
    if goal_id is None:
        set_mode(step, "cancelled")
        for goal in list(state.goals.values()):
            goals.cancel_goal(step, goal, "cancelled on request")
    elif goal_id in state.goals:
        goals.cancel_goal(step, state.goals[goal_id], "cancelled on request")
        goals.advance(step)
    else:
        message = f"No running goal of this session has goalId {goal_id}."
        step.refuse(link, request, message, Code.GOAL_UNKNOWN)
        return
    _answer(step, link, request, "workers.cancelled")


def _answer(step: Step, link: LinkKey, request: str, phase: str) -> None:
    step.reply(link, full_state_frame(step.state, request, phase, step.now_ms))
