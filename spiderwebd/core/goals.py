"""The life of a goal: accepted and planned, its tasks' ends, its own end, and what a crash leaves.

Every accepted goal ends exactly once, with an answer that reports each of its tasks.
"""

from __future__ import annotations

from spiderwebd.core.codes import Code
from spiderwebd.core.deadlines import overdue
from spiderwebd.core.dispatching import dispatch
from spiderwebd.core.effects import Hold, StopGoal
from spiderwebd.core.frames import well_formed
from spiderwebd.core.kinds import choose, repeatable
from spiderwebd.core.memory_events import bring_back, evict, remember, summarize
from spiderwebd.core.outcome import NEW_ID, Outcome
from spiderwebd.core.pending import Goal, Task
from spiderwebd.core.plan import Plan, ram_text, response_text
from spiderwebd.core.records import RequestState, TaskState
from spiderwebd.core.report import goal_report
from spiderwebd.core.requests import request_record
from spiderwebd.core.saturation import forget_saturation, tell_saturation
from spiderwebd.core.state import State, Step
from spiderwebd.core.telling import tell_answer, tell_plan, tell_progress, tell_state, tell_status
from spiderwebd.core.upkeep import MANAGER_REQUEST, fit_budget, keep_within_budget

OUTCOMES = {
    TaskState.COMPLETE: RequestState.ANSWERED,
    TaskState.BLOCKED: RequestState.ANSWERED,
    TaskState.FAILED: RequestState.FAILED,
    TaskState.CANCELLED: RequestState.CANCELLED,
    TaskState.EXPIRED: RequestState.EXPIRED,
}
"""How a goal's end counts for the request that asked for it."""

SUGGESTED_CHARACTERS = 200
"""Of a blocked task's title, in the heartbeat's suggestion to reword it."""


def accept_goal(
    step: Step, request: str, plan: Plan, kind: str, payload: str, pause_before: int | None
) -> None:
    """Accept a goal and (when the session runs) dispatch its first tasks.

    `kind` and `payload` are what must be the same when the request comes again. Frames in the order
    of compatibility 1.5 B, up to variant C's when the session is paused or cancelled.
    """
    goal = _enter(step, request, plan, kind, payload, pause_before)
    goal_id = goal.goal_id
    tell_progress(step, request, "planner", "received", "Planning request received", goalId=goal_id)
    tell_plan(step, goal, plan.dropped)
    tell_progress(step, request, "planner", "ready", response_text(plan), goalId=goal_id)
    if plan.dropped:
        tell_saturation(step, goal, len(plan.dropped))
    message = "Delegating plan tasks to local workers"
    tell_progress(step, request, "workers", "queued", message, goalId=goal_id)
    mode = step.state.mode
    advance(step)
    tell_state(step, request, "workers.dispatching")
    if mode == "paused":
        tell_progress(step, request, "workers", "skipped", "Workers currently paused", goalId=goal_id)
        tell_state(step, request, "workers.paused")
    elif mode == "cancelled":
        tell_progress(step, request, "workers", "skipped", "Workers cancelled", goalId=goal_id)
        cancel_goal(step, goal, "the session's workers are cancelled; send resume first")
    keep_within_budget(step, request)


def _enter(step: Step, request: str, plan: Plan, kind: str, payload: str, pause_before: int | None) -> Goal:
    """Make the goal, its memories (its own before the plan's) and its rows, and acknowledge it."""
    state, now = step.state, step.now_ms
    memory_id = remember(step, "user", plan.goal)
    goal = Goal(
        goal_id=state.next_goal_id,
        request=request,
        text=plan.goal,
        memory_id=memory_id,
        created_ms=now,
        deadline_ms=now + state.rules.goal_ms,
        tasks=[Task(number, title, choose(title), now) for number, title in enumerate(plan.tasks, start=1)],
        pause_before=pause_before,
    )
    state.next_goal_id += 1
    state.goals[goal.goal_id] = goal
    state.last_goal = goal.text
    state.beat.pop("blocked", None)
    state.revision += 1
    seq = step.journal(
        {
            "type": "session.accepted",
            "request": request,
            "sessionKey": state.key,
            "memoryId": memory_id,
            "goalId": goal.goal_id,
        }
    )
    step.remember_request(
        request_record(step, request, kind, payload, RequestState.OPEN, seq, memory_id, goal.goal_id)
    )
    remember(step, "system", ram_text(plan))
    step.records.append(goal.record(state.sid))
    step.records.extend(task.record(state.sid, goal.goal_id) for task in goal.tasks)
    return goal


def advance(step: Step) -> None:
    """Expire what waited past its deadline, then start what may run."""
    for goal in list(step.state.goals.values()):
        if goal.deadline_ms <= step.now_ms:
            _expire(step, goal)
        else:
            _expire_overdue(step, goal)
    dispatch(step)


def _expire_overdue(step: Step, goal: Goal) -> None:
    """End the tasks of a goal that waited too long for their turn; what runs may end."""
    found = [task for task in goal.tasks if overdue(step.state, task, step.now_ms)]
    for task in found:
        waited = (step.now_ms - task.created_ms) // 1000
        detail = f"{task.kind}: it waited {waited} seconds for its turn, so it was not run"
        _end_task(step, goal, task, TaskState.EXPIRED, detail, Code.EXPIRED)
    if found and goal.done:
        _finish_goal(step, goal)


def task_began(step: Step, goal_id: int, task_id: int) -> None:
    """Take in that a worker has a task that was started; nothing of it is kept."""
    goal = step.state.goals.get(goal_id)
    if goal is not None and goal.task(task_id).state is TaskState.RUNNING:
        goal.task(task_id).working = True


def task_ended(step: Step, goal_id: int, task_id: int, outcome: Outcome) -> None:
    """Take in what a worker brought back, tell everyone, and start what may run next."""
    goal = step.state.goals.get(goal_id)
    if goal is None or goal.task(task_id).state is not TaskState.RUNNING:
        return  # cancelled or expired meanwhile: that outcome stands
    detail = _apply(step, goal, outcome)
    _end_task(step, goal, goal.task(task_id), outcome.state, detail, outcome.code)
    if goal.done:
        _finish_goal(step, goal)
    else:
        keep_within_budget(step, goal.request)
    advance(step)


def _apply(step: Step, goal: Goal, outcome: Outcome) -> str:
    """Carry out the session changes a worker proposed; its detail may name the ids they got."""
    detail = well_formed(outcome.detail)
    for memory in outcome.remember:
        memory_id = remember(step, memory.role, well_formed(memory.content), name=memory.name)
        detail = detail.replace(NEW_ID, f"#{memory_id}", 1)
    state, ram = step.state, step.state.ram
    for memory_id in outcome.evict:
        if (entry := ram.load(memory_id)) is not None:
            evict(step, goal.request, entry, "worker")
    for entry in (*outcome.load, *outcome.summarize):
        if not state.outdated(entry.id, entry.version):
            bring_back(step, goal.request, entry, "worker")
    for entry in outcome.summarize:
        # Larger than the whole budget, it could not come back; its text stays in the LTM as it is.
        if (found := ram.load(entry.id)) is not None:
            summarize(step, goal.request, found, "worker")
    return detail


def _end_task(step: Step, goal: Goal, task: Task, end: TaskState, detail: str, code: Code | None) -> None:
    state = step.state
    task.state, task.detail, task.ended_ms = end, detail, step.now_ms
    task.code = None if code is None else code.value
    state.revision += 1
    step.records.append(task.record(state.sid, goal.goal_id))
    message = f"{task.kind} worker {end.value} for task {task.task_id}: {detail}"
    tell_progress(step, goal.request, task.kind, end.value, message, goalId=goal.goal_id, taskId=task.task_id)
    tell_status(step, goal, task)


def _end_open_tasks(step: Step, goal: Goal, end: TaskState, reason: str, code: Code) -> None:
    for task in goal.tasks:
        if not task.state.ended:
            _end_task(step, goal, task, end, f"{task.kind}: {reason}", code)


def _finish_goal(step: Step, goal: Goal) -> None:
    """End a goal whose tasks have all ended."""
    verdicts = (TaskState.FAILED, TaskState.BLOCKED, TaskState.EXPIRED)
    goal.state = next((verdict for verdict in verdicts if goal.count(verdict)), TaskState.COMPLETE)
    _close_goal(step, goal, "Worker pre-processing complete", "ready")


def cancel_goal(step: Step, goal: Goal, reason: str) -> None:
    """End every open task of a goal as cancelled, and the goal with them."""
    _end_open_tasks(step, goal, TaskState.CANCELLED, reason, Code.CANCELLED)
    goal.state = TaskState.CANCELLED
    _close_goal(step, goal, "Workers cancelled", "cancelled")


def expire_goal(step: Step, goal_id: int) -> None:
    """End a goal that passed its deadline; what had not run is never run late."""
    goal = step.state.goals.get(goal_id)
    if goal is not None:
        _expire(step, goal)
        advance(step)


def _expire(step: Step, goal: Goal) -> None:
    _end_open_tasks(step, goal, TaskState.EXPIRED, "its goal passed its deadline", Code.EXPIRED)
    goal.state = TaskState.EXPIRED
    _close_goal(step, goal, "Goal deadline passed", "expired")


def _close_goal(step: Step, goal: Goal, message: str, status: str) -> None:
    """Take an ended goal out of the session and answer its request with a report (1.5 B, 7 to 13)."""
    state, request, goal_id = step.state, goal.request, goal.goal_id
    goal.ended_ms = step.now_ms
    _note_blocked(state, goal)
    forget_saturation(state, goal_id)
    del state.goals[goal_id]
    state.revision += 1
    step.records.append(goal.record(state.sid))
    step.starts.append(StopGoal(goal_id, f"goal {goal.state.value}"))
    tell_progress(step, request, "workers", status, message, goalId=goal_id)
    tell_state(step, request, f"workers.{status}")
    # The original says "Primary Brain invoking model" here; no model is asked, so nothing says so.
    composing = "Composing the answer from worker results"
    tell_progress(step, request, "execution", "started", composing, goalId=goal_id)
    answer = goal_report(goal.text, goal.tasks)
    tell_answer(step, request, answer, remember(step, "assistant", answer), goal_id)
    emitted = "Primary Brain response emitted"
    tell_progress(step, request, "execution", "complete", emitted, goalId=goal_id)
    step.close_request(request, OUTCOMES[goal.state])
    keep_within_budget(step, request)


def _note_blocked(state: State, goal: Goal) -> None:
    """Remember the first task of an ended goal that nobody could do, to propose another wording."""
    for task in goal.tasks:
        if task.state is TaskState.BLOCKED:
            state.beat["blocked"] = {
                "goalId": goal.goal_id,
                "taskId": task.task_id,
                "title": task.title[:SUGGESTED_CHARACTERS],
                "reason": task.detail,
            }
            return


def recover(step: Step) -> None:
    """After waking: say what a crash interrupted, and queue again what may be run twice.

    A task whose effect might be done twice (append, move, delete), or that was interrupted
    `rules.attempts` times, ends blocked with code interrupted instead.
    """
    state = step.state
    for goal in list(state.goals.values()):
        for task in goal.tasks:
            if task.state in (TaskState.RUNNING, TaskState.INTERRUPTED):
                _take_up_again(step, goal, task)
        if goal.done:
            _finish_goal(step, goal)
    if state.mode == "paused":
        step.starts.append(Hold(closed=True))
    advance(step)
    fit_budget(step)
    keep_within_budget(step, MANAGER_REQUEST, "restart")


def _take_up_again(step: Step, goal: Goal, task: Task) -> None:
    task.state = TaskState.INTERRUPTED
    task.code = Code.INTERRUPTED.value
    task.detail = f"{task.kind}: interrupted when the daemon stopped (attempt {task.attempts})"
    tell_status(step, goal, task)
    if repeatable(task.choice) and task.attempts < step.state.rules.attempts:
        task.state, task.code, task.detail = TaskState.QUEUED, None, ""
        step.state.revision += 1
        step.records.append(task.record(step.state.sid, goal.goal_id))
    elif repeatable(task.choice):
        detail = f"{task.kind}: interrupted {task.attempts} times, so it is not run again"
        _end_task(step, goal, task, TaskState.BLOCKED, detail, Code.INTERRUPTED)
    else:
        detail = f"{task.kind}: interrupted; whether it took effect is not known, so it is not run again"
        _end_task(step, goal, task, TaskState.BLOCKED, detail, Code.INTERRUPTED)
