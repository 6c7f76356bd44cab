"""An outcome is an end, with a code exactly when it is no success."""

import pytest

from spiderwebd.core.codes import Code
from spiderwebd.core.outcome import DETAIL_CHARACTERS, Outcome, blocked, complete, failed
from spiderwebd.core.records import TaskState


def test_constructors() -> None:
    """The three ends carry their state and code."""
    assert complete("x") == Outcome(TaskState.COMPLETE, "x")
    assert failed("x") == Outcome(TaskState.FAILED, "x", Code.TASK_FAILED)
    assert blocked("x", Code.NO_WORKER).state is TaskState.BLOCKED


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (TaskState.COMPLETE, Code.INTERNAL),
        (TaskState.FAILED, None),
        (TaskState.BLOCKED, None),
        (TaskState.RUNNING, None),
        (TaskState.CANCELLED, Code.CANCELLED),
    ],
)
def test_contradictions_are_refused(state: TaskState, code: Code | None) -> None:
    """No success with an error code, no failure without one, no end that only the session may give."""
    with pytest.raises(ValueError, match=r"cannot"):
        Outcome(state, "x", code)


def test_detail_is_bounded() -> None:
    """A worker cannot make a frame of any size."""
    assert len(complete("x" * 10_000).detail) == DETAIL_CHARACTERS
