"""Figures of all awake sessions for the metrics: collected when somebody looks, never kept up to date.

One walk over the sessions, a few microseconds each; what only grows is counted where it happens.
"""

from __future__ import annotations

from spiderwebd.core.records import TaskState
from spiderwebd.core.state import State
from spiderwebd.metrics import Metrics
from spiderwebd.session.registry import Registry


def collect(metrics: Metrics, registry: Registry) -> None:
    """Set what is open, how deep each queue of the sessions is, and how old its oldest is (seconds)."""
    now_ms = registry.house.clock.wall_ms()
    running = queued = inbox = 0
    inbox_seconds = 0.0
    chats: list[int] = []
    goals: list[int] = []
    tasks: list[int] = []
    slots: list[int] = []
    for session in registry.awake.values():
        open_running, open_queued = session.tally.open
        running += open_running
        queued += open_queued
        inbox += session.waiting
        inbox_seconds = max(inbox_seconds, session.waiting_seconds)
        _note(session.state, chats, goals, tasks, slots)
    metrics.sessions_awake = len(registry.awake)
    metrics.requests_running = running
    metrics.requests_queued = queued + metrics.requests_left
    metrics.fairness_ratio = registry.house.waits.ratio()
    metrics.queue_depth["inbox"] = inbox
    metrics.queue_oldest_seconds["inbox"] = inbox_seconds
    for name, since in (("chats", chats), ("goals", goals), ("tasks", tasks), ("slots", slots)):
        metrics.queue_depth[name] = len(since)
        metrics.queue_oldest_seconds[name] = max(0, now_ms - min(since, default=now_ms)) / 1000


def _note(state: State, chats: list[int], goals: list[int], tasks: list[int], slots: list[int]) -> None:
    """Add since when each thing of a session waits, in wall-clock milliseconds."""
    for place, chat in enumerate(state.chats):
        if place or not state.answering:
            chats.append(chat.created_ms)
    for goal in state.goals.values():
        if goal.state is TaskState.QUEUED:
            goals.append(goal.created_ms)
        for task in goal.tasks:
            if task.state is TaskState.QUEUED:
                tasks.append(task.created_ms)
            elif task.state is TaskState.RUNNING and not task.working:
                slots.append(task.started_ms or task.created_ms)
