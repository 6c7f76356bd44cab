"""The life of a goal: compatibility 1.5 B and C word for word, ends, deadlines and crashes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spiderwebd.core import goals
from spiderwebd.core.change import Entry, row_of
from spiderwebd.core.codes import Code
from spiderwebd.core.effects import StartTask, StopGoal
from spiderwebd.core.outcome import NewMemory, Outcome, blocked, complete, failed
from spiderwebd.core.ram import Budget
from spiderwebd.core.records import RequestState, TaskState
from tests.core.life import KEY, Frame, Life, told

GOAL = "read log; fix bug; tell me the state"
ANSWERED_FIRST = [("session.accepted",)]
"""The one frame that is ours alone before 1.5 B begins: the promise that the goal is on disk."""


def said(frames: list[Frame]) -> list[str]:
    return [frame["message"] for frame in frames if frame["type"] == "agent.progress"]


def test_1_5_b_a_goal_in_running_mode() -> None:
    """Compatibility 1.5 B: frames 1 to 13 in order with their texts, one request id on all of them.

    Step 11 is `execution/started` without the words `Primary Brain invoking model`: none is invoked.
    """
    life = Life()
    begun = life.goal("k-2", GOAL)
    assert told(begun) == [
        *ANSWERED_FIRST,
        ("agent.progress", "planner", "received"),
        ("agent.plan",),
        ("agent.progress", "planner", "ready"),
        ("agent.progress", "workers", "queued"),
        ("agent.state", "workers.dispatching"),
    ]
    assert said(begun) == [
        "Planning request received",
        "I have a deterministic plan with 3 task(s) for this goal.",
        "Delegating plan tasks to local workers",
    ]
    assert (begun[5]["queuedTasks"], begun[5]["activeTasks"]) == (1, 2)
    worked = life.end(1, complete("research: found 2 research terms"))
    worked += life.end(2, complete("execution: found 2 execution steps"))
    ended = life.end(3, complete("status: found 4 status checks"))
    assert told(worked + ended) == [
        ("agent.progress", "research", "complete"),
        ("agent.status", "1", "complete"),
        ("agent.progress", "execution", "complete"),
        ("agent.status", "2", "complete"),
        ("agent.progress", "status", "complete"),
        ("agent.status", "3", "complete"),
        ("agent.progress", "workers", "ready"),
        ("agent.state", "workers.ready"),
        ("agent.progress", "execution", "started"),
        ("session.receive",),
        ("agent.progress", "execution", "complete"),
    ]
    assert said(worked + ended) == [
        "research worker complete for task 1: research: found 2 research terms",
        "execution worker complete for task 2: execution: found 2 execution steps",
        "status worker complete for task 3: status: found 4 status checks",
        "Worker pre-processing complete",
        "Composing the answer from worker results",
        "Primary Brain response emitted",
    ]
    assert worked[1]["message"] == "research: found 2 research terms"
    state = ended[3]
    assert (state["queuedTasks"], state["activeTasks"], state["lastGoal"]) == (0, 0, GOAL)
    assert {frame["request"] for frame in life.frames} == {"k-2"}
    assert "model" not in str(life.frames)


def test_1_4_the_plan_frame() -> None:
    """Compatibility 1.4: goal, and each task with id, title and status queued; ours come after."""
    plan = Life().goal("k-2", "read log; fix bug")[2]
    assert plan == {
        "type": "agent.plan",
        "request": "k-2",
        "sessionKey": KEY,
        "goal": "read log; fix bug",
        "tasks": [
            {"id": 1, "title": "read log", "status": "queued", "worker": "research"},
            {"id": 2, "title": "fix bug", "status": "queued", "worker": "execution"},
        ],
        "goalId": 1,
        "seq": 3,
    }


def test_worker_frames_come_in_order_of_completion() -> None:
    """Issue 2: the second task may end first, and is told first."""
    life = Life()
    life.goal("k-2", GOAL)
    assert told(life.end(2))[1] == ("agent.status", "2", "complete")
    assert told(life.end(1))[1] == ("agent.status", "1", "complete")


def test_the_goal_is_in_memory_before_its_plan() -> None:
    """Issue 2 and section 5.7: the goal as a user entry, then the plan's text as a system entry."""
    life = Life()
    accepted = life.goal("k-2", "read log; fix bug")[0]
    assert life.state.ram.turns() == [
        ("user", "read log; fix bug"),
        ("system", "Primary Brain plan for goal: read log; fix bug\n1. read log\n2. fix bug"),
    ]
    assert (accepted["memoryId"], accepted["goalId"]) == (1, 1)


def test_1_5_c_a_goal_while_paused() -> None:
    """Compatibility 1.5 C, paused: 1 to 5, then skipped; corrected: the tasks wait, they are not lost."""
    life = Life()
    life.control("pause")
    frames = life.goal("k-2", GOAL)
    assert told(frames) == [
        *ANSWERED_FIRST,
        ("agent.progress", "planner", "received"),
        ("agent.plan",),
        ("agent.progress", "planner", "ready"),
        ("agent.progress", "workers", "queued"),
        ("agent.state", "workers.dispatching"),
        ("agent.progress", "workers", "skipped"),
        ("agent.state", "workers.paused"),
    ]
    assert said(frames)[-1] == "Workers currently paused"
    assert not life.running
    life.control("resume")
    assert sorted(life.running) == [(1, 1), (1, 2)]


def test_1_5_c_a_goal_while_cancelled() -> None:
    """Compatibility 1.5 C, cancelled: 1 to 5, skipped, state 0/0, then the answer (11 to 13)."""
    life = Life()
    life.control("cancel")
    frames = life.goal("k-2", "find a")
    assert told(frames) == [
        *ANSWERED_FIRST,
        ("agent.progress", "planner", "received"),
        ("agent.plan",),
        ("agent.progress", "planner", "ready"),
        ("agent.progress", "workers", "queued"),
        ("agent.state", "workers.dispatching"),
        ("agent.progress", "workers", "skipped"),
        ("agent.progress", "research", "cancelled"),
        ("agent.status", "1", "cancelled"),
        ("agent.progress", "workers", "cancelled"),
        ("agent.state", "workers.cancelled"),
        ("agent.progress", "execution", "started"),
        ("session.receive",),
        ("agent.progress", "execution", "complete"),
    ]
    assert said(frames)[3] == "Workers cancelled"
    assert (frames[10]["queuedTasks"], frames[10]["activeTasks"]) == (0, 0)
    assert frames[8]["code"] == "cancelled"
    assert life.rows.requests["k-2"].state is RequestState.CANCELLED


@pytest.mark.parametrize(
    ("outcomes", "state", "request_state"),
    [
        ([complete("a"), complete("b")], TaskState.COMPLETE, RequestState.ANSWERED),
        ([complete("a"), blocked("b", Code.NO_WORKER)], TaskState.BLOCKED, RequestState.ANSWERED),
        ([failed("a"), blocked("b", Code.NO_WORKER)], TaskState.FAILED, RequestState.FAILED),
    ],
)
def test_a_goal_ends_as_its_worst_task(
    outcomes: list[Outcome], state: TaskState, request_state: RequestState
) -> None:
    """The goal's row and the request's outcome follow from how its tasks ended; counters return to 0."""
    life = Life()
    life.goal("k-2", "find a; find b")
    for task_id, outcome in enumerate(outcomes, start=1):
        life.end(task_id, outcome)
    assert life.rows.goals[1].state is state
    assert life.rows.goals[1].ended_ms == life.now
    assert life.rows.requests["k-2"].state is request_state
    assert (life.state.queued_tasks, life.state.active_tasks) == (0, 0)
    assert life.starts[-1] == StopGoal(1, f"goal {state.value}")


def test_a_task_nobody_can_do_ends_blocked_with_its_code() -> None:
    """Issue 2: blocked, never complete, with code no_worker in frame and row."""
    life = Life()
    life.goal("k-2", "frobnicate")
    frames = life.end(1, blocked("execution: nobody can", Code.NO_WORKER))
    status = frames[1]
    assert (status["status"], status["code"]) == ("blocked", "no_worker")
    assert said(frames)[0] == "execution worker blocked for task 1: execution: nobody can"
    assert life.rows.tasks[1, 1].code == "no_worker"


def test_an_end_that_comes_too_late_changes_nothing() -> None:
    """A cancelled task's verdict stands; so does that of one whose goal is gone."""
    life = Life()
    life.goal("k-2", "find a; find b")
    life.control("cancel", goalId=1)
    seq = life.state.seq
    life.do(lambda step: goals.task_ended(step, 1, 1, complete("late")))
    assert life.state.seq == seq
    assert life.rows.tasks[1, 1].state is TaskState.CANCELLED


def test_goals_run_one_after_another() -> None:
    """The second goal's tasks start when the first goal has ended."""
    life = Life()
    life.goal("k-2", "find a")
    life.goal("k-3", "find b")
    assert list(life.running) == [(1, 1)]
    life.end(1)
    assert list(life.running) == [(2, 1)]


def test_memories_of_a_worker_get_their_ids_into_its_words() -> None:
    """What a worker asks to be remembered is stored with the task's end, and its id is told."""
    life = Life()
    life.goal("k-2", "remember that x")
    outcome = replace(
        complete('execution: remembered #?: "is #? ok"'), remember=(NewMemory("user", "is #? ok"),)
    )
    frames = life.end(1, outcome)
    assert frames[1]["message"] == 'execution: remembered #3: "is #? ok"'
    assert life.rows.entries[3].content == "is #? ok"


def test_what_a_worker_does_to_ram_is_told_by_memory_events() -> None:
    """Evict, load and summarize change RAM in the task's own transaction, one memory.event each."""
    life = Life()
    life.send({"type": "memory.create", "id": "k-0", "content": "the key is under the stone"})
    life.goal("k-2", "forget memory 1; load memory 1; summarize memory 1")
    events = life.end(1, replace(complete("execution: gone"), evict=(1,)))
    assert told(events)[0] == ("memory.event", "evict", "evicted")
    assert life.state.ram.load(1) is None
    stored = row_of(life.rows.entries[1])
    assert isinstance(stored, Entry)
    events = life.end(2, replace(complete("execution: here"), load=(stored,)))
    assert told(events)[0] == ("memory.event", "recall", "recalled")
    assert life.state.ram.load(1) == stored
    events = life.end(3, replace(complete("execution: short"), summarize=(stored,)))
    assert told(events)[0] == ("memory.event", "summarize", "summarized")
    assert [summary.sources for summary in life.state.ram.summaries()] == [(1,)]
    for event in [frame for frame in life.frames if frame["type"] == "memory.event"]:
        assert (event["trigger"], event["memoryIds"], event["count"]) == ("worker", [1], 1)


def test_a_worker_cannot_bring_back_an_outdated_text() -> None:
    """A memory revised and evicted after the worker read it keeps its newest text."""
    life = Life()
    life.send({"type": "memory.create", "id": "k-0", "content": "old"})
    stored = row_of(life.rows.entries[1])
    assert isinstance(stored, Entry)
    life.goal("k-1", "load memory 1")
    life.send({"type": "memory.update", "id": "k-2", "memoryId": 1, "content": "new"})
    life.send({"type": "memory.evict", "id": "k-3", "memoryId": 1})
    life.end(1, replace(complete("execution: here"), load=(stored,)))
    assert life.rows.entries[1].content == "new"
    assert life.state.ram.load(1) is None


def test_evictions_by_a_worker_s_memory_are_told() -> None:
    """A memory that pushes others out of RAM is followed by the event that says which."""
    life = Life(budget=Budget(max_bytes=120))
    life.goal("k-2", "remember that x; find b")
    outcome = replace(complete("execution: remembered #?"), remember=(NewMemory("user", "y" * 100),))
    frames = life.end(1, outcome)
    assert told(frames)[-1] == ("memory.event", "evict", "evicted")
    assert frames[-1]["memoryIds"] == [1, 2]


def test_a_file_name_that_is_no_text_cannot_break_the_wire() -> None:
    """Half of a surrogate pair in a worker's words becomes a question mark in every frame and row."""
    life = Life()
    life.goal("k-2", "list files")
    assert life.end(1, complete("execution: a\udcff.txt"))[1]["message"] == "execution: a?.txt"
    assert life.rows.tasks[1, 1].detail == "execution: a?.txt"


def test_a_deadline_ends_a_goal_as_expired() -> None:
    """What had not run is never run late, and the next goal starts."""
    life = Life()
    life.goal("k-2", "find a; find b; find c")
    life.goal("k-3", "find d")
    life.do(lambda step: goals.expire_goal(step, 1))
    assert {life.rows.tasks[1, n].state for n in (1, 2, 3)} == {TaskState.EXPIRED}
    assert life.rows.requests["k-2"].state is RequestState.EXPIRED
    assert ("agent.state", "workers.expired") in told(life.frames)
    assert list(life.running) == [(2, 1)]
    life.do(lambda step: goals.expire_goal(step, 1))


def test_a_goal_that_waited_past_its_deadline_is_not_started() -> None:
    """DESIGN 7: a deadline counts from acceptance; a goal behind another or a pause is expired unrun."""
    life = Life(goal_ms=60_000)
    life.control("pause")
    life.goal("k-2", "find a")
    life.now += 60_000
    frames = life.control("resume")
    assert ("agent.status", "1", "expired") in told(frames)
    assert not any(isinstance(start, StartTask) for start in life.starts)


def test_after_a_crash_what_ran_is_told_and_run_again() -> None:
    """DESIGN 6: interrupted is told, then the task starts once more as its second attempt."""
    life = Life()
    life.goal("k-2", "find a; find b; find c")
    life.end(1)
    frames = life.crash()
    assert told(frames) == [("agent.status", "2", "interrupted"), ("agent.status", "3", "interrupted")]
    assert frames[0]["message"] == "research: interrupted when the daemon stopped (attempt 1)"
    assert frames[0]["code"] == "interrupted"
    assert sorted(life.running) == [(1, 2), (1, 3)]
    assert {start.attempt for start in life.running.values()} == {2}
    life.end(2)
    assert life.end(3)[-1]["message"] == "Primary Brain response emitted"


@pytest.mark.parametrize("title", ["append x to log.txt", "move a to b", "delete file a"])
def test_after_a_crash_nothing_is_done_twice(title: str) -> None:
    """A task whose effect could be doubled ends blocked with code interrupted, and its goal goes on."""
    life = Life()
    life.goal("k-2", f"{title}; find b")
    frames = life.crash()
    assert told(frames)[:3] == [
        ("agent.status", "1", "interrupted"),
        ("agent.progress", "execution", "blocked"),
        ("agent.status", "1", "blocked"),
    ]
    assert frames[2]["code"] == "interrupted"
    assert "whether it took effect is not known" in frames[2]["message"]
    assert list(life.running) == [(1, 2)]


def test_a_task_that_keeps_crashing_is_given_up() -> None:
    """After `attempts` starts it ends blocked, and with it the goal; the daemon does not loop."""
    life = Life(attempts=3)
    life.goal("k-2", "find a")
    life.crash()
    life.crash()
    assert life.running[1, 1].attempt == 3
    frames = life.crash()
    assert frames[2]["message"] == "research: interrupted 3 times, so it is not run again"
    assert told(frames)[-1] == ("agent.progress", "execution", "complete")
    assert life.state.goals == {}
    assert life.rows.requests["k-2"].state is RequestState.ANSWERED


def test_after_a_crash_a_pause_is_still_a_pause() -> None:
    """The gate is closed again and nothing starts; the break point that was used up stays so."""
    life = Life()
    life.goal("k-2", "find a; find b; find c", pauseBefore=3)
    life.end(1)
    life.end(2)
    assert life.state.mode == "paused"
    life.crash()
    assert life.gate_closed
    assert not life.running
    life.control("resume")
    assert list(life.running) == [(1, 3)]


def test_after_a_long_stop_what_is_overdue_is_expired() -> None:
    """Goals whose deadline passed while the daemon was down end expired, without a start."""
    life = Life(goal_ms=60_000)
    life.goal("k-2", "find a")
    life.goal("k-3", "find b")
    life.now += 60_000
    life.crash()
    assert life.state.goals == {}
    assert not life.running
    assert {life.rows.requests[name].state for name in ("k-2", "k-3")} == {RequestState.EXPIRED}


def test_a_budget_that_shrank_is_kept_from_the_first_moment() -> None:
    """After a restart with less memory, RAM is within the new budget, and what left it is told."""
    life = Life()
    for number in range(10):
        life.send({"type": "memory.create", "content": f"memory {number}"})
    life.rules = replace(life.rules, budget=Budget(max_entries=5))
    frames = life.crash()
    assert ("memory.event", "evict", "evicted") in told(frames)
    assert life.state.ram.active_count <= 5
    assert not any(life.rows.entries[number].in_ram for number in range(1, 6))


def test_waking_without_unfinished_work_writes_nothing() -> None:
    """A session that only comes back costs no transaction and says nothing."""
    life = Life()
    life.chat("k-1", "hello")
    life.answer("hi")
    assert life.crash() == []
    assert life.do(goals.recover).records == []
