"""What a session does with each frame: compatibility 1.3, 1.5 A, the texts of 1.4, resets (12.7)."""

from __future__ import annotations

import pytest

from spiderwebd.core import goals, turn
from spiderwebd.core.effects import Ask, HangUp, Replay, StartChat
from spiderwebd.core.outcome import complete
from spiderwebd.core.protocol import AnyFrame, parse
from spiderwebd.core.records import RequestState
from tests.core.life import KEY, LINK, START_MS, Life, told


def test_1_3_ping_is_answered_by_pong() -> None:
    """Compatibility 12.2: pong with the time in milliseconds, and the id when there was one."""
    life = Life()
    assert life.send({"type": "ping"}) == [{"type": "pong", "timestamp": START_MS}]
    assert life.send({"type": "ping", "id": "k-1"}) == [
        {"type": "pong", "timestamp": START_MS, "request": "k-1"}
    ]
    assert life.rows.events == []


def test_1_3_pong_and_connect_are_taken_and_passed_over() -> None:
    """Compatibility 1.3: neither is answered once a link is attached."""
    life = Life()
    assert life.send({"type": "pong"}) == []
    assert life.send({"type": "connect", "token": "t"}) == []
    assert life.starts == []


def test_disconnect_asks_for_the_end_of_the_link() -> None:
    """The client is hung up on, as it wished."""
    life = Life()
    life.send({"type": "disconnect"})
    assert life.starts == [HangUp(LINK)]


def test_1_5_a_a_chat_is_accepted_then_answered() -> None:
    """Compatibility 1.5 A: the reply's memoryId is the assistant entry's; each is tied to its request."""
    life = Life()
    (accepted,) = life.chat("k-1", "where is the key?")
    assert accepted == {
        "type": "session.accepted",
        "request": "k-1",
        "sessionKey": KEY,
        "memoryId": 1,
        "seq": 1,
    }
    (received,) = life.answer("Under the stone.")
    assert received == {
        "type": "session.receive",
        "content": "Under the stone.",
        "memoryId": 2,
        "request": "k-1",
        "sessionKey": KEY,
        "seq": 2,
    }
    assert life.state.ram.turns() == [("user", "where is the key?"), ("assistant", "Under the stone.")]
    assert life.rows.requests["k-1"].state is RequestState.ANSWERED


def test_12_2_both_names_and_both_fields_are_the_same_message() -> None:
    """Compatibility 12.2: chat.send and session.send are equivalent; text is used when content is absent."""
    lives = []
    for frame in (
        {"type": "chat.send", "id": "k-1", "content": "hi"},
        {"type": "session.send", "id": "k-1", "content": "hi"},
        {"type": "chat.send", "id": "k-1", "text": "hi"},
        {"type": "chat.send", "id": "k-1", "content": "hi", "text": "other"},
        {"type": "chat.send", "id": "k-1", "content": 7, "text": "hi"},
    ):
        lives.append(Life())
        lives[-1].send(frame)
    assert all(life.frames == lives[0].frames for life in lives)
    assert all(life.rows.requests == lives[0].rows.requests for life in lives)


def test_a_chat_without_text_is_refused() -> None:
    """What the original passed over in silence is an error that names the fields."""
    life = Life()
    (error,) = life.send({"type": "session.send", "id": "k-1", "content": 7})
    assert error["message"] == "session.send needs content or text, a string."
    assert (error["code"], error["request"]) == ("bad_frame", "k-1")


def test_1_3_an_empty_message_is_a_message() -> None:
    """Compatibility 1.3: empty content is accepted."""
    life = Life()
    assert told(life.chat("k-1", "")) == [("session.accepted",)]


def test_a_message_without_an_id_gets_one() -> None:
    """Compatibility 1.2: an id is made and echoed, so that the answer can be matched."""
    life = Life()
    (accepted,) = life.send({"type": "chat.send", "content": "hi"})
    (received,) = life.answer("ho")
    assert accepted["request"] == received["request"] == "fresh-1"


def test_chats_are_answered_one_after_the_other() -> None:
    """Correction of 1.5 A: the second answer is made when the first is in memory, in order of arrival."""
    life = Life()
    life.chat("k-1", "one")
    life.chat("k-2", "two")
    assert [start.chat.request for start in life.starts if isinstance(start, StartChat)] == ["k-1"]
    life.answer("first")
    assert [start.chat.request for start in life.starts if isinstance(start, StartChat)] == ["k-1", "k-2"]
    life.answer("second")
    assert [frame["content"] for frame in life.frames if frame["type"] == "session.receive"] == [
        "first",
        "second",
    ]


def test_a_chat_that_cannot_be_answered_has_an_outcome() -> None:
    """The failure is told under the chat's id, and the next chat goes on."""
    life = Life()
    life.chat("k-1", "one")
    life.chat("k-2", "two")
    life.in_flight.clear()
    life.do(lambda step: turn.chat_failed(step, "k-1", "The answer failed"))
    failure = life.frames[-1]
    assert (failure["phase"], failure["status"]) == ("execution", "failed")
    assert (failure["request"], failure["message"]) == ("k-1", "The answer failed")
    assert life.rows.requests["k-1"].state is RequestState.FAILED
    assert life.in_flight[0].request == "k-2"


def test_a_chat_runs_beside_a_goal() -> None:
    """Issue 2: a goal's turn ends when it is accepted and planned; chats are answered meanwhile."""
    life = Life()
    life.goal("k-1", "find a")
    life.chat("k-2", "hello")
    assert life.in_flight
    life.answer("hi")
    assert life.running


@pytest.mark.parametrize(
    ("content", "kinds"),
    [
        ("/goal", [("session.accepted",)]),
        ("/goal\tx", [("session.accepted",)]),
        (" /goal x", [("session.accepted",)]),
        ("/Goal x", [("session.accepted",)]),
        ("/new ", [("session.accepted",)]),
        ("/New", [("session.accepted",)]),
        ("/new", [("session.new",)]),
        ("/goal ", [("error", "goal_empty")]),
        ("/goal  \t\r\n ", [("error", "goal_empty")]),
    ],
)
def test_1_3_commands_are_exact(content: str, kinds: list[tuple[str, ...]]) -> None:
    """Compatibility 1.3: slash-goal-space at byte 0 and exactly /new; anything else is ordinary chat."""
    assert told(Life().chat("k-1", content)) == kinds


def test_1_4_goal_without_text() -> None:
    """Compatibility 1.4: the original's words, and a code."""
    (error,) = Life().chat("k-1", "/goal   ")
    assert error == {
        "type": "error",
        "message": "Goal command requires text after /goal",
        "code": "goal_empty",
        "request": "k-1",
    }


def test_1_3_goal_text_is_trimmed() -> None:
    """Compatibility 1.3: of space, tab, CR and LF, and of nothing else."""
    life = Life()
    life.chat("k-1", "/goal \t\r\n find the key \n")
    assert life.state.last_goal == "find the key"


@pytest.mark.parametrize("frame_type", ["session.new", "session.reset"])
def test_12_7_a_reset_empties_ram_and_keeps_the_key(frame_type: str) -> None:
    """Compatibility 12.7: archived is true, the reason is stored, the worker state is cleared."""
    life = Life()
    life.chat("k-1", "one")
    life.answer("two")
    life.control("pause")
    (frame,) = life.send({"type": frame_type, "id": "k-2", "reason": "tidy up"})
    assert frame == {
        "type": frame_type,
        "request": "k-2",
        "sessionKey": KEY,
        "archived": True,
        "reason": "tidy up",
        "seq": 3,
    }
    state = life.state
    assert (state.ram.active_count, state.mode, state.last_goal) == (0, "running", "")
    assert not life.gate_closed
    archive = life.rows.archives[-1]
    assert (archive.reason, archive.entry_count, archive.cleared) == ("tidy up", 2, True)
    assert [row.content for row in life.rows.entries.values()] == ["one", "two"]
    assert not any(row.in_ram for row in life.rows.entries.values())


def test_12_7_ids_go_on_after_a_reset() -> None:
    """Correction of 2.7: a MemoryID is never given out again."""
    life = Life()
    life.chat("k-1", "one")
    life.answer("two")
    life.chat("k-2", "/new")
    (accepted,) = life.chat("k-3", "three")
    assert accepted["memoryId"] == 3


def test_12_7_archived_is_true_only_when_something_was_archived() -> None:
    """Compatibility 1.4: false when RAM was empty or archive is false; then no archive is dated."""
    life = Life()
    assert life.send({"type": "session.reset", "id": "k-1"})[-1]["archived"] is False
    life.chat("k-2", "one")
    life.answer("two")
    (kept_quiet,) = life.send({"type": "session.reset", "id": "k-3", "archive": False})
    assert kept_quiet["archived"] is False
    assert kept_quiet["reason"] == "manual-reset"
    assert life.state.ram.active_count == 0
    assert life.rows.archives == []


def test_1_4_slash_new_answers_session_new() -> None:
    """Compatibility 1.4 and 3.5: /new always answers session.new, reason slash-new."""
    life = Life()
    life.chat("k-1", "one")
    life.answer("two")
    (frame,) = life.chat("k-2", "/new")
    assert (frame["type"], frame["archived"], frame["reason"]) == ("session.new", True, "slash-new")


def test_12_7_a_reset_ends_what_is_open() -> None:
    """Every open request gets its outcome before the reset is told; a late answer is not taken."""
    life = Life()
    life.chat("k-1", "one")
    life.chat("k-2", "two")
    life.goal("k-3", "find a; find b; find c")
    life.send({"type": "session.reset", "id": "k-4"})
    assert life.frames[-1]["type"] == "session.reset"
    states = {name: row.state for name, row in life.rows.requests.items()}
    assert states == {
        "k-1": RequestState.CANCELLED,
        "k-2": RequestState.CANCELLED,
        "k-3": RequestState.CANCELLED,
        "k-4": RequestState.ANSWERED,
    }
    assert (life.state.queued_tasks, life.state.active_tasks) == (0, 0)
    assert not life.running
    assert life.answer("too late") == []
    life.do(lambda step: goals.task_ended(step, 1, 1, complete("too late")))
    assert life.frames[-1]["type"] == "session.reset"
    life.chat("k-5", "three")
    assert life.answer("in time")[-1]["request"] == "k-5"


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "memory.recall", "id": "k-1"},
        {"type": "memory.query", "id": "k-1"},
        {"type": "session.list", "id": "k-1"},
        {"type": "session.history", "id": "k-1"},
        {"type": "session.restore", "id": "k-1"},
        {"type": "agent.list", "id": "k-1"},
        {"type": "agent.get", "id": "k-1"},
    ],
    ids=lambda frame: str(frame["type"]),
)
def test_queries_are_asked_beside_the_loop(frame: dict[str, str]) -> None:
    """A query changes nothing and is handed on with its request id, or a fresh one."""
    life = Life()
    assert life.send(frame) == []
    life.send({"type": frame["type"]})
    asked = [(start.link, start.request, start.frame.type) for start in life.starts if isinstance(start, Ask)]
    assert asked == [(LINK, "k-1", frame["type"]), (LINK, "fresh-1", frame["type"])]
    assert life.rows.events == []


def test_connect_again_resumes_the_same_session_only() -> None:
    """After an ack, resume replays; another key is refused, and without `after` nothing is replayed."""
    life = Life()
    life.send({"type": "connect", "resume": {"sessionKey": KEY, "after": 4}})
    life.send({"type": "connect", "resume": {"sessionKey": KEY}})
    assert life.starts == [Replay(LINK, 4)]
    (error,) = life.send({"type": "connect", "id": "k-1", "resume": {"sessionKey": "other", "after": 4}})
    assert (error["code"], error["request"]) == ("session_unknown", "k-1")


CHANGING = [
    ('{"type":"chat.send","content":"x"}', True),
    ('{"type":"session.reset"}', True),
    ('{"type":"memory.create","content":"x"}', True),
    ('{"type":"memory.update","memoryId":1,"content":"x"}', True),
    ('{"type":"memory.evict"}', True),
    ('{"type":"memory.summarize"}', True),
    ('{"type":"agent.control","goal":"x"}', True),
    ('{"type":"agent.control","action":5,"goal":"x"}', True),
    ('{"type":"agent.control","action":"pause"}', False),
    ('{"type":"memory.load","memoryId":1}', False),
    ('{"type":"memory.query"}', False),
    ('{"type":"ping"}', False),
]


@pytest.mark.parametrize(("text", "changing"), CHANGING)
def test_what_must_be_kept_is_known(text: str, changing: bool) -> None:
    """A daemon that stops or cannot write refuses these frames and no others."""
    frame: AnyFrame = parse(text)
    assert turn.changes(frame) is changing


def test_nothing_is_begun_while_draining() -> None:
    """What was accepted stays open for the next start; what runs may end."""
    life = Life()
    life.chat("k-1", "one")
    life.chat("k-2", "two")
    life.state.draining = True
    life.answer("first")
    assert not life.in_flight
    life.crash()
    assert life.in_flight[0].request == "k-2"
    assert life.in_flight[0].text == "two"


def test_a_text_from_outside_cannot_break_the_wire() -> None:
    """An answer with half of a surrogate pair is sent with a question mark in its place."""
    life = Life()
    life.chat("k-1", "hello")
    (received,) = life.answer("file \udcff.txt")
    assert received["content"] == "file ?.txt"


@pytest.mark.parametrize(
    "text", ["nul \0 end", "one \x01", 'quote " and \\', "é" * 36 + "x", "\U0001f600" * 18]
)
def test_12_3_any_text_comes_back_as_it_was(text: str) -> None:
    """Compatibility 12.3: NUL, U+0001, quotes and the 72-byte boundary, in chat, goal, reason and id."""
    life = Life()
    life.chat(text, text)
    assert life.answer(text)[0]["content"] == text
    assert life.frames[0]["request"] == text
    life.goal("k-2", f"find {text}")
    assert life.state.last_goal == f"find {text}".strip(" \t\r\n")
    assert life.send({"type": "session.reset", "reason": text})[-1]["reason"] == text
