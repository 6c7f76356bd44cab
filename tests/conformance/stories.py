"""What the frames of a goal's story say, in short: for tests that compare whole sequences."""

from __future__ import annotations

from typing import Any

from tests.conformance.published_schema import Frame
from tests.conformance.schema_client import Link


def short(frame: Frame) -> tuple[Any, ...]:
    """What a frame of a goal's story says, without its details."""
    match frame["type"]:
        case "agent.progress":
            return (frame["phase"], frame["status"])
        case "agent.state":
            return ("state", frame["phase"], frame["queuedTasks"], frame["activeTasks"])
        case "agent.status":
            return ("task", frame["status"])
    return (frame["type"],)


def messages(story: list[Frame]) -> dict[tuple[str, str], str]:
    """The message of each progress frame by phase and status."""
    return {
        (frame["phase"], frame["status"]): frame["message"]
        for frame in story
        if frame["type"] == "agent.progress"
    }


def planned(link: Link, goal: str, request: str, last: str) -> list[Frame]:
    """Give a goal that will be held and return its story up to the agent.state of that phase."""
    link.send({"type": "agent.control", "action": "goal", "goal": goal, "id": request})
    return link.until(lambda frame: frame["type"] == "agent.state" and frame["phase"] == last)


def of_tasks(story: list[Frame]) -> list[Frame]:
    """The frames about single tasks."""
    return [frame for frame in story if "taskId" in frame]
