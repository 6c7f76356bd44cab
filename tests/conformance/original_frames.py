"""The frames of compatibility section 1.4: the fields the original sent, their types and their order."""

from __future__ import annotations

from tests.conformance.published_schema import Frame

FIELDS: dict[str, dict[str, type]] = {
    "session.ack": {"sessionKey": str, "agentId": str},
    "pong": {"timestamp": int},
    "session.receive": {"content": str, "memoryId": int},
    "session.new": {"request": str, "sessionKey": str, "archived": bool},
    "session.reset": {"request": str, "sessionKey": str, "archived": bool},
    "agent.plan": {"request": str, "sessionKey": str, "goal": str, "tasks": list},
    "agent.progress": {"request": str, "sessionKey": str, "phase": str, "status": str, "message": str},
    "agent.status": {
        "request": str, "sessionKey": str, "taskId": int, "worker": str, "status": str, "message": str,
    },
    "agent.state": {
        "request": str, "sessionKey": str, "phase": str, "queuedTasks": int, "activeTasks": int,
        "lastGoal": str,
    },
    "memory.event": {
        "request": str, "sessionKey": str, "event": str, "status": str, "count": int, "message": str,
    },
    "memory.recall": {"request": str, "sessionKey": str, "items": list},
    "memory.query": {"request": str, "sessionKey": str, "topic": object, "items": list},
    "error": {"message": str},
}  # fmt: skip

TASK = {"id": int, "title": str, "status": str}
ITEM = {
    "summary": {"kind": str, "source": str, "id": int, "source_id": int, "created_at_ms": int, "text": str},
    "entry": {
        "kind": str, "source": str, "id": int, "role": str, "state": str, "related_to": object,
        "content": str,
    },
}  # fmt: skip


def check_original(frame: Frame) -> None:
    """Raise AssertionError unless the frame begins as the original's did; more fields may follow."""
    fields = FIELDS[frame["type"]]
    assert next(iter(frame)) == "type", frame
    _begins({name: frame[name] for name in frame if name != "type"}, fields)
    for task in frame.get("tasks", ()):
        _begins(task, TASK)
        assert task["status"] == "queued"
    for item in frame.get("items", ()):
        _begins(item, ITEM[item["kind"]])
        assert item["source"] in {"ram", "ltm"}
        assert item.get("related_to") is None or type(item["related_to"]) is int
    assert frame.get("topic") is None or type(frame["topic"]) is str


def _begins(found: Frame, fields: dict[str, type]) -> None:
    assert list(found)[: len(fields)] == list(fields), found
    for name, kind in fields.items():
        assert kind is object or type(found[name]) is kind, (name, found)
