"""Telling a goal's story: the frames that its request causes, in the original's words."""

from __future__ import annotations

from typing import NotRequired, TypedDict, Unpack

from spiderwebd.core.pending import Goal, Task
from spiderwebd.core.state import Step
from spiderwebd.core.state_frames import state_frame
from spiderwebd.core.story import AgentPlan, AgentProgress, AgentStatus


class Particulars(TypedDict):
    """The optional fields of agent.progress."""

    goalId: NotRequired[int]
    taskId: NotRequired[int]
    accepted: NotRequired[int]
    total: NotRequired[int]
    deferred: NotRequired[int]
    dropped: NotRequired[int]
    queued: NotRequired[int]
    active: NotRequired[int]


def tell_progress(
    step: Step, request: str, phase: str, status: str, message: str, **more: Unpack[Particulars]
) -> None:
    """Journal an agent.progress."""
    frame: AgentProgress = {
        "type": "agent.progress",
        "request": request,
        "sessionKey": step.state.key,
        "phase": phase,
        "status": status,
        "message": message,
    }
    frame.update(more)  # type: ignore[typeddict-item]  # mypy does not see that these are fields of it
    step.journal(frame)


def tell_state(step: Step, request: str, phase: str) -> None:
    """Journal an agent.state that belongs to a goal's story."""
    step.journal(state_frame(step.state, request, phase))


def tell_plan(step: Step, goal: Goal, dropped: tuple[str, ...]) -> None:
    """Journal the agent.plan of a goal; `dropped` are the titles that did not fit the limit."""
    frame: AgentPlan = {
        "type": "agent.plan",
        "request": goal.request,
        "sessionKey": step.state.key,
        "goal": goal.text,
        "tasks": [
            {"id": task.task_id, "title": task.title, "status": task.state.value, "worker": task.kind}
            for task in goal.tasks
        ],
        "goalId": goal.goal_id,
    }
    if dropped:
        frame["dropped"] = list(dropped)
    step.journal(frame)


def tell_status(step: Step, goal: Goal, task: Task) -> None:
    """Journal an agent.status: where a task stands now, with its worker's words."""
    frame: AgentStatus = {
        "type": "agent.status",
        "request": goal.request,
        "sessionKey": step.state.key,
        "taskId": task.task_id,
        "worker": task.kind,
        "status": task.state.value,
        "message": task.detail,
        "goalId": goal.goal_id,
        "attempt": task.attempts,
    }
    if task.code is not None:
        frame["code"] = task.code
    step.journal(frame)


def tell_answer(step: Step, request: str, content: str, memory_id: int, goal_id: int | None = None) -> None:
    """Journal the session.receive that answers a request; `memory_id` is the answer's own."""
    if goal_id is None:
        step.journal(
            {
                "type": "session.receive",
                "content": content,
                "memoryId": memory_id,
                "request": request,
                "sessionKey": step.state.key,
            }
        )
    else:
        step.journal(
            {
                "type": "session.receive",
                "content": content,
                "memoryId": memory_id,
                "request": request,
                "sessionKey": step.state.key,
                "goalId": goal_id,
            }
        )
