"""Checklist points 1 to 3 of compatibility section 12: the first frame, the aliases, every byte valid."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.original_frames import FIELDS, check_original
from tests.conformance.published_schema import PUBLISHED, Frame
from tests.conformance.schema_client import Link, LinkClosed, answers, ends_goal
from tests.flows.daemon_process import DaemonProcess

UNANSWERED = {"pong", "connect"}
"""What a client may send on an attached link without an answer: see README."""
AWKWARD = ("\0", "\x01", "\x1f", "\x7f", '"', "\\", "\u2028", "\ufeff", "\ufffe", "\U0001f578", "é", "\u202e")
FIELD_NAMES = (
    *("content", "text", "id", "action", "goal", "goalId", "limit", "kind", "topic", "memoryId", "search"),
    *("memoryIds", "scope", "archive", "reason", "agent_id", "include_full", "pauseBefore", "name"),
)
QUIET = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


@pytest.mark.parametrize("header", [True, False], ids=["authorization header", "connect frame"])
def test_01_first_frame_is_session_ack_with_a_fresh_key(daemon: DaemonProcess, header: bool) -> None:
    """Sections 1.1 and 1.2: session.ack comes first and names the agent and a key of 32 characters."""
    with Link(daemon.listen, daemon.token, agent="kim", header=header) as one:
        check_original(one.ack)
        assert one.ack["agentId"] == "kim"
        assert re.fullmatch("[A-Za-z0-9]{32}", one.key)
        assert one.ack["restored"] is False


@pytest.mark.parametrize("name", ["session", "sessionId", "session_id", "sessionKey", "session-key"])
def test_01_known_key_restores_by_every_name_of_the_parameter(
    daemon: DaemonProcess, link: Link, name: str
) -> None:
    """Section 1.1: a known key in the URL, under each of its five names, attaches to that session."""
    link.request("memory.create", content="kept")
    with Link(daemon.listen, daemon.token, query={name: link.key}) as again:
        assert again.key == link.key
        assert again.ack["restored"] is True
        assert again.request("memory.load", memoryId=1)["item"]["content"] == "kept"


@pytest.mark.parametrize("by_frame", [False, True], ids=["URL", "connect frame"])
@pytest.mark.parametrize("key", ["A" * 32, "../../etc/passwd", "é\0", "x" * 256])
def test_01_unknown_key_gets_a_new_session(daemon: DaemonProcess, key: str, by_frame: bool) -> None:
    """Section 1.2: a key that cannot be restored is never adopted."""
    with Link(
        daemon.listen, daemon.token, session=key, header=not by_frame, resume_by_frame=by_frame
    ) as other:
        assert other.key != key
        assert other.ack["restored"] is False


def test_01_foreign_key_gets_a_new_session(daemon: DaemonProcess, link: Link) -> None:
    """Sections 3.6 and 10 (9): neither another principal nor another agent can attach to a session."""
    command = [sys.executable, "-m", "spiderwebd", "token", "add", "stranger", "--state-dir"]
    added = subprocess.run(
        [*command, str(daemon.state_directory)], capture_output=True, text=True, timeout=60, check=True
    )
    found = re.search(r"sw_\S+", added.stdout)
    assert found is not None, added.stdout
    for token, agent in ((found[0], "default"), (daemon.token, "kim")):
        with Link(daemon.listen, token, agent=agent, session=link.key, after=0) as other:
            assert other.key != link.key
            assert other.ack["restored"] is False


def test_02_ping_is_answered_by_pong(link: Link) -> None:
    """Section 1.3: ping is answered by pong with the time in milliseconds."""
    pong = link.request("ping")
    check_original(pong)
    assert pong["timestamp"] > 1_700_000_000_000


def test_02_chat_send_and_session_send_are_the_same(daemon: DaemonProcess) -> None:
    """Section 1.3: both types are answered by the same frames, for chats, goals and /new."""
    told = []
    for type_ in ("chat.send", "session.send"):
        with Link(daemon.listen, daemon.token) as one:
            one.send({"type": type_, "id": "a", "content": "the gate code is 4711"})
            frames = one.until(lambda frame: answers(frame, "a", "session.receive"))
            one.send({"type": type_, "id": "b", "content": "/goal what is the gate code?"})
            frames += one.until(lambda frame: ends_goal(frame, "b"))
            one.send({"type": type_, "id": "c", "content": "/new"})
            frames.append(one.receive())
            assert [frame["type"] for frame in frames[-2:]] == ["agent.progress", "session.new"]
            # Contents differ: the second session finds what the first one stored.
            told.append([(*frame, frame.get("phase"), frame.get("status")) for frame in frames])
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ({"text": "by text"}, "by text"),
        ({"content": "by content", "text": "by text"}, "by content"),
        ({"content": 5, "text": "by text"}, "by text"),
        ({"content": None, "text": "by text"}, "by text"),
        ({"content": "", "text": "by text"}, ""),
    ],
)
def test_02_text_is_used_when_content_is_no_string(link: Link, fields: Frame, stored: str) -> None:
    """Section 1.3: content wins when it is a string, the empty one included; else text is taken."""
    link.send_text(json.dumps({"type": "chat.send", "id": "t", **fields}))
    link.until(lambda frame: answers(frame, "t", "session.receive"))
    assert link.request("memory.load", memoryId=1)["item"]["content"] == stored


def test_03_every_frame_has_the_fields_and_types_of_the_original(daemon: DaemonProcess) -> None:
    """Section 1.4: each of its frames begins with the original's fields, in order, of the same types."""
    with Link(daemon.listen, daemon.token) as one:
        frames = [one.ack, one.request("ping"), one.chat("the gate code is 4711")]
        frames += one.goal("read the log; report status")
        frames += [one.request("agent.heartbeat"), one.request("agent.control", action="nope")]
        one.send({"type": "memory.summarize", "id": "s", "memoryId": 1})
        frames += [*one.until(lambda frame: frame["type"] == "memory.summarize"), one.state()]
        frames += [one.request("memory.recall", include_full=True), one.request("memory.query", topic="a")]
        frames += [one.request("memory.query"), one.request("session.reset"), one.request("session.new")]
    seen = {frame["type"] for frame in frames}
    assert set(FIELDS) <= seen, set(FIELDS) - seen
    for frame in frames:
        if frame["type"] in FIELDS:
            check_original(frame)


def test_03_texts_around_the_72_byte_boundary_stay_whole(link: Link) -> None:
    """Sections 2.4 and 10 (10): summaries of texts cut near 72 and 160 bytes are valid Unicode."""
    for width in (*range(66, 76), *range(150, 164)):
        content = "a" * width + "é€\U0001f578" * 40
        memory = link.request("memory.create", content=content)["memoryId"]
        summarized = link.request("memory.summarize", memoryId=memory)
        text = summarized["item"]["text"]
        assert text.startswith(f"[summary:{memory}] " + "a" * min(width, 100))
        assert "\ufffd" not in text
        assert link.request("memory.load", memoryId=memory)["item"]["content"] == content


def test_03_any_text_comes_back_as_it_was_sent(link: Link) -> None:
    """Section 10 (10, 17): any text in content, ids, topics and reasons is kept and echoed byte-equal."""
    texts = st.text(
        st.one_of(st.sampled_from(AWKWARD), st.characters(exclude_categories=["Cs"])), max_size=90
    )

    @QUIET
    @given(text=texts, identity=texts.filter(bool))
    def check(text: str, identity: str) -> None:
        memory = link.request("memory.create", content=text, name=text or None)["memoryId"]
        loaded = link.request("memory.load", memoryId=memory, id=identity)
        assert (loaded["request"], loaded["item"]["content"]) == (identity, text)
        found = link.request("memory.query", topic=text, memoryId=memory)
        assert (found["topic"], found["items"][0]["content"]) == (text, text)
        assert link.request("memory.query", search=text)["type"] == "memory.query"
        assert link.chat(text)["type"] in {"session.receive", "error", "session.new"}
        refused = link.request("agent.control", action=text + "?", goal=text)
        assert refused["message"] == "agent.control unsupported action"
        assert link.request("session.reset", reason=text)["reason"] == text

    check()


def test_03_a_goal_of_any_text_is_planned_or_refused(link: Link) -> None:
    """Section 1.4: a goal's text goes through plan, workers, state and answer as valid frames."""
    pieces = st.lists(st.text(st.one_of(st.sampled_from(AWKWARD), st.characters(codec="utf-8")), max_size=40))

    @settings(QUIET, max_examples=25)
    @given(goal=pieces.map(";".join))
    def check(goal: str) -> None:
        story = link.goal(goal)
        assert story[-1].get("status") == "complete" or story[-1]["code"] == "control_goal_missing"

    check()


def answered(link: Link, text: str) -> Frame:
    """Send a message as it is and return what it brought; every later frame of it is read too."""
    link.send_text(text)
    first = link.receive()
    request = first.get("request", "")
    if first["type"] == "session.accepted" and "goalId" in first:
        link.until(lambda frame: ends_goal(frame, request))
    elif first["type"] == "session.accepted" and '"memory.create"' not in text:
        link.until(lambda frame: answers(frame, request, "session.receive"))
    return first


BAD = [
    ("", "bad_json"),
    ("{", "bad_json"),
    ("nonsense", "bad_json"),
    ("[]", "bad_json"),
    ('"ping"', "bad_json"),
    ("5", "bad_json"),
    ('{"type":"ping"} {"type":"ping"}', "bad_json"),
    ('{"type":"chat.send","content":"\\ud800"}', "bad_json"),
    ('{"type":"chat.send","content":"a","id":"\\udfff"}', "bad_json"),
    ('{"type":"memory.query","topic":"\\ud83d x"}', "bad_json"),
    ('{"type":"ping","\\ud800":1}', "bad_json"),
    ('{"type":"ping","x":NaN}', "bad_json"),
    ('{"type":"ping","x":[-Infinity]}', "bad_json"),
    ('{"type":"chat.send","content":"a\x01b"}', "bad_json"),
    ("[" * 100_000, "bad_json"),
    ("{}", "bad_frame"),
    ('{"type":5}', "bad_frame"),
    ('{"type":null}', "bad_frame"),
    ('{"type":"chat.send"}', "bad_frame"),
    ('{"type":"chat.send","content":[]}', "bad_frame"),
    ('{"type":"memory.load"}', "bad_frame"),
    ('{"type":"memory.load","memoryId":"1"}', "bad_frame"),
    ('{"type":"memory.load","memoryId":9223372036854775808}', "bad_frame"),
    ('{"type":"memory.create","content":5}', "bad_frame"),
    ('{"type":"nope"}', "unknown_type"),
    ('{"type":"agent.plan"}', "unknown_type"),
    ('{"type":"\\u0000"}', "unknown_type"),
]


@pytest.mark.parametrize(("text", "code"), BAD, ids=[text[:40] for text, _ in BAD])
def test_03_bad_frames_are_refused_with_a_code(link: Link, text: str, code: str) -> None:
    """Section 10 (24): what the original passed over in silence is answered by an error with its code."""
    refused = answered(link, text)
    assert (refused["type"], refused.get("code")) == ("error", code), refused
    assert link.request("ping")["type"] == "pong"


def test_03_no_json_frame_is_met_with_silence(daemon: DaemonProcess) -> None:
    """Section 10 (24): objects with right and wrong fields are each answered, by valid frames only."""
    link = Link(daemon.listen, daemon.token)
    types = st.one_of(
        st.sampled_from(sorted(PUBLISHED.client_types - UNANSWERED - {"disconnect"})), st.text()
    )
    names = st.sampled_from(FIELD_NAMES)
    plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
    values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
    # A pause would hold every later goal; pausing is proven elsewhere.
    frames = st.dictionaries(names, values, max_size=5).filter(lambda found: not found.get("pauseBefore"))

    @settings(QUIET, max_examples=150)
    @given(type_=types, fields=frames)
    def check(type_: str, fields: dict[str, Any]) -> None:
        answered(link, json.dumps({**fields, "type": type_}))

    check()
    assert link.request("ping")["type"] == "pong"
    link.close()


def masked(opcode: int, payload: bytes, *, mask: bool = True) -> bytes:
    """A websocket frame below 126 bytes, with the zero mask unless `mask` is false."""
    return bytes([0x80 | opcode, len(payload) | (0x80 if mask else 0)]) + bytes(4 if mask else 0) + payload


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(1, b'{"type":"ping","id":"\xff"}'), 1007),
        (masked(1, b"\xed\xa0\x80"), 1007),
        (masked(2, b'{"type":"ping"}'), 1003),
        (masked(1, b'{"type":"ping"}', mask=False), 1002),
        (masked(3, b""), 1002),
        (bytes([0x81, 0xFF]) + b"\xff" * 8 + bytes(4), 1009),
        (bytes([0x81, 0xFF]) + (262_145).to_bytes(8, "big") + bytes(4), 1009),
    ],
    ids=["utf-8", "surrogate", "binary", "unmasked", "opcode", "2^64-1 bytes", "one byte too many"],
)
def test_03_bytes_that_are_no_message_close_the_link_with_a_code(link: Link, data: bytes, code: int) -> None:
    """Sections 1.1 and 10 (1): the wrong bytes cost their own link, with a published close code."""
    link.send_raw(data)
    end = link.closed()
    # A length of 2^64-1 breaks RFC 6455 itself (its first bit must be 0), so 1002 is right as well.
    assert end.code in ({1002, 1009} if data[2:3] == b"\xff" else {code}), end


def test_03_refused_tokens_are_told(daemon: DaemonProcess) -> None:
    """Section 10 (2, 24): a bad token ends in an error frame and a close code of its own."""
    with pytest.raises(LinkClosed) as ended:
        Link(daemon.listen, "sw_wrong", header=False)
    assert ended.value.code == 4401
    assert [frame["code"] for frame in ended.value.frames] == ["unauthorized"]
