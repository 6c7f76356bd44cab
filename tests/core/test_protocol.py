"""Client frames: what is taken, what is refused and how (compatibility 1.2, 1.3; issue 3, Wire)."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spiderwebd.core.codes import Code
from spiderwebd.core.protocol import (
    CLIENT_FRAMES,
    REQUEST_ID_CHARACTERS,
    AgentControl,
    AnyFrame,
    BadFrame,
    ChatSend,
    ClientFrame,
    MemoryQuery,
    MemoryRecall,
    SessionHistory,
    SessionReset,
    SessionRestore,
    parse,
)

MODELS: tuple[type[ClientFrame], ...] = get_args(get_args(AnyFrame)[0])
TYPES = [kind for model in MODELS for kind in get_args(model.model_fields["type"].annotation)]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [*sorted({name for model in MODELS for name in model.model_fields} - {"type"}), "unknown"]
)


def frame(**fields: object) -> Any:
    return parse(json.dumps(fields))


def refusal(text: str | bytes) -> BadFrame:
    with pytest.raises(BadFrame) as caught:
        parse(text)
    return caught.value


@given(st.text() | st.binary() | JSON.map(json.dumps) | st.characters(categories=["Cs"]))
@example('{"type":"ping","id":' + "1" * 5000 + "}")
@example('{"type":"ping","x":' + "[" * 5000 + "]" * 5000 + "}")
@example("")
def test_whatever_comes_is_a_frame_or_refused(text: str | bytes) -> None:
    """Any text and any bytes parse to a frame or raise BadFrame with a code and words; nothing else."""
    try:
        parsed = parse(text)
    except BadFrame as bad:
        said = (bad.code, bool(bad.message))
    else:
        assert isinstance(parsed, ClientFrame)
        return
    assert said in {(code, True) for code in (Code.BAD_JSON, Code.BAD_FRAME, Code.UNKNOWN_TYPE)}


@given(st.sampled_from(TYPES), st.dictionaries(FIELDS, JSON, max_size=4))
def test_known_types_with_any_fields_parse_or_name_the_field(kind: str, fields: dict[str, Any]) -> None:
    """A frame of a known type is taken, or the refusal starts with the field that is wrong."""
    try:
        parsed = parse(json.dumps({**fields, "type": kind}, allow_nan=False, default=str))
    except ValueError:  # json.dumps refuses NaN
        return
    except BadFrame as bad:
        named = bad.message.split(":")[0].split(".")[0]
        code = bad.code
    else:
        assert parsed.type == kind
        return
    assert code is Code.BAD_FRAME
    assert named in {name for model in MODELS for name in model.model_fields}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", Code.BAD_JSON),
        ("{", Code.BAD_JSON),
        ('{"type":"ping"} trailing', Code.BAD_JSON),
        (b"\xff\xfe", Code.BAD_JSON),
        ('{"type":"ping","id":"\\ud800"}', Code.BAD_JSON),
        ("\ud800", Code.BAD_JSON),
        ('{"type":"ping","id":"raw \x01 control"}', Code.BAD_JSON),
        ("[]", Code.BAD_JSON),
        ('"ping"', Code.BAD_JSON),
        ("{}", Code.BAD_FRAME),
        ('{"type":5}', Code.BAD_FRAME),
        ('{"type":null}', Code.BAD_FRAME),
        ('{"type":["ping"]}', Code.BAD_FRAME),
        ('{"type":"agent.plan"}', Code.UNKNOWN_TYPE),
        ('{"type":"PING"}', Code.UNKNOWN_TYPE),
        ('{"type":"memory.load"}', Code.BAD_FRAME),
        ('{"type":"memory.load","memoryId":0}', Code.BAD_FRAME),
        ('{"type":"memory.load","memoryId":"4"}', Code.BAD_FRAME),
        ('{"type":"memory.load","memoryId":true}', Code.BAD_FRAME),
        ('{"type":"memory.load","memoryId":9223372036854775808}', Code.BAD_FRAME),
        ('{"type":"memory.query","topic":4}', Code.BAD_FRAME),
        ('{"type":"connect","resume":{"after":1}}', Code.BAD_FRAME),
        ('{"type":"connect","resume":{"sessionKey":"K","after":-1}}', Code.BAD_FRAME),
        ('{"type":"agent.control","action":"cancel","goalId":"1"}', Code.BAD_FRAME),
    ],
)
def test_what_is_wrong_has_its_code(text: str | bytes, code: Code) -> None:
    """Bad JSON, frames that are no objects, unknown types and wrong fields are told apart."""
    assert refusal(text).code is code


def test_a_refusal_names_the_field_and_carries_the_request() -> None:
    """The client is told which field, and the id by which it knows the request."""
    bad = refusal('{"type":"memory.load","id":"k-7","memoryId":"4"}')
    assert (bad.message, bad.request) == ("memoryId: Input should be a valid integer.", "k-7")
    assert refusal('{"type":"connect","id":"k-8","resume":{"sessionKey":4}}').message == (
        "resume.sessionKey: Input should be a valid string."
    )
    unknown = refusal('{"type":"' + "x" * 100 + '","id":"k-9"}')
    assert unknown.message == f"No client frame has the type '{'x' * 64}'."
    assert unknown.request == "k-9"


@pytest.mark.parametrize(
    "text", ['{"type":"ping","id":"a', '{"type":"nope","id":5}', '{"type":"nope","id":"%s"}' % ("x" * 129)]
)
def test_a_refusal_without_a_usable_id_carries_none(text: str) -> None:
    """An id that cannot be read, is no string or is too long is not echoed."""
    assert refusal(text).request is None


@pytest.mark.parametrize(
    ("given_id", "taken"), [("k-1", "k-1"), ("", None), (5, None), (None, None), ({"a": 1}, None)]
)
def test_1_2_only_a_string_is_a_request_id(given_id: object, taken: str | None) -> None:
    """Compatibility 1.2: an id that is no JSON string counts as absent; so does an empty one."""
    assert frame(type="ping", id=given_id).id == taken


def test_a_request_id_has_a_longest() -> None:
    """Ids are kept to recognise retries, so their length is bounded."""
    assert frame(type="ping", id="x" * REQUEST_ID_CHARACTERS).id
    assert refusal(json.dumps({"type": "ping", "id": "x" * (REQUEST_ID_CHARACTERS + 1)})).message == (
        "id: String should have at most 128 characters."
    )


LIMITS = [(7, 7), (1, 1), (128, 128), (0, 128), (129, 128), (10**30, 128), (-1, 25)]
NO_LIMITS = [("7", 25), (1.5, 25), (True, 25), (None, 25), ([], 25)]


@pytest.mark.parametrize("kind", ["memory.recall", "memory.query", "session.list"])
@pytest.mark.parametrize(("asked", "taken"), LIMITS + NO_LIMITS)
def test_1_3_limit_is_lenient(kind: str, asked: object, taken: int) -> None:
    """Compatibility 1.3: non-integer, negative or missing is 25; 0 or more than 128 is 128."""
    assert frame(type=kind, limit=asked).limit == taken
    assert frame(type=kind).limit == 25


@pytest.mark.parametrize(
    ("asked", "taken"), [(1, 1), (20, 20), (21, 20), (0, 5), (-3, 5), ("9", 5), (True, 5), (None, 5)]
)
def test_1_6_history_limit_is_lenient(asked: object, taken: int) -> None:
    """Compatibility 1.6: session.history takes at most 20, and 5 for anything that is no limit."""
    history = frame(type="session.history", limit=asked)
    assert isinstance(history, SessionHistory)
    assert history.limit == taken


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"content": "a", "text": "b"}, "a"),
        ({"content": "", "text": "b"}, ""),
        ({"text": "b"}, "b"),
        ({"content": None, "text": "b"}, "b"),
        ({"content": 5, "text": "b"}, "b"),
        ({"content": 5}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("kind", ["chat.send", "session.send"])
def test_1_3_content_wins_when_it_is_a_string(kind: str, fields: dict[str, Any], said: str | None) -> None:
    """Compatibility 1.3 and 12.2: text is used when content is absent or no string."""
    chat = frame(type=kind, **fields)
    assert isinstance(chat, ChatSend)
    assert chat.said == said


@pytest.mark.parametrize(
    ("given_value", "taken"), [(False, False), (True, True), ("no", True), (0, True), (None, True)]
)
def test_1_3_archive_is_true_unless_it_is_false(given_value: object, taken: bool) -> None:
    """Compatibility 1.3: archive is a bool, and anything else is true."""
    reset = frame(type="session.reset", archive=given_value)
    assert isinstance(reset, SessionReset)
    assert (reset.archive, reset.reason) == (taken, "manual-reset")


def test_null_counts_as_absent() -> None:
    """A client that writes null for what it does not know gets the default."""
    query = frame(type="memory.query", memoryIds=None, scope=None, topic=None, memoryId=None, kind=None)
    assert isinstance(query, MemoryQuery)
    assert (query.memoryIds, query.scope, query.topic) == ([], "session", None)
    recall = frame(type="memory.recall", include_archived=None, include_full=None)
    assert isinstance(recall, MemoryRecall)
    assert (recall.include_archived, recall.include_full) == (True, False)
    restore = frame(type="session.restore", agent_id=None)
    assert isinstance(restore, SessionRestore)
    assert restore.agent_id == "default"
    assert frame(type="session.reset", reason=None).reason == "manual-reset"


def test_6_4_a_control_field_that_is_no_string_is_absent() -> None:
    """Compatibility 6.4: a non-string action counts as absent, but a goal that is there is there."""
    control = frame(type="agent.control", action=5, goal=None, content={"a": 1})
    assert isinstance(control, AgentControl)
    assert (control.action, control.goal, control.content) == (None, None, None)
    assert "goal" in control.model_fields_set


def test_fields_nobody_knows_are_ignored() -> None:
    """A client may be newer than the daemon."""
    assert frame(type="ping", id="k-1", hurry=True).id == "k-1"


def test_every_type_is_listed_once() -> None:
    """The table of frames has no type twice, and each model parses the type it names."""
    assert len(TYPES) == len(set(TYPES))
    assert set(CLIENT_FRAMES.json_schema()["discriminator"]["mapping"]) == set(TYPES)
