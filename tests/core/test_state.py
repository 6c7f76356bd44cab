"""State and Step: counters that are counted, ids and seqs given out once, and coming back the same."""

from __future__ import annotations

import json
from dataclasses import asdict

from spiderwebd.core import goals
from spiderwebd.core.codes import Code
from spiderwebd.core.outcome import blocked
from spiderwebd.core.records import EventRecord, RequestRecord, RequestState, SessionRecord
from spiderwebd.core.state import REVISED_KEPT, Rules, Step, as_object
from tests.core.life import KEY, LINK, START_MS, Life


def request(name: str, state: RequestState) -> RequestRecord:
    return RequestRecord(1, name, "chat.send", "0" * 16, state, 1, 1, None, START_MS)


def test_journalled_frames_are_numbered_kept_and_sent_as_kept() -> None:
    """Each gets the next seq as its last field; the row holds the very text that is sent."""
    life = Life()
    step = Step(life.state, START_MS)
    seqs = [
        step.journal({"type": "session.accepted", "request": "k-1", "sessionKey": KEY, "memoryId": n})
        for n in (1, 2)
    ]
    assert seqs == [1, 2]
    for seq, out, record in zip(seqs, step.outgoing, step.records, strict=True):
        assert isinstance(record, EventRecord)
        assert (record.seq, record.frame, record.type) == (seq, out.text, "session.accepted")
        assert list(json.loads(out.text)) == ["type", "request", "sessionKey", "memoryId", "seq"]
        assert out.acknowledges
        assert out.link is None


def test_replies_go_to_one_link_and_are_not_kept() -> None:
    """An answer or a refusal carries no seq and makes no record; without an id it names no request."""
    life = Life()
    step = Step(life.state, START_MS)
    step.refuse(LINK, "", "No.", Code.QUEUE_FULL, 1000)
    assert not step.records
    assert [out.link for out in step.outgoing] == [LINK]
    assert json.loads(step.outgoing[0].text) == {
        "type": "error",
        "message": "No.",
        "code": "queue_full",
        "retry_after_ms": 1000,
    }


def test_a_step_without_records_writes_nothing() -> None:
    """Pings cost no transaction; a change of the session's own row alone does cost one."""
    life = Life()
    step = Step(life.state, START_MS)
    step.finish()
    assert step.records == []
    step.changed = True
    step.finish()
    assert [type(record) for record in step.records] == [SessionRecord]


def test_only_pongs_may_overtake() -> None:
    """A step is known to hold nothing but pongs."""
    step = Step(Life().state, START_MS)
    assert step.only_pongs
    step.reply(LINK, {"type": "pong", "timestamp": 1})
    assert step.only_pongs
    step.reply(LINK, {"type": "error", "message": "No.", "code": "internal"})
    assert not step.only_pongs


def test_open_requests_are_never_forgotten() -> None:
    """Beyond requests_kept the oldest ended request goes, wherever the open ones stand."""
    life = Life(requests_kept=3)
    step = Step(life.state, START_MS)
    step.remember_request(request("open", RequestState.OPEN))
    for number in range(5):
        step.remember_request(request(f"ended-{number}", RequestState.ANSWERED))
    assert list(life.state.requests) == ["open", "ended-3", "ended-4"]


def test_a_request_has_one_outcome() -> None:
    """The first outcome stands; a request nobody knows gets none."""
    life = Life()
    step = Step(life.state, START_MS)
    step.remember_request(request("k-1", RequestState.OPEN))
    step.close_request("k-1", RequestState.EXPIRED)
    step.close_request("k-1", RequestState.ANSWERED)
    step.close_request("k-2", RequestState.ANSWERED)
    assert life.state.requests["k-1"].state is RequestState.EXPIRED
    assert len(step.records) == 2


def test_lifecycle_is_one_word_for_where_it_stands() -> None:
    """What a person would say: idle, planning, dispatching, running, paused, degraded, draining, blocked."""
    life = Life()
    words = [life.state.lifecycle()]
    life.chat("k-1", "hello")
    words.append(life.state.lifecycle())
    life.goal("k-2", "frobnicate")
    words.append(life.state.lifecycle())
    life.do(lambda step: goals.task_began(step, 1, 1))
    words.append(life.state.lifecycle())
    life.control("pause")
    words.append(life.state.lifecycle())
    life.state.degraded = True
    words.append(life.state.lifecycle())
    life.state.draining = True
    words.append(life.state.lifecycle())
    life.state.draining = life.state.degraded = False
    life.end(1, blocked("execution: cannot", Code.NO_WORKER))
    life.answer("hello")
    words.append(life.state.lifecycle())
    assert words == [
        "idle",
        "planning",
        "dispatching",
        "running",
        "paused",
        "degraded",
        "draining",
        "blocked",
    ]


def test_a_revived_session_is_the_same() -> None:
    """Everything but what only the running daemon knows comes back from the rows."""
    life = Life()
    life.chat("k-1", "one")
    life.answer("two")
    life.chat("k-2", "three")
    life.goal("k-3", "find a; write file b: c", pauseBefore=2)
    life.control("pause")
    life.end(1)
    before = asdict(life.state)
    life.state.draining = True
    life.crash()
    after = asdict(life.state)
    assert after == before


def test_known_versions_are_bounded() -> None:
    """The newest revisions are remembered, the oldest forgotten, and only an older text is outdated."""
    state = Life().state
    for memory_id in range(1, REVISED_KEPT + 2):
        state.note_revision(memory_id, 2)
    assert len(state.revised) == REVISED_KEPT
    assert not state.outdated(1, 1)
    assert state.outdated(2, 1)
    assert not state.outdated(2, 2)


def test_as_object_takes_objects_only() -> None:
    """What a damaged row holds instead of an object is nothing."""
    assert as_object({"a": 1}) == {"a": 1}
    assert as_object([1]) == {}
    assert Rules() == Rules()
