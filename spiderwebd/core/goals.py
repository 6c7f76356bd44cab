"""The rules of goals: accepting, dispatching, pausing, cancelling, ending, and what a crash leaves.

Dispatch order inside a goal: tasks that only read run beside each other; a task that writes waits for
everything before it, and everything after it waits for it. So a plan does what its text says while
as much as possible runs at once. Goals of one session run one after another.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict, Unpack

from spiderwebd.core.codes import Code
from spiderwebd.core.compaction import summarize_text
from spiderwebd.core.frames import AgentPlan, AgentProgress, AgentStatus
from spiderwebd.core.kinds import choose, repeatable
from spiderwebd.core.outcome import NEW_ID, Outcome
from spiderwebd.core.plan import build_plan, ram_text, response_text
from spiderwebd.core.records import RequestRecord, RequestState, TaskState
from spiderwebd.core.report import goal_report
from spiderwebd.core.state import (
    Goal,
    Hold,
    LinkKey,
    StartTask,
    State,
    Step,
    StopGoal,
    Task,
    digest,
    full_state_frame,
    goal_record,
    state_frame,
    task_record,
)
from spiderwebd.core.upkeep import keep_within_budget, note_evictions, remember

OUTCOMES = {
    TaskState.COMPLETE: RequestState.ANSWERED,
    TaskState.BLOCKED: RequestState.ANSWERED,
    TaskState.FAILED: RequestState.FAILED,
    TaskState.CANCELLED: RequestState.CANCELLED,
    TaskState.EXPIRED: RequestState.EXPIRED,
}
"""How a goal's end counts for the request that asked for it."""


class _More(TypedDict):
    goalId: NotRequired[int]
    taskId: NotRequired[int]
    accepted: NotRequired[int]
    total: NotRequired[int]
    dropped: NotRequired[int]
    queued: NotRequired[int]
    active: NotRequired[int]


def progress(
    step: Step, request: str, phase: str, status: str, message: str, **more: Unpack[_More]
) -> None:
    """Journal one agent.progress."""
    frame: AgentProgress = {
        "type": "agent.progress",
        "request": request,
        "sessionKey": step.state.key,
        "phase": phase,
        "status": status,
        "message": message,
    }
    frame.update(more)  # type: ignore[typeddict-item]  # mypy does not see that _More is a part of it
    step.journal(frame)


def accept_goal(
    step: Step, request: str, text: str, kind: str, payload: str, pause_before: int | None
) -> None:
    """Accept, plan and (when the session runs) dispatch a goal; `text` is trimmed and not empty."""
    state, now = step.state, step.now_ms
    plan = build_plan(text, max_tasks=state.rules.max_tasks)
    memory_id = remember(step, "user", text)
    goal = Goal(
        goal_id=state.next_goal_id,
        request=request,
        text=text,
        memory_id=memory_id,
        created_ms=now,
        deadline_ms=now + state.rules.goal_ms,
        tasks=[],
        pause_before=pause_before,
    )
    for number, title in enumerate(plan.tasks, start=1):
        choice = choose(title)
        goal.tasks.append(Task(number, title, choice.kind.value, choice.waits, choice.writes, now))
    state.next_goal_id += 1
    state.goals[goal.goal_id] = goal
    state.last_goal = text
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
        RequestRecord(
            state.sid, request, kind, digest(kind, payload), RequestState.OPEN, seq, memory_id, goal.goal_id, now
        )
    )
    remember(step, "system", ram_text(plan))
    progress(step, request, "planner", "received", "Planning request received", goalId=goal.goal_id)
    _journal_plan(step, goal, plan.dropped)
    progress(step, request, "planner", "ready", response_text(plan), goalId=goal.goal_id)
    accepted, dropped = len(plan.tasks), len(plan.dropped)
    if dropped:
        progress(
            step,
            request,
            "planner",
            "saturated",
            f"Worker queue saturation: accepted {accepted}/{accepted + dropped} plan tasks; {dropped} dropped",
            goalId=goal.goal_id,
            accepted=accepted,
            total=accepted + dropped,
            dropped=dropped,
            queued=state.queued_tasks,
            active=state.active_tasks,
        )
    progress(
        step, request, "workers", "queued", "Delegating plan tasks to local workers", goalId=goal.goal_id
    )
    step.records.append(goal_record(state, goal))
    step.records.extend(task_record(state, goal, task) for task in goal.tasks)
    dispatch(step)
    step.journal(state_frame(state, request, "workers.dispatching"))
    if state.mode == "paused":
        progress(step, request, "workers", "skipped", "Workers currently paused", goalId=goal.goal_id)
        step.journal(state_frame(state, request, "workers.paused"))
    elif state.mode == "cancelled":
        progress(step, request, "workers", "skipped", "Workers cancelled", goalId=goal.goal_id)
        cancel_goal(step, goal, "the session's workers are cancelled; send resume first")
    keep_within_budget(step, request)


def _journal_plan(step: Step, goal: Goal, dropped: tuple[str, ...]) -> None:
    frame: AgentPlan = {
        "type": "agent.plan",
        "request": goal.request,
        "sessionKey": step.state.key,
        "goal": goal.text,
        "tasks": [
            {"id": task.task_id, "title": task.title, "status": "queued", "worker": task.kind}
            for task in goal.tasks
        ],
        "goalId": goal.goal_id,
    }
    if dropped:
        frame["dropped"] = list(dropped)
    step.journal(frame)


def dispatch(step: Step) -> None:
    """Start whatever the order rule, the parallel limit and the mode allow now."""
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
                    _break_at(step, goal, task)
                return
            if running >= state.rules.parallel_tasks or (task.waits and earlier_open):
                return
            _start(step, goal, task)
            running += 1
        if not task.state.ended:
            if task.writes:
                return
            earlier_open = True


def _start(step: Step, goal: Goal, task: Task) -> None:
    state = step.state
    task.state = TaskState.RUNNING
    task.attempts += 1
    task.started_ms = step.now_ms
    state.revision += 1
    step.records.append(task_record(state, goal, task))
    if goal.state is not TaskState.RUNNING:
        goal.state = TaskState.RUNNING
        step.records.append(goal_record(state, goal))
    step.starts.append(
        StartTask(
            goal.goal_id, task.task_id, task.title, task.attempts, goal.request, goal.text, goal.deadline_ms
        )
    )


def _break_at(step: Step, goal: Goal, task: Task) -> None:
    """Pause where the goal asked for it; the break point is used up."""
    state = step.state
    goal.pause_before = None
    state.mode = "paused"
    state.revision += 1
    step.records.append(goal_record(state, goal))
    step.starts.append(Hold(closed=True))
    progress(
        step,
        goal.request,
        "workers",
        "paused",
        f"Workers paused before task {task.task_id}",
        goalId=goal.goal_id,
        taskId=task.task_id,
    )
    step.journal(state_frame(state, goal.request, "workers.paused"))


def task_ended(step: Step, goal_id: int, task_id: int, outcome: Outcome) -> None:
    """Take in what a worker brought back, tell everyone, and start what may run next."""
    state = step.state
    goal = state.goals.get(goal_id)
    if goal is None or goal.task(task_id).state is not TaskState.RUNNING:
        return  # cancelled or expired meanwhile: that outcome stands
    task = goal.task(task_id)
    detail = _apply(step, outcome)
    _end_task(step, goal, task, outcome.state, detail, outcome.code)
    if all(other.state.ended for other in goal.tasks):
        _finish_goal(step, goal)
    dispatch(step)


def _apply(step: Step, outcome: Outcome) -> str:
    """Carry out the session changes a worker proposed; its detail may name the ids they got."""
    ids = [remember(step, memory.role, memory.content, name=memory.name) for memory in outcome.remember]
    detail = outcome.detail
    for memory_id in ids:
        detail = detail.replace(NEW_ID, f"#{memory_id}", 1)
    state, ram, now = step.state, step.state.ram, step.now_ms
    for memory_id in outcome.evict:
        if ram.load(memory_id) is not None:
            step.records.extend(ram.evict(now, memory_id).records(state.sid))
    for entry in (*outcome.load, *outcome.summarize):
        change = ram.recall(entry, now)
        step.records.extend(change.records(state.sid))
        note_evictions(step, change)
    for entry in outcome.summarize:
        # Larger than the whole budget, it could not come back; its text stays in the LTM as it is.
        if (found := ram.load(entry.id)) is not None:
            text = summarize_text(found.content, found.role, state.rules.summary_bytes)
            step.records.extend(ram.summarize(text, now, entry.id).records(state.sid))
    return detail


def _end_task(
    step: Step, goal: Goal, task: Task, end: TaskState, detail: str, code: Code | None
) -> None:
    state = step.state
    task.state, task.detail, task.ended_ms = end, detail, step.now_ms
    task.code = None if code is None else code.value
    state.revision += 1
    step.records.append(task_record(state, goal, task))
    progress(
        step,
        goal.request,
        task.kind,
        end.value,
        f"{task.kind} worker {end.value} for task {task.task_id}: {detail}",
        goalId=goal.goal_id,
        taskId=task.task_id,
    )
    _status(step, goal, task)


def _status(step: Step, goal: Goal, task: Task) -> None:
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


def _finish_goal(step: Step, goal: Goal) -> None:
    """End a goal whose tasks have all ended, with the answer that reports them."""
    states = {task.state for task in goal.tasks}
    for verdict in (TaskState.EXPIRED, TaskState.CANCELLED, TaskState.FAILED, TaskState.BLOCKED):
        if verdict in states:
            goal.state = verdict
            break
    else:
        goal.state = TaskState.COMPLETE
    _close_goal(step, goal, "Worker pre-processing complete", "workers.ready")


def _close_goal(step: Step, goal: Goal, message: str, phase: str) -> None:
    state, request = step.state, goal.request
    goal.ended_ms = step.now_ms
    _note_blocked(state, goal)
    del state.goals[goal.goal_id]
    state.revision += 1
    step.records.append(goal_record(state, goal))
    step.starts.append(StopGoal(goal.goal_id, f"goal {goal.state.value}"))
    progress(step, request, "workers", phase.removeprefix("workers."), message, goalId=goal.goal_id)
    step.journal(state_frame(state, request, phase))
    progress(
        step, request, "execution", "started", "Composing the answer from worker results", goalId=goal.goal_id
    )
    answer = goal_report(goal.text, goal.tasks)
    memory_id = remember(step, "assistant", answer)
    step.journal(
        {
            "type": "session.receive",
            "content": answer,
            "memoryId": memory_id,
            "request": request,
            "sessionKey": state.key,
            "goalId": goal.goal_id,
        }
    )
    progress(
        step, request, "execution", "complete", "Primary Brain response emitted", goalId=goal.goal_id
    )
    step.close_request(request, OUTCOMES[goal.state])
    keep_within_budget(step, request)


def _note_blocked(state: State, goal: Goal) -> None:
    """Remember the first task of an ended goal that nobody could do, to propose another wording."""
    for task in goal.tasks:
        if task.state is TaskState.BLOCKED:
            state.beat["blocked"] = {
                "goalId": goal.goal_id,
                "taskId": task.task_id,
                "title": task.title[:200],
                "reason": task.detail,
            }
            return


def pause(step: Step, link: LinkKey, request: str) -> None:
    """Stop dispatching and hold running workers at their next gate."""
    _set_mode(step, "paused")
    step.starts.append(Hold(closed=True))
    step.reply(link, full_state_frame(step.state, request, "workers.paused", step.now_ms))


def resume(step: Step, link: LinkKey, request: str) -> None:
    """Open the gate and dispatch what waits; legal from every mode."""
    _set_mode(step, "running")
    step.starts.append(Hold(closed=False))
    dispatch(step)
    step.reply(link, full_state_frame(step.state, request, "workers.running", step.now_ms))


def cancel(step: Step, link: LinkKey, request: str, goal_id: int | None) -> None:
    """End one goal, or (without an id) every goal and the session's work until resume."""
    state = step.state
    if goal_id is not None:
        goal = state.goals.get(goal_id)
        if goal is None:
            step.refuse(
                link, request, f"No running goal of this session has goalId {goal_id}.", Code.GOAL_UNKNOWN
            )
            return
        cancel_goal(step, goal, "cancelled on request")
        dispatch(step)
    else:
        _set_mode(step, "cancelled")
        step.starts.append(Hold(closed=False))
        for goal in list(state.goals.values()):
            cancel_goal(step, goal, "cancelled on request")
    step.reply(link, full_state_frame(state, request, "workers.cancelled", step.now_ms))


def cancel_goal(step: Step, goal: Goal, reason: str) -> None:
    """End every open task of a goal as cancelled, and the goal with them."""
    _end_open_tasks(step, goal, TaskState.CANCELLED, reason, Code.CANCELLED)
    goal.state = TaskState.CANCELLED
    _close_goal(step, goal, "Workers cancelled", "workers.cancelled")


def expire_goal(step: Step, goal_id: int) -> None:
    """End a goal that passed its deadline; what had not run is never run late."""
    goal = step.state.goals.get(goal_id)
    if goal is None:
        return
    _end_open_tasks(step, goal, TaskState.EXPIRED, "its goal passed its deadline", Code.EXPIRED)
    goal.state = TaskState.EXPIRED
    _close_goal(step, goal, "Goal deadline passed", "workers.expired")
    dispatch(step)


def open_gate(step: Step) -> None:
    """Let running workers pass their gate (a reset starts from running)."""
    step.starts.append(Hold(closed=False))


def _end_open_tasks(step: Step, goal: Goal, end: TaskState, reason: str, code: Code) -> None:
    for task in goal.tasks:
        if not task.state.ended:
            _end_task(step, goal, task, end, f"{task.kind}: {reason}", code)


def _set_mode(step: Step, mode: str) -> None:
    if step.state.mode != mode:
        step.state.mode = mode
        step.state.revision += 1
        step.records.append(step.state.record())


def recover(step: Step) -> None:
    """After a restart: say what was interrupted, and queue again what may be run twice.

    A task whose effect might be done twice (append, move, delete), or that was interrupted
    `rules.attempts` times, ends blocked with code interrupted instead.
    """
    state = step.state
    for goal in state.goals.values():
        for task in goal.tasks:
            if task.state not in (TaskState.RUNNING, TaskState.INTERRUPTED):
                continue
            task.state = TaskState.INTERRUPTED
            task.code = Code.INTERRUPTED.value
            task.detail = f"{task.kind}: interrupted when the daemon stopped (attempt {task.attempts})"
            _status(step, goal, task)
            if repeatable(choose(task.title)) and task.attempts < state.rules.attempts:
                task.state, task.code, task.detail = TaskState.QUEUED, None, ""
                step.records.append(task_record(state, goal, task))
            else:
                detail = f"{task.kind}: interrupted; whether it took effect is not known, so it is not run again"
                _end_task(step, goal, task, TaskState.BLOCKED, detail, Code.INTERRUPTED)
            state.revision += 1
    for goal in list(state.goals.values()):
        if goal.deadline_ms <= step.now_ms:
            expire_goal(step, goal.goal_id)
        elif all(task.state.ended for task in goal.tasks):
            _finish_goal(step, goal)
    if state.mode == "paused":
        step.starts.append(Hold(closed=True))
    dispatch(step)
