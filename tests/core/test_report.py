"""The answer that ends a goal."""

from spiderwebd.core.records import TaskRecord, TaskState
from spiderwebd.core.report import goal_report


def _task(number: int, title: str, state: TaskState, detail: str, code: str | None = None) -> TaskRecord:
    return TaskRecord(1, 1, number, title, "execution", state, 1, 0, detail=detail, code=code)


def test_all_done() -> None:
    """When every task completed, the report says done and what each brought."""
    report = goal_report(
        "tea\nand more", [_task(1, "a", TaskState.COMPLETE, "x"), _task(2, "b", TaskState.COMPLETE, "y")]
    )
    assert report == 'Done: "tea and more". All 2 tasks are complete.\n1. a: complete. x\n2. b: complete. y'
    assert goal_report("g", [_task(1, "a", TaskState.COMPLETE, "")]).startswith(
        'Done: "g". Its one task is complete.'
    )


def test_not_all_done() -> None:
    """When something is left undone the first line says so with numbers, and each line says why."""
    report = goal_report(
        "g",
        [
            _task(1, "a", TaskState.COMPLETE, "x"),
            _task(2, "fly", TaskState.BLOCKED, "cannot", "no_worker"),
            _task(3, "c", TaskState.FAILED, "no such file", "task_failed"),
            _task(4, "d", TaskState.CANCELLED, ""),
        ],
    )
    assert report.splitlines() == [
        'Not all done: "g". 1 of 4 complete, 1 blocked, 1 failed, 1 cancelled.',
        "1. a: complete. x",
        "2. fly: blocked (no_worker). cannot",
        "3. c: failed (task_failed). no such file",
        "4. d: cancelled",
    ]


def test_long_parts_are_cut() -> None:
    """A task stays one line of bounded length whatever its title and detail are."""
    report = goal_report("g" * 9999, [_task(1, "t\n" * 9999, TaskState.COMPLETE, "d\n" * 9999)])
    assert len(report.splitlines()) == 2
    assert len(report) < 1000
