"""Who is let in: ids used once, texts no longer than announced, queues no longer than configured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.core.admission import RETRY_MS, digest, too_large
from spiderwebd.core.effects import Retell
from spiderwebd.core.state import Step
from tests.core.life import LINK, START_MS, Life, told


def test_the_same_id_again_is_done_once_and_told_again() -> None:
    """A repeated request changes nothing and has what was answered sent again; both aliases are one."""
    life = Life()
    first = life.chat("k-1", "hello")
    assert told(first) == [("session.accepted",)]
    assert life.send({"type": "session.send", "id": "k-1", "text": "hello"}) == []
    assert life.starts[-1] == Retell(LINK, life.rows.requests["k-1"])
    assert len(life.state.chats) == 1


def test_the_same_id_for_something_else_is_refused() -> None:
    """Another text, another break point, another type: request_conflict, and nothing is done."""
    life = Life()
    life.goal("k-1", "find a")
    others = [
        {"type": "chat.send", "id": "k-1", "content": "/goal find b"},
        {"type": "chat.send", "id": "k-1", "content": "/goal find a", "pauseBefore": 2},
        {"type": "agent.control", "id": "k-1", "goal": "find a"},
        {"type": "memory.create", "id": "k-1", "content": "/goal find a"},
        {"type": "session.reset", "id": "k-1"},
    ]
    for frame in others:
        (error,) = life.send(frame)
        assert (error["type"], error["code"], error["request"]) == ("error", "request_conflict", "k-1")
    assert len(life.state.goals) == 1


def test_every_changing_request_is_done_once() -> None:
    """Goals by control, resets and memory operations too are recognised when they come again."""
    life = Life()
    frames = [
        {"type": "agent.control", "id": "k-1", "goal": "find a"},
        {"type": "memory.create", "id": "k-2", "content": "the key", "name": "key"},
        {"type": "memory.update", "id": "k-3", "memoryId": 3, "content": "the old key"},
        {"type": "memory.evict", "id": "k-4", "memoryId": 3},
        {"type": "memory.summarize", "id": "k-5"},
        {"type": "session.reset", "id": "k-6"},
        {"type": "chat.send", "id": "k-7", "content": "/new"},
    ]
    for frame in frames:
        assert life.send(frame)
    seq, records = life.state.seq, dict(life.rows.requests)
    for frame in frames:
        assert life.send(frame) == []
        assert isinstance(life.starts[-1], Retell)
    assert (life.state.seq, life.rows.requests) == (seq, records)


def test_a_refused_request_may_come_again() -> None:
    """What was refused leaves no trace, so the same id can be tried later."""
    life = Life(chats_queued=1)
    life.chat("k-1", "one")
    (refusal,) = life.chat("k-2", "two")
    assert refusal["code"] == "queue_full"
    life.answer("done")
    assert told(life.chat("k-2", "two")) == [("session.accepted",)]


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


def test_digests_tell_requests_apart() -> None:
    """Kind and payload both count."""
    assert len({digest("a", "b"), digest("a", "c"), digest("b", "b")}) == 3
    assert len(digest("a", "b")) == 16
