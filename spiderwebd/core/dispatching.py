"""Which task starts when.

Tasks of a goal start in the order of its plan. Reads run beside reads; a task that writes waits for
everything before it, and everything after it waits for the write. So a plan does what its text says
while as much as possible runs at once. Goals of one session run one after another.
"""

from __future__ import annotations

from spiderwebd.core.deadlines import start_by_ms
from spiderwebd.core.effects import Hold, StartTask
from spiderwebd.core.pending import Goal, Task
from spiderwebd.core.records import TaskState
from spiderwebd.core.state import Step
from spiderwebd.core.telling import tell_progress, tell_state


def dispatch(step: Step) -> None:
    """Start whatever the order, the parallel limit and the mode allow now."""
    state = step.state
    goal = next(iter(state.goals.values()), None)
    if goal is None or state.mode != "running" or state.draining:
        return
    running = goal.count(TaskState.RUNNING)
    earlier_open = False
    for task in goal.tasks:
        if task.state is TaskState.QUEUED:
            if goal.pause_before is not None and goal.pause_before <= task.task_id:
                if not earlier_open:
                    _pause_at(step, goal, task)
                return
            if running >= state.rules.parallel_tasks or (task.choice.waits and earlier_open):
                return
            _start(step, goal, task)
            running += 1
        if not task.state.ended:
            if task.choice.writes:
                return
            earlier_open = True


def _start(step: Step, goal: Goal, task: Task) -> None:
    state = step.state
    task.state = TaskState.RUNNING
    task.attempts += 1
    task.started_ms = step.now_ms
    task.working = False
    state.revision += 1
    step.records.append(task.record(state.sid, goal.goal_id))
    if goal.state is not TaskState.RUNNING:
        goal.state = TaskState.RUNNING
        step.records.append(goal.record(state.sid))
    step.starts.append(
        StartTask(
            goal.goal_id,
            task.task_id,
            task.title,
            task.attempts,
            goal.request,
            goal.text,
            goal.deadline_ms,
            task.created_ms,
            start_by_ms(state, task),
        )
    )


def _pause_at(step: Step, goal: Goal, task: Task) -> None:
    """Pause where the goal asked for it; the break point is used up."""
    state = step.state
    goal.pause_before = None
    state.mode = "paused"
    state.revision += 1
    step.records.append(goal.record(state.sid))
    step.starts.append(Hold(closed=True))
    message = f"Workers paused before task {task.task_id}"
    tell_progress(step, goal.request, "workers", "paused", message, goalId=goal.goal_id, taskId=task.task_id)
    tell_state(step, goal.request, "workers.paused")
