"""The JSON Schema of the wire: current, valid, and true of what is parsed and sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from typing_extensions import get_type_hints

from spiderwebd.core import protocol, schema
from spiderwebd.core.codes import Code
from spiderwebd.core.frames import error_frame
from spiderwebd.core.outcome import blocked
from spiderwebd.core.protocol import AnyFrame, ClientFrame, parse
from spiderwebd.core.story import JOURNALLED_TYPES, JournalledFrame
from tests.core.life import Life

SCHEMA = schema.wire_schema()
PUBLISHED = Path(schema.__file__).with_name("protocol.schema.json")

EXAMPLES: list[dict[str, Any]] = [
    {"type": "connect", "token": "sw_x", "resume": {"sessionKey": "K", "after": 3}, "protocol": 1},
    {"type": "connect", "client": "mine/1.0"},
    {"type": "disconnect"},
    {"type": "ping", "id": "k-1"},
    {"type": "pong"},
    {"type": "chat.send", "id": "k-1", "content": "hello"},
    {"type": "session.send", "text": "/goal find a", "pauseBefore": 2},
    {"type": "session.new", "archive": False, "reason": "tidy"},
    {"type": "session.reset"},
    {"type": "session.list", "agent_id": "kim", "limit": 3},
    {"type": "session.history", "agent_id": "kim", "limit": 3},
    {"type": "session.restore", "agent_id": "kim"},
    {"type": "memory.create", "content": "the key", "name": "key"},
    {"type": "memory.load", "memoryId": 7},
    {"type": "memory.update", "memoryId": 7, "content": "the old key"},
    {"type": "memory.evict"},
    {"type": "memory.summarize", "memoryId": 7},
    {"type": "memory.recall", "limit": 9, "include_archived": False, "include_full": True},
    {"type": "memory.query", "topic": None, "kind": "entry", "memoryIds": [1, 2], "memoryId": 3},
    {"type": "memory.query", "search": "key", "scope": "all"},
    {"type": "agent.control", "action": "cancel", "goalId": 1},
    {"type": "agent.control", "goal": "find a", "pauseBefore": 1},
    {"type": "agent.heartbeat"},
    {"type": "agent.list"},
    {"type": "agent.get", "agent_id": "kim"},
]


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{name}"}]})


def test_the_published_schema_is_current() -> None:
    """The file in the tree is what `spiderwebd schema` prints; `make schema` writes it anew."""
    expected = json.dumps(SCHEMA, indent=2, sort_keys=True) + "\n"
    assert PUBLISHED.read_text(encoding="utf-8") == expected


def test_the_schema_is_a_schema() -> None:
    """It is valid JSON Schema 2020-12, without a reference that leads nowhere."""
    Draft202012Validator.check_schema(SCHEMA)
    text = json.dumps(SCHEMA)
    for name in SCHEMA["$defs"]:
        assert name == "ClientFrame" or name == "ServerFrame" or f'"#/$defs/{name}"' in text
    assert SCHEMA["x-protocol-version"] == protocol.PROTOCOL_VERSION


@pytest.mark.parametrize("frame", EXAMPLES, ids=lambda frame: str(frame["type"]))
def test_an_example_of_every_client_frame_is_valid_and_parsed(frame: dict[str, Any]) -> None:
    """What the schema allows, the daemon takes."""
    validator("ClientFrame").validate(frame)
    assert parse(json.dumps(frame)).type == frame["type"]


def test_there_is_an_example_of_every_client_frame() -> None:
    """A new frame needs an example here."""
    models: tuple[type[ClientFrame], ...] = get_args(get_args(AnyFrame)[0])
    types = {kind for model in models for kind in get_args(model.model_fields["type"].annotation)}
    assert {frame["type"] for frame in EXAMPLES} == types


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "memory.load"},
        {"type": "memory.load", "memoryId": 0},
        {"type": "memory.create", "content": 5},
        {"type": "connect", "resume": {}},
        {"type": "memory.query", "scope": "everywhere"},
        {"type": "nonsense"},
    ],
)
def test_what_is_refused_is_invalid(frame: dict[str, Any]) -> None:
    """What the daemon refuses for its fields, the schema forbids."""
    assert not validator("ClientFrame").is_valid(frame)
    with pytest.raises(protocol.BadFrame):
        parse(json.dumps(frame))


def test_what_a_session_says_is_valid() -> None:
    """Every kind of journalled frame, and the answers to operations by id, as they are really sent."""
    life = Life(max_tasks=2)
    life.chat("k-1", "hello")
    life.answer("hi")
    life.goal("k-2", "find a; frobnicate; find c", pauseBefore=2)
    life.end(1)
    life.control("resume")
    life.end(2, blocked("execution: nobody can", Code.NO_WORKER))
    for verb in ("load", "update", "summarize", "evict"):
        life.send({"type": f"memory.{verb}", "memoryId": 1 if verb != "evict" else 2, "content": "x"})
    life.send({"type": "memory.load", "memoryId": 99})
    life.send({"type": "ping"})
    life.control("state")
    life.control("heartbeat")
    life.chat("k-3", "/new")
    life.send({"type": "session.reset"})
    server = validator("ServerFrame")
    for frame in (*life.frames, *life.replies):
        server.validate(frame)
    assert {frame["type"] for frame in life.frames} == set(JOURNALLED_TYPES)


def test_journalled_types_are_those_with_a_seq() -> None:
    """The list in the schema names exactly the frames of a session's story."""
    literals = [get_type_hints(frame)["type"] for frame in get_args(JournalledFrame)]
    types = {kind for literal in literals for kind in get_args(literal)}
    assert types == set(JOURNALLED_TYPES) == set(SCHEMA["x-journalled-types"])


def test_errors_are_valid() -> None:
    """An error with everything in it, and one with the least."""
    server = validator("ServerFrame")
    server.validate(error_frame("No.", Code.INTERNAL))
    server.validate(error_frame("No.", Code.QUEUE_FULL, request="k-1", session_key="K", retry_after_ms=1000))
