"""Frames in words: what a person reads of each server frame, line by line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from spiderwebd.client.transport import Frame

Wording = Callable[[Frame], list[str]]

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0 and C1 controls but tab and line feed, changes of writing direction, lone surrogates."""


def words(frame: Frame) -> list[str]:
    """Return the lines that tell this frame to a person; none for what another frame says as well.

    A type that this client does not know is given as JSON: nothing is hidden.
    """
    wording = _WORDINGS.get(frame["type"])
    if wording is None:
        return [json.dumps(frame, ensure_ascii=False)]
    return [visible(line) for line in wording(frame)]


def visible(text: str) -> str:
    """Return text that cannot steer a terminal: what could is shown as an escape."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _ack(frame: Frame) -> list[str]:
    how = "restored" if frame.get("restored") else "new"
    return [f"session {str(frame.get('sessionKey'))[:8]}... of agent {frame.get('agentId')} ({how})"]


def _gap(frame: Frame) -> list[str]:
    return [
        f"events after {frame.get('after')} are no longer kept; the log begins at {frame.get('firstSeq')}",
    ]


def _accepted(frame: Frame) -> list[str]:
    goal = f", goal {frame['goalId']}" if "goalId" in frame else ""
    durable = " (not on disk yet)" if frame.get("durable") is False else ""
    return [f"accepted as memory #{frame.get('memoryId')}{goal}{durable}"]


def _receive(frame: Frame) -> list[str]:
    return [str(frame.get("content", ""))]


def _cleared(frame: Frame) -> list[str]:
    archived = "archived" if frame.get("archived") else "nothing to archive"
    return [f"working memory cleared ({archived})"]


def _plan(frame: Frame) -> list[str]:
    tasks = frame.get("tasks", [])
    lines = [f"plan of goal {frame.get('goalId')}, {len(tasks)} tasks:"]
    lines += [f"  {task.get('id')}. {task.get('title')} [{task.get('worker')}]" for task in tasks]
    return lines + [f"  dropped: {title}" for title in frame.get("dropped", [])]


def _progress(frame: Frame) -> list[str]:
    if "taskId" in frame and frame.get("phase") != "workers":
        return []  # agent.status follows with the same text
    return [f"{frame.get('phase')}/{frame.get('status')}: {frame.get('message')}"]


def _status(frame: Frame) -> list[str]:
    code = f" ({frame['code']})" if "code" in frame else ""
    return [f"task {frame.get('taskId')} {frame.get('status')}{code}: {frame.get('message')}"]


def _state(frame: Frame) -> list[str]:
    lines = [
        f"{frame.get('phase')}: {frame.get('mode')}, {frame.get('lifecycle')}, "
        f"{frame.get('queuedTasks')} queued, {frame.get('activeTasks')} active"
    ]
    for goal in frame.get("goals", []):
        lines.append(f"  goal {goal.get('goalId')} {goal.get('status')}: {goal.get('goal')}")
        lines += [
            f"    {task.get('id')}. {task.get('title')} [{task.get('worker')}] {task.get('status')}"
            for task in goal.get("tasks", [])
        ]
    return lines


def _memory_event(frame: Frame) -> list[str]:
    return [f"memory/{frame.get('event')}: {frame.get('message')}"]


def _items(frame: Frame) -> list[str]:
    return [_item(item) for item in frame.get("items", [])] or ["nothing is remembered about this"]


def _one_item(frame: Frame) -> list[str]:
    return [_item(frame.get("item", {}))]


def _item(item: dict[str, Any]) -> str:
    if item.get("kind") == "summary":
        return (
            f"#{item.get('id')} {item.get('source')} summary of #{item.get('source_id')}: {item.get('text')}"
        )
    mark = " tombstone" if item.get("state") == "tombstone" else ""
    name = f" '{item['name']}'" if "name" in item else ""
    where = f" (session {item['session']})" if "session" in item else ""
    return (
        f"#{item.get('id')} {item.get('source')} {item.get('role')}{mark}{name}{where}: {item.get('content')}"
    )


def _heartbeat(frame: Frame) -> list[str]:
    lines = [
        f"heartbeat {frame.get('sequence')}: {frame.get('mode')}, {frame.get('queuedTasks')} queued, "
        f"{frame.get('activeTasks')} active"
    ]
    return lines + [
        f"  suggestion: {suggestion.get('title')} - {suggestion.get('reason')}"
        for suggestion in frame.get("suggestions", [])
    ]


def _sessions(frame: Frame) -> list[str]:
    return [_session(each) for each in frame.get("sessions", [])] or ["no sessions"]


def _restored(frame: Frame) -> list[str]:
    return [_session(frame["session"])] if frame.get("found") else ["no session"]


def _session(view: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(view.get("last_active_ms", 0) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    agent = f" {view['agent_id']}" if "agent_id" in view else ""
    awake = " awake" if view.get("awake") else ""
    count = f"{view.get('message_count')} messages{awake}"
    return f"{view.get('session_key')}{agent} {at} {count}: {view.get('summary')}"


def _agents(frame: Frame) -> list[str]:
    return [_agent(each) for each in frame.get("agents", [])] or ["no agents"]


def _one_agent(frame: Frame) -> list[str]:
    return [_agent(frame.get("agent", {}))]


def _agent(view: dict[str, Any]) -> str:
    default = ", default" if view.get("is_default") else ""
    loaded = "identity loaded" if view.get("identity_loaded") else "no identity files"
    return f"{view.get('id')}: {view.get('name')} - {view.get('description')} ({loaded}{default})"


def _pong(frame: Frame) -> list[str]:
    return [f"pong {frame.get('timestamp')}"]


def _error(frame: Frame) -> list[str]:
    wait = f"; try again in {frame['retry_after_ms']} ms" if "retry_after_ms" in frame else ""
    return [f"refused ({frame.get('code')}): {frame.get('message')}{wait}"]


_WORDINGS: dict[str, Wording] = {
    "session.ack": _ack,
    "session.gap": _gap,
    "session.accepted": _accepted,
    "session.receive": _receive,
    "session.new": _cleared,
    "session.reset": _cleared,
    "agent.plan": _plan,
    "agent.progress": _progress,
    "agent.status": _status,
    "agent.state": _state,
    "agent.heartbeat": _heartbeat,
    "memory.event": _memory_event,
    "memory.recall": _items,
    "memory.query": _items,
    "memory.load": _one_item,
    "memory.update": _one_item,
    "memory.evict": _one_item,
    "memory.summarize": _one_item,
    "session.list.response": _sessions,
    "session.history.response": _sessions,
    "session.restore.response": _restored,
    "agent.list.response": _agents,
    "agent.info": _one_agent,
    "pong": _pong,
    "error": _error,
}
