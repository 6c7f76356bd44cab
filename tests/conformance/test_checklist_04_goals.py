"""Checklist points 4 and 5 of compatibility section 12: goals, and agent.control over them."""

from __future__ import annotations

import json

import pytest

from tests.conformance.published_schema import Frame
from tests.conformance.schema_client import Link, ends_goal
from tests.conformance.stories import messages, of_tasks, planned, short
from tests.flows.daemon_process import DaemonProcess

GOAL = "search for the gate code; fix the bug; what is left?"

BEGINNING = [
    ("session.accepted",),
    ("planner", "received"),
    ("agent.plan",),
    ("planner", "ready"),
    ("workers", "queued"),
]
ENDING = [("execution", "started"), ("session.receive",), ("execution", "complete")]


def test_04_goal_sequence_in_order_with_the_texts(daemon: DaemonProcess, link: Link) -> None:
    """Section 1.5 B: the whole story on one request id, its texts, and what RAM has of it.

    On purpose: session.accepted comes first, worker frames in order of completion, a task that no
    worker can do is blocked, and no frame claims that a model was asked.
    """
    story = link.goal(GOAL)
    rest = [short(frame) for frame in story if frame not in of_tasks(story)]
    assert rest == [
        *BEGINNING,
        ("state", "workers.dispatching", 1, 2),
        ("workers", "ready"),
        ("state", "workers.ready", 0, 0),
        *ENDING,
    ]
    said = messages(story)
    assert said["planner", "received"] == "Planning request received"
    assert said["planner", "ready"] == "I have a deterministic plan with 3 task(s) for this goal."
    assert said["workers", "queued"] == "Delegating plan tasks to local workers"
    assert said["workers", "ready"] == "Worker pre-processing complete"
    assert said["execution", "complete"] == "Primary Brain response emitted"
    assert "invoking" not in said["execution", "started"]
    tasks = of_tasks(story)
    assert len(tasks) == 6
    ended = set()
    for progress, status in zip(tasks[::2], tasks[1::2], strict=True):
        number, worker = status["taskId"], status["worker"]
        ended.add((number, worker, status["status"]))
        assert (progress["type"], status["type"]) == ("agent.progress", "agent.status")
        assert (progress["phase"], progress["status"]) == (worker, status["status"])
        words = f"{worker} worker {status['status']} for task {number}: {status['message']}"
        assert progress["message"] == words
        assert status["message"].startswith(f"{worker}: ")
    assert ended == {(1, "research", "complete"), (2, "execution", "blocked"), (3, "status", "complete")}
    assert not any("model" in str(frame.get("message", "")).lower() for frame in story)
    first = story[0]["memoryId"]
    goal, plan = (link.request("memory.load", memoryId=first + n)["item"] for n in (0, 1))
    assert (goal["role"], goal["content"]) == ("user", GOAL)
    listed = "1. search for the gate code\n2. fix the bug\n3. what is left?"
    text = f"Primary Brain plan for goal: {GOAL}\n{listed}"
    assert (plan["role"], plan["content"]) == ("system", text)
    assert link.request("memory.load", memoryId=story[-2]["memoryId"])["item"]["role"] == "assistant"


def test_04_goal_while_paused_waits_for_resume(link: Link) -> None:
    """Section 1.5 C: the goal is planned and held, with the texts; resume then runs it to its end.

    On purpose: its tasks stay queued, and nothing is answered before they ran.
    """
    link.request("agent.control", action="pause")
    held = planned(link, "list files; what is left; report status", "held", "workers.paused")
    assert [short(frame) for frame in held] == [
        *BEGINNING,
        ("state", "workers.dispatching", 3, 0),
        ("workers", "skipped"),
        ("state", "workers.paused", 3, 0),
    ]
    assert messages(held)["workers", "skipped"] == "Workers currently paused"
    assert link.request("ping")["type"] == "pong"
    link.send({"type": "agent.control", "action": "resume", "id": "go"})
    rest = link.until(lambda frame: ends_goal(frame, "held"))
    assert next(frame for frame in rest if frame.get("request") == "go")["phase"] == "workers.running"
    assert {frame["status"] for frame in of_tasks(rest)} == {"complete"}
    assert [short(frame) for frame in rest[-3:]] == ENDING


def test_04_goal_while_cancelled_is_cancelled(link: Link) -> None:
    """Section 1.5 C: a goal in mode cancelled says so, and each of its tasks ends cancelled."""
    link.request("agent.control", action="cancel")
    story = link.goal("list files; what is left")
    said = messages(story)
    assert said["workers", "skipped"] == "Workers cancelled"
    assert [short(frame) for frame in story[:5]] == BEGINNING
    assert [frame["status"] for frame in of_tasks(story)] == ["cancelled"] * 4
    assert {frame["code"] for frame in story if frame["type"] == "agent.status"} == {"cancelled"}
    assert ("state", "workers.cancelled", 0, 0) in [short(frame) for frame in story]
    assert [short(frame) for frame in story[-3:]] == ENDING
    link.request("agent.control", action="resume")
    assert {frame["status"] for frame in of_tasks(link.goal("list files"))} == {"complete"}


MODES = [("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")]


@pytest.mark.parametrize(("before", "mode"), MODES)
@pytest.mark.parametrize(("action", "after"), MODES)
def test_05_every_action_is_legal_from_every_mode(
    link: Link, before: str, mode: str, action: str, after: str
) -> None:
    """Sections 6.4 and 6.5: pause, resume and cancel answer with the new mode from any mode."""
    assert link.request("agent.control", action=before)["phase"] == f"workers.{mode}"
    assert link.state()["phase"] == mode
    assert link.request("agent.control", action=action)["phase"] == f"workers.{after}"
    assert link.request("agent.control", action="status")["phase"] == after


MISSING = ("agent.control requires goal field or text", "control_goal_missing")
UNSUPPORTED = ("agent.control unsupported action", "control_unsupported")
EMPTY = ("Goal command requires text after /goal", "goal_empty")
LARGE = ("Message too large for active context", "message_too_large")
CONTROL = [
    ({}, MISSING),
    ({"action": 5}, MISSING),
    ({"action": None, "goal": 5, "content": "list files"}, MISSING),
    ({"action": "goal"}, MISSING),
    ({"action": "plan", "goal": " \t\r\n"}, MISSING),
    ({"action": "goal", "goal": " ", "content": "list files"}, MISSING),
    ({"content": "   "}, MISSING),
    ({"content": 5, "text": " "}, MISSING),
    ({"action": "stop"}, UNSUPPORTED),
    ({"action": ""}, UNSUPPORTED),
    ({"action": "Pause", "goal": "list files"}, UNSUPPORTED),
    ({"goal": "x" * 4097}, LARGE),
    ({"goal": "é" * 2049}, LARGE),
    ({"type": "chat.send", "content": "/goal    "}, EMPTY),
    ({"type": "session.send", "text": "/goal \r\n"}, EMPTY),
    ({"type": "chat.send", "content": "x" * 4097}, LARGE),
    ({"type": "chat.send", "content": "/goal " + "x" * 4097}, LARGE),
]


@pytest.mark.parametrize(("fields", "refusal"), CONTROL, ids=[str(fields)[:50] for fields, _ in CONTROL])
def test_05_every_refusal_has_its_text_and_code(link: Link, fields: Frame, refusal: tuple[str, str]) -> None:
    """Sections 1.3, 1.4 and 6.4: the original's texts, each with a code, where it was silent too."""
    link.send_text(json.dumps({"type": "agent.control", "id": "r", **fields}))
    error = link.receive()
    assert (error["message"], error["code"]) == refusal
    assert error["request"] == "r"
    assert link.seq == 0


@pytest.mark.parametrize(
    ("fields", "goal"),
    [
        ({"goal": " list files \n"}, "list files"),
        ({"goal": "list files", "content": "report status"}, "list files"),
        ({"action": "goal", "content": "list files", "text": "report status"}, "list files"),
        ({"action": "plan", "text": " list files"}, "list files"),
        ({"content": "/goal list files"}, "/goal list files"),
        ({"type": "chat.send", "content": "/goal  list files\r\n"}, "list files"),
        ({"type": "session.send", "text": "/goal list files"}, "list files"),
        ({"goal": "x" * 4096}, "x" * 4096),
    ],
    ids=range(8),
)
def test_05_the_goal_is_found_where_the_original_found_it(link: Link, fields: Frame, goal: str) -> None:
    """Sections 1.3 and 6.4: goal wins over content and text, is trimmed, and keeps an inner /goal."""
    link.send({"type": "agent.control", "id": "g", **fields})
    story = link.until(lambda frame: ends_goal(frame, "g"))
    assert next(frame["goal"] for frame in story if frame["type"] == "agent.plan") == goal


@pytest.mark.parametrize("text", ["/goal", "/Goal x", " /goal x", "/goals", "/new ", " /new"])
def test_05_what_only_looks_like_a_command_is_a_chat(link: Link, text: str) -> None:
    """Section 1.3: the prefix is exact, and /new must match whole."""
    assert link.chat(text)["type"] == "session.receive"
    assert link.request("memory.load", memoryId=1)["item"]["content"] == text


def test_05_counters_are_the_tasks_and_return_to_zero(link: Link) -> None:
    """Section 6.6, corrected: a held goal counts what waits, and a finished one leaves nothing."""
    goal = "list files; report status; what is left; how far are we; list files"
    link.send({"type": "agent.control", "goal": goal, "pauseBefore": 4, "id": "five"})
    link.until(lambda frame: frame.get("phase") == "workers.paused")
    held = link.state()
    assert (held["queuedTasks"], held["activeTasks"], held["lastGoal"]) == (2, 0, goal)
    states = [task["status"] for task in held["goals"][0]["tasks"]]
    assert states == ["complete"] * 3 + ["queued"] * 2
    link.send({"type": "agent.control", "action": "resume"})
    link.until(lambda frame: ends_goal(frame, "five"))
    state = link.state()
    assert (state["queuedTasks"], state["activeTasks"], state["phase"]) == (0, 0, "running")
    assert state["lastGoal"] == goal


def test_05_cancel_ends_one_goal_or_all(link: Link) -> None:
    """Issue 3: with goalId that goal alone is cancelled, without it all are, until resume."""
    link.request("agent.control", action="pause")
    for request in ("one", "two", "three"):
        planned(link, "list files; report status", request, "workers.paused")
    link.send({"type": "agent.control", "action": "cancel", "goalId": 2, "id": "c"})
    story = link.until(lambda frame: frame.get("request") == "c")
    assert {frame["request"] for frame in of_tasks(story)} == {"two"}
    assert (story[-1]["queuedTasks"], story[-1]["mode"]) == (4, "paused")
    unknown = link.request("agent.control", action="cancel", goalId=2)
    assert unknown["code"] == "goal_unknown"
    link.send({"type": "agent.control", "action": "cancel", "id": "all"})
    story = link.until(lambda frame: frame.get("request") == "all")
    ended = [frame["request"] for frame in story if short(frame) == ("execution", "complete")]
    if len(ended) < 2:
        story += link.until(lambda frame: ends_goal(frame, "three"))
    assert {frame["request"] for frame in of_tasks(story)} == {"one", "three"}
    state = link.state()
    assert (state["queuedTasks"], state["activeTasks"], state["mode"]) == (0, 0, "cancelled")
