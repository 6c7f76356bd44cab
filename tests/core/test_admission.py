"""Who is let in: texts no longer than announced, queues no longer than configured."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.core import turn
from spiderwebd.core.admission import RETRY_MS, too_large
from spiderwebd.core.protocol import parse
from spiderwebd.core.shares import Totals
from spiderwebd.core.state import Step
from tests.core.life import LINK, START_MS, Life, told


def test_full_queues_refuse_with_a_delay() -> None:
    """Issue 3 and DESIGN 7: a refusal carries code and retry_after_ms, and names the scope."""
    life = Life(chats_queued=2, goals_queued=1)
    for name in ("k-1", "k-2"):
        life.chat(name, "hello")
    life.goal("k-3", "find a")
    (chat,), (goal,) = life.chat("k-4", "hello"), life.goal("k-5", "find b")
    assert chat["message"] == "This session's queue of unanswered messages is full (2); try again later."
    assert goal["message"] == "This session's queue of goals is full (1); try again later."
    for refusal in (chat, goal):
        assert (refusal["code"], refusal["retry_after_ms"]) == ("queue_full", RETRY_MS)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.integers(1, 60))
def test_texts_are_measured_in_utf_8_bytes(text: str, limit: int) -> None:
    """A text of exactly message_bytes bytes is let in, one of a byte more is not."""
    step = Step(Life(message_bytes=limit).state, START_MS)
    assert too_large(step, LINK, "k-1", text) == (len(text.encode()) > limit)


def test_1_4_too_large_has_the_original_words() -> None:
    """Compatibility 1.4 and 2.3: 4096 bytes are taken, 4097 are not; so for goals and memories."""
    life = Life()
    assert told(life.chat("k-1", "é" * 2048)) == [("session.accepted",)]
    for frame in (
        {"type": "chat.send", "id": "k-2", "content": "é" * 2048 + "x"},
        {"type": "chat.send", "id": "k-2", "content": "/goal " + "x" * 4097},
        {"type": "agent.control", "id": "k-2", "goal": "x" * 4097},
        {"type": "memory.create", "id": "k-2", "content": "x" * 4097},
        {"type": "memory.update", "id": "k-2", "memoryId": 1, "content": "x" * 4097},
    ):
        (error,) = life.send(frame)
        assert error["message"] == "Message too large for active context"
        assert error["code"] == "message_too_large"
    assert told(life.goal("k-3", "x" * 4096))[0] == ("session.accepted",)


def test_a_refusal_says_whose_limit_is_reached() -> None:
    """Beside code and retry_after_ms stand the scope and the configuration key of the limit."""
    life = Life(chats_queued=1, goals_queued=1, message_bytes=20)
    life.chat("k-1", "hello")
    life.goal("k-2", "find a")
    refusals = [life.chat("k-3", "hello"), life.goal("k-4", "find b"), life.chat("k-5", "x" * 21)]
    assert [(frame["scope"], frame["limit"], frame.get("retry_after_ms")) for (frame,) in refusals] == [
        ("session", "limits.chats_queued", 1000),
        ("session", "limits.goals_queued", 1000),
        ("session", "limits.message_bytes", None),
    ]


def test_the_goals_of_all_sessions_are_bounded() -> None:
    """A goal beyond limits.goals_total is refused in whichever session, until one of any session ends."""
    totals = Totals()
    first, second = (Life(totals, goals_total=2) for _ in range(2))
    first.goal("k-1", "find a")
    second.goal("k-1", "find a")
    (refusal,) = second.goal("k-2", "find b")
    assert (refusal["code"], refusal["scope"], refusal["limit"]) == (
        "queue_full",
        "daemon",
        "limits.goals_total",
    )
    assert refusal["retry_after_ms"] > 0
    first.control("cancel", goalId=1)
    assert told(second.goal("k-2", "find b"))[0] == ("session.accepted",)


def test_the_tasks_of_all_sessions_are_bounded() -> None:
    """A goal whose tasks do not all find a place is refused whole; what runs takes no place."""
    totals = Totals()
    first, second = (Life(totals, tasks_total=3, parallel_tasks=1) for _ in range(2))
    first.goal("k-1", "find a; find b; find c")
    assert totals.tasks == 2
    (refusal,) = second.goal("k-1", "find a; find b")
    assert (refusal["code"], refusal["scope"], refusal["limit"]) == (
        "queue_full",
        "daemon",
        "limits.tasks_total",
    )
    assert second.state.goals == {}
    assert told(second.goal("k-2", "find a"))[0] == ("session.accepted",)


def test_the_tasks_of_one_session_are_bounded() -> None:
    """A goal whose tasks do not all find a place in its session is refused whole, other sessions apart."""
    totals = Totals()
    first, second = (Life(totals, tasks_queued=2, parallel_tasks=1) for _ in range(2))
    first.goal("k-1", "find a; find b")
    (refusal,) = first.goal("k-2", "find c; find d")
    assert (refusal["code"], refusal["scope"], refusal["limit"]) == (
        "queue_full",
        "session",
        "limits.tasks_queued",
    )
    assert refusal["retry_after_ms"] > 0
    assert told(first.goal("k-3", "find c"))[0] == ("session.accepted",)
    assert told(second.goal("k-1", "find a; find b"))[0] == ("session.accepted",)


def test_goals_of_one_batch_are_counted_one_by_one() -> None:
    """Two goals handled in the same step cannot both take the last place."""
    life = Life(goals_total=1)

    def both(step: Step) -> None:
        for request in ("k-1", "k-2"):
            frame = parse(json.dumps({"type": "agent.control", "id": request, "goal": "find a"}))
            turn.receive(step, LINK, frame, life.fresh_id)

    life.do(both)
    assert len(life.state.goals) == 1
    assert [frame["limit"] for frame in life.replies] == ["limits.goals_total"]
