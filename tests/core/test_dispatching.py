"""Which task starts when: reads beside reads, writes alone, never more than allowed, never while paused."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from spiderwebd.core.kinds import choose
from spiderwebd.core.state import Step
from tests.core.life import Life, told

READ, WRITE, STATUS = "find a", "write file a: b", "report status"


def started(life: Life) -> list[int]:
    return sorted(task_id for _, task_id in life.running)


def test_reads_run_beside_reads_up_to_the_limit() -> None:
    """Two at once by default (compatibility 6.2); the third starts when one ends, without a barrier."""
    life = Life()
    life.goal("k-1", "; ".join([READ] * 4))
    assert started(life) == [1, 2]
    life.end(2)
    assert started(life) == [1, 3]


def test_a_write_waits_for_all_before_it_and_all_after_wait_for_it() -> None:
    """A plan does what its text says: what is read after a write sees the write."""
    life = Life(parallel_tasks=8)
    life.goal("k-1", "; ".join([READ, READ, WRITE, READ, READ]))
    assert started(life) == [1, 2]
    life.end(1)
    assert started(life) == [2]
    life.end(2)
    assert started(life) == [3]
    life.end(3)
    assert started(life) == [4, 5]


def test_status_reports_what_was_done() -> None:
    """A status task waits for everything before it."""
    life = Life(parallel_tasks=8)
    life.goal("k-1", "; ".join([READ, STATUS]))
    assert started(life) == [1]
    life.end(1)
    assert started(life) == [2]


def test_pause_before_a_task_stops_there_once() -> None:
    """Everything before it ends first; then the mode is paused, the frames say so, and resume goes on."""
    life = Life()
    life.goal("k-1", "; ".join([READ] * 4), pauseBefore=3)
    assert started(life) == [1, 2]
    life.end(1)
    assert started(life) == [2]
    frames = life.end(2)
    assert told(frames)[-2:] == [("agent.progress", "workers", "paused"), ("agent.state", "workers.paused")]
    assert frames[-2]["message"] == "Workers paused before task 3"
    assert frames[-2]["taskId"] == 3
    assert life.gate_closed
    assert life.rows.goals[1].pause_before is None
    life.control("resume")
    assert started(life) == [3, 4]


def test_pause_before_the_first_task() -> None:
    """Nothing starts at all until resume."""
    life = Life()
    life.goal("k-1", READ, pauseBefore=1)
    assert started(life) == []
    life.control("resume")
    assert started(life) == [1]


def test_nothing_starts_while_the_daemon_stops() -> None:
    """Draining lets what runs come to an end; the next start goes on from the rows."""
    life = Life()
    life.goal("k-1", "; ".join([READ] * 3))
    life.state.draining = True
    life.end(1)
    assert started(life) == [2]
    life.control("resume")
    assert started(life) == [2]


@given(st.lists(st.sampled_from([READ, WRITE, STATUS]), min_size=1, max_size=8), st.integers(1, 4), st.data())
@settings(max_examples=50)
def test_every_task_runs_once_in_a_legal_order(titles: list[str], limit: int, data: st.DataObject) -> None:
    """Whatever ends first: all run exactly once, in plan order, and no write beside anything else."""
    life = Life(parallel_tasks=limit)
    life.goal("k-1", "; ".join(titles))
    order: list[int] = []
    while life.running:
        running = started(life)
        order.extend(task_id for task_id in running if task_id not in order)
        assert len(running) <= limit
        if any(choose(titles[task_id - 1]).writes for task_id in running):
            assert len(running) == 1
        life.end(data.draw(st.sampled_from(running)))
    assert order == list(range(1, len(titles) + 1))
    assert life.state.goals == {}


def test_dispatch_without_a_goal_does_nothing() -> None:
    """An empty session has nothing to start."""
    life = Life()
    assert life.control("resume")[0]["phase"] == "workers.running"
    assert Step(life.state, life.now).starts == []
    assert not life.running
