"""Requests that came before are done once."""

from __future__ import annotations

from spiderwebd.core.effects import Retell
from spiderwebd.core.requests import digest
from tests.core.life import LINK, Life, told


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


def test_digests_tell_requests_apart() -> None:
    """Kind and payload both count."""
    assert len({digest("a", "b"), digest("a", "c"), digest("b", "b")}) == 3
    assert len(digest("a", "b")) == 16
