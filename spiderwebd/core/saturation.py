"""Saturation: what a client is told when a plan had more tasks than may be accepted (8.3, 8.4).

The figures stand in the session's `beat`, as long as the goal they are about has not ended. `deferred` are
that goal's tasks that were accepted and wait; `queued` and `active` are those of the whole session.
"""

from __future__ import annotations

from spiderwebd.core.pending import Goal
from spiderwebd.core.records import TaskState
from spiderwebd.core.state import State, Step
from spiderwebd.core.telling import tell_progress

PROLONGED_MS = 30_000
"""Age at which saturation is told a second and last time (compatibility 8.4)."""


def tell_saturation(step: Step, goal: Goal, dropped: int) -> None:
    """Say that this many tasks of a goal's plan were not accepted."""
    state = step.state
    accepted = len(goal.tasks)
    total = accepted + dropped
    state.beat["dropped"] = dropped
    state.beat["saturated"] = {"goalId": goal.goal_id, "since_ms": step.now_ms, "told": False}
    tell_progress(
        step,
        goal.request,
        "planner",
        "saturated",
        f"Worker queue saturation: accepted {accepted}/{total} plan tasks; {dropped} dropped",
        goalId=goal.goal_id,
        accepted=accepted,
        total=total,
        deferred=goal.count(TaskState.QUEUED),
        dropped=dropped,
        queued=state.queued_tasks,
        active=state.active_tasks,
    )


def tell_prolonged(step: Step, request: str) -> None:
    """Say once that saturation lasts, and only while a task of the goal it is about waits."""
    state = step.state
    saturated = state.beat.get("saturated")
    if not isinstance(saturated, dict) or saturated["told"]:
        return
    goal = state.goals.get(saturated["goalId"])
    deferred = 0 if goal is None else goal.count(TaskState.QUEUED)
    if not deferred:
        return
    lasted = step.now_ms - saturated["since_ms"]
    if lasted < PROLONGED_MS:
        return
    saturated["told"] = True
    queued, active, dropped = state.queued_tasks, state.active_tasks, state.beat["dropped"]
    tell_progress(
        step,
        request,
        "planner",
        "prolonged_saturation",
        f"Backpressure persisted for the last {lasted}ms; {dropped} dropped tasks were deferred on prior "
        "dispatch.",
        accepted=queued + active,
        total=queued + active + dropped,
        deferred=deferred,
        dropped=dropped,
        queued=queued,
        active=active,
    )


def forget_saturation(state: State, goal_id: int) -> None:
    """Drop the figures when the goal they are about has ended."""
    saturated = state.beat.get("saturated")
    if isinstance(saturated, dict) and saturated["goalId"] == goal_id:
        del state.beat["saturated"], state.beat["dropped"]
