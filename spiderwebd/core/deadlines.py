"""When what waits has waited too long; measured from the moment it was taken in, in wall-clock milliseconds.

A message that is not answered in time and a task that no worker has in time are expired, with an event
and a reason, and never done late. Nobody sleeps for these moments: one sweep over the awake sessions
asks `due_at`.
"""

from __future__ import annotations

from spiderwebd.core.pending import Chat, Task
from spiderwebd.core.records import TaskState
from spiderwebd.core.state import State


def answer_by_ms(state: State, chat: Chat) -> int:
    """Return the moment from which a message is not answered any more."""
    return chat.created_ms + state.rules.chat_ms


def start_by_ms(state: State, task: Task) -> int | None:
    """Return the moment from which a task is not begun any more; None: its goal's deadline alone counts."""
    return task.created_ms + state.rules.queue_ms if state.rules.queue_ms else None


def overdue(state: State, task: Task, now_ms: int) -> bool:
    """Whether a task still waits though its moment has passed."""
    latest = start_by_ms(state, task)
    return task.state is TaskState.QUEUED and latest is not None and latest <= now_ms


def due_at(state: State) -> int | None:
    """Return the next moment at which something that waits is to be expired; None when nothing waits."""
    moments = [answer_by_ms(state, chat) for chat in state.chats]
    for goal in state.goals.values():
        moments.append(goal.deadline_ms)
        for task in goal.tasks:
            latest = start_by_ms(state, task)
            if latest is not None and task.state is TaskState.QUEUED:
                moments.append(latest)
                break  # tasks of a goal are queued together
    return min(moments, default=None)
