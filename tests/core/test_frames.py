"""Server frames on the wire: fields and their order as in compatibility 1.4, always JSON in UTF-8."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spiderwebd.core import frames, story
from spiderwebd.core.codes import Code
from spiderwebd.core.frames import error_frame, not_durable, render, well_formed

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))

SECTION_1_4 = {
    frames.SessionAck: ["type", "sessionKey", "agentId"],
    frames.Pong: ["type", "timestamp"],
    story.SessionReceive: ["type", "content", "memoryId"],
    story.SessionCleared: ["type", "request", "sessionKey", "archived"],
    story.AgentPlan: ["type", "request", "sessionKey", "goal", "tasks"],
    story.PlannedTask: ["id", "title", "status"],
    story.AgentProgress: ["type", "request", "sessionKey", "phase", "status", "message"],
    story.AgentStatus: ["type", "request", "sessionKey", "taskId", "worker", "status", "message"],
    story.AgentState: [
        "type",
        "request",
        "sessionKey",
        "phase",
        "queuedTasks",
        "activeTasks",
        "lastGoal",
    ],
    story.MemoryEvent: ["type", "request", "sessionKey", "event", "status", "count", "message"],
    frames.MemoryRecall: ["type", "request", "sessionKey", "items"],
    frames.MemoryQuery: ["type", "request", "sessionKey", "topic", "items"],
    frames.Error: ["type", "message"],
}


@pytest.mark.parametrize("model", SECTION_1_4, ids=lambda model: model.__name__)
def test_1_4_first_come_the_fields_of_the_original(model: type) -> None:
    """Compatibility 1.4: each frame begins with the original's fields in their order; ours follow."""
    declared = [name for name in model.__annotations__ if name != "seq"]
    assert declared[: len(SECTION_1_4[model])] == SECTION_1_4[model]


@given(st.dictionaries(TEXTS, TEXTS | st.integers() | st.floats() | st.none() | st.lists(TEXTS)))
@example({"content": 'quote " backslash \\ nul \0 one \x01 del \x7f line \u2028'})
@example({"content": "é" * 36 + "x" + "\U0001f600" * 18})
def test_12_3_a_rendered_frame_is_json_in_utf_8(frame: Mapping[str, Any]) -> None:
    """Compatibility 12.3: quotes, NUL, U+0001 and wide characters come back as they were; one line."""
    text = render(frame)
    assert "\n" not in text
    back = json.loads(text.encode("utf-8"), parse_constant=pytest.fail)
    for name, value in frame.items():
        if isinstance(value, str | list):
            assert back[name] == value


@given(st.text(st.characters()))
@example("a\ud800b\udfff")
def test_well_formed_changes_lone_surrogates_only(text: str) -> None:
    """Half of a surrogate pair, as in a file's name, becomes a question mark; other texts stay."""
    whole = well_formed(text)
    assert len(whole) == len(text)
    for was, now in zip(text, whole, strict=True):
        assert now == ("?" if "\ud800" <= was <= "\udfff" else was)
    assert json.loads(render({"content": whole})) == {"content": whole}


def test_an_error_says_what_is_known() -> None:
    """type, message and code always; request, session and delay when there are any."""
    assert error_frame("No.", Code.BAD_FRAME) == {"type": "error", "message": "No.", "code": "bad_frame"}
    full = error_frame("No.", Code.QUEUE_FULL, request="k-1", session_key="K", retry_after_ms=5)
    assert (full["request"], full["sessionKey"], full["retry_after_ms"]) == ("k-1", "K", 5)


def test_not_durable_says_so_in_the_acknowledgement() -> None:
    """A rendered session.accepted stays the same frame, with durable false at its end."""
    accepted = {"type": "session.accepted", "request": "k-1", "memoryId": 3, "seq": 9}
    assert json.loads(not_durable(render(accepted))) == {**accepted, "durable": False}
