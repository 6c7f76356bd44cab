"""agent.state: a session's state in a frame, short for its story or whole for who asks."""

from __future__ import annotations

from spiderwebd.core.pending import Goal
from spiderwebd.core.state import State
from spiderwebd.core.story import AgentState, GoalView

STATE_VERSION = 1
"""Of agent.state as an answer: grows when a field changes its meaning; new fields do not count."""


def state_frame(state: State, request: str, phase: str) -> AgentState:
    """Build agent.state; the counters are counted, never kept."""
    return {
        "type": "agent.state",
        "request": request,
        "sessionKey": state.key,
        "phase": phase,
        "queuedTasks": state.queued_tasks,
        "activeTasks": state.active_tasks,
        "lastGoal": state.last_goal,
        "mode": state.mode,
        "lifecycle": state.lifecycle(),
        "revision": state.revision,
    }


def full_state_frame(state: State, request: str, phase: str, now_ms: int) -> AgentState:
    """Build agent.state with every open goal and its tasks; for answers, never journalled."""
    frame = state_frame(state, request, phase)
    frame["goals"] = [_goal_view(goal, now_ms) for goal in state.goals.values()]
    rules = state.rules
    frame["version"] = STATE_VERSION
    frame["queues"] = {
        "chats": len(state.chats),
        "goals": len(state.goals),
        "tasks": state.queued_tasks,
        "started": state.active_tasks,
        "working": state.working_tasks,
    }
    frame["limits"] = {
        "chats": rules.chats_queued,
        "goals": rules.goals_queued,
        "tasks": rules.tasks_queued,
        "started": rules.parallel_tasks,
    }
    return frame


def _goal_view(goal: Goal, now_ms: int) -> GoalView:
    return {
        "goalId": goal.goal_id,
        "request": goal.request,
        "goal": goal.text,
        "status": goal.state.value,
        "ageMs": max(0, now_ms - goal.created_ms),
        "tasks": [
            {
                "id": task.task_id,
                "title": task.title,
                "worker": task.kind,
                "status": task.state.value,
                "attempt": task.attempts,
                "ageMs": max(0, now_ms - task.created_ms),
            }
            for task in goal.tasks
        ],
    }
