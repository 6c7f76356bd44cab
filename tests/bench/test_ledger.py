"""The clients' own account of what they sent: a daemon that cheats is caught."""

from __future__ import annotations

import pytest

from tests.bench.ledger import Ledger
from tests.bench.peer import Frame

ACCEPTED: Frame = {"type": "session.accepted", "request": "a"}
ANSWER: Frame = {"type": "session.receive", "request": "a"}
FULL: Frame = {
    "type": "error",
    "request": "a",
    "code": "queue_full",
    "retry_after_ms": 5,
    "limit": "limits.inbox",
}
EXPIRED: Frame = {"type": "agent.progress", "request": "a", "phase": "execution", "status": "expired"}


def told(*frames: Frame, kind: str = "chat") -> Ledger:
    """Send one request and hear these frames."""
    ledger = Ledger()
    ledger.send("a", kind, 1, 0.0)
    for frame in frames:
        ledger.hear(frame, 2.0)
    return ledger


@pytest.mark.parametrize("frames", [(ACCEPTED, ANSWER), (ACCEPTED, EXPIRED), (FULL,)])
def test_an_honest_end_adds_up(frames: tuple[Frame, ...]) -> None:
    """Accepted and ended, or refused: nothing is left."""
    assert told(*frames).sums() == []


def test_a_memory_is_answered_by_its_acceptance() -> None:
    """What is on record then is all that was asked for."""
    ledger = told(ACCEPTED, kind="create")
    assert (ledger.sums(), ledger.accepted, ledger.outcomes["answered"]) == ([], 1, 1)


def test_an_answer_without_acceptance_adds_up_for_a_query() -> None:
    """What is not kept is served."""
    ledger = told({"type": "memory.query", "request": "a"}, kind="query")
    assert (ledger.sums(), ledger.served) == ([], 1)


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ((), "never ended"),
        ((ACCEPTED,), "never ended"),
        ((ACCEPTED, ACCEPTED, ANSWER), "accepted twice"),
        ((ANSWER,), "without having been accepted"),
        ((ACCEPTED, FULL), "accepted and then refused"),
        (({**FULL, "retry_after_ms": 0},), "without a delay"),
        (({key: FULL[key] for key in FULL if key != "limit"},), "without naming the limit"),
    ],
)
def test_a_dishonest_end_is_caught(frames: tuple[Frame, ...], complaint: str) -> None:
    """Each way of losing, doubling or refusing badly is told."""
    assert any(complaint in line for line in told(*frames).sums())


def test_frames_of_others_change_nothing() -> None:
    """Only ids that were sent count, and an ended one counts once."""
    ledger = told(
        ACCEPTED, ANSWER, ANSWER, {"type": "session.receive", "request": "b"}, {"type": "session.ack"}
    )
    assert (ledger.sums(), ledger.outcomes.total()) == ([], 1)
