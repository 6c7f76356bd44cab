"""What waited too long is expired, with an event and a reason, and never done late."""

from __future__ import annotations

from spiderwebd.core import turn
from spiderwebd.core.deadlines import answer_by_ms, due_at, overdue, start_by_ms
from spiderwebd.core.effects import StartTask
from spiderwebd.core.records import RequestState, TaskState
from tests.core.life import START_MS, Life, told


def test_a_message_that_waited_too_long_is_expired() -> None:
    """At chat_ms from its acceptance it gets its event and outcome, and its turn never comes."""
    life = Life(chat_ms=5_000)
    life.chat("k-1", "one")
    life.now += 4_000
    life.chat("k-2", "two")
    life.now += 4_000
    life.do(turn.expire_overdue)
    assert life.rows.requests["k-1"].state is RequestState.EXPIRED
    assert life.rows.requests["k-2"].state is RequestState.OPEN
    assert life.frames[-1]["message"] == "The message waited 8 seconds, so it is not answered any more"
    assert (life.frames[-1]["status"], life.frames[-1]["request"]) == ("expired", "k-1")
    assert [chat.request for chat in life.in_flight] == ["k-1", "k-2"]
    assert life.answer("too late") == []
    assert told(life.answer("in time")) == [("session.receive",)]


def test_a_message_is_not_begun_after_its_time() -> None:
    """Whatever frees the turn, a message past its time is expired before the next is begun."""
    life = Life(chat_ms=5_000)
    for name in ("k-1", "k-2", "k-3"):
        life.chat(name, name)
        life.now += 2_000
    life.now += 2_000
    frames = life.answer("just in time for nobody")
    assert told(frames)[0] == ("session.receive",)
    assert [frame["request"] for frame in frames if frame.get("status") == "expired"] == ["k-2"]
    assert life.in_flight[-1].request == "k-3"


def test_a_task_that_waited_too_long_is_expired() -> None:
    """At queue_ms from the goal's acceptance queued tasks end expired, and running ones may end."""
    life = Life(queue_ms=5_000, parallel_tasks=1)
    life.goal("k-1", "find a; find b; find c")
    start = life.running[1, 1]
    assert (start.queued_ms, start.start_by_ms) == (START_MS, START_MS + 5_000)
    life.now += 5_000
    life.do(turn.expire_overdue)
    rows = life.rows.tasks
    assert [rows[1, task].state for task in (1, 2, 3)] == [
        TaskState.RUNNING,
        TaskState.EXPIRED,
        TaskState.EXPIRED,
    ]
    assert rows[1, 2].code == "expired"
    assert rows[1, 2].detail == "research: it waited 5 seconds for its turn, so it was not run"
    life.end(1)
    assert rows[1, 1].state is TaskState.COMPLETE
    assert life.rows.goals[1].state is TaskState.EXPIRED
    assert life.rows.requests["k-1"].state is RequestState.EXPIRED
    assert len([start for start in life.starts if isinstance(start, StartTask)]) == 1


def test_a_goal_whose_every_task_waited_ends_at_once() -> None:
    """Behind another goal nothing runs: the goal ends with its report when its tasks expire."""
    life = Life(queue_ms=5_000, goal_ms=60_000)
    life.goal("k-1", "find a")
    life.goal("k-2", "find b; find c")
    life.now += 5_000
    life.do(turn.expire_overdue)
    assert life.rows.goals[2].state is TaskState.EXPIRED
    assert life.rows.goals[1].state is TaskState.RUNNING


def test_without_a_bound_tasks_wait_for_their_goals_deadline() -> None:
    """queue_ms 0 leaves the goal's deadline alone to end what waits."""
    life = Life(queue_ms=0, goal_ms=60_000)
    life.goal("k-1", "find a; find b; find c")
    task = life.state.goals[1].task(3)
    assert start_by_ms(life.state, task) is None
    assert not overdue(life.state, task, START_MS + 10**9)
    assert life.running[1, 1].start_by_ms is None
    assert due_at(life.state) == START_MS + 60_000


def test_the_next_moment_is_the_earliest() -> None:
    """due_at is None for nothing, else the first of message, task and goal deadlines."""
    life = Life(chat_ms=9_000, queue_ms=5_000, goal_ms=60_000)
    assert due_at(life.state) is None
    life.chat("k-1", "one")
    assert due_at(life.state) == answer_by_ms(life.state, life.state.chats[0]) == START_MS + 9_000
    life.goal("k-2", "find a; find b; find c")
    assert due_at(life.state) == START_MS + 5_000
    life.now += 5_000
    life.do(turn.expire_overdue)
    assert due_at(life.state) == START_MS + 9_000
    life.answer("done")
    assert due_at(life.state) == START_MS + 60_000
