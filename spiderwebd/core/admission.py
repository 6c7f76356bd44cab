"""Who is let in: texts too long, queues of the session or of the daemon that are full.

Each function either lets a request pass (False) or answers it (True); what is answered changes nothing.
Limits, policies and what a refusal says stand in `limits`.
"""

from __future__ import annotations

from spiderwebd.core import limits
from spiderwebd.core.effects import LinkKey
from spiderwebd.core.limits import Limit
from spiderwebd.core.state import Step

RETRY_MS = limits.SHORT_MS
"""What a client is told to wait for what passes by itself."""


def refuse(step: Step, link: LinkKey, request: str, limit: Limit, message: str) -> None:
    """Tell the link that asked which limit is reached, and when to try again."""
    step.reply(link, limit.error(message, request or None))


def too_large(step: Step, link: LinkKey, request: str, text: str) -> bool:
    """Refuse a text of more UTF-8 bytes than a message may have."""
    limit = step.state.rules.message_bytes
    if len(text) <= limit // 4 or len(text.encode()) <= limit:
        return False
    refuse(step, link, request, limits.MESSAGE_BYTES, "Message too large for active context")
    return True


def chats_full(step: Step, link: LinkKey, request: str) -> bool:
    """Refuse a message while too many wait for their answers."""
    waiting = len(step.state.chats)
    if waiting < step.state.rules.chats_queued:
        return False
    message = f"This session's queue of unanswered messages is full ({waiting}); try again later."
    refuse(step, link, request, limits.CHATS, message)
    return True


def goals_full(step: Step, link: LinkKey, request: str) -> bool:
    """Refuse a goal while too many of this session, or of all sessions, have not ended."""
    state = step.state
    waiting, rules = len(state.goals), state.rules
    if waiting >= rules.goals_queued:
        message = f"This session's queue of goals is full ({waiting}); try again later."
        refuse(step, link, request, limits.GOALS, message)
        return True
    if state.share.goals_with(waiting) >= rules.goals_total:
        message = f"The daemon's queue of goals is full ({rules.goals_total}); try again later."
        refuse(step, link, request, limits.GOALS_TOTAL, message)
        return True
    return False


def tasks_full(step: Step, link: LinkKey, request: str, tasks: int) -> bool:
    """Refuse a goal whose tasks would be more than may wait in this session, or in all sessions together."""
    state = step.state
    if state.queued_tasks + tasks > state.rules.tasks_queued:
        message = (
            f"{state.queued_tasks} of at most {state.rules.tasks_queued} tasks wait in this session, too "
            f"many for {tasks} more; try later."
        )
        refuse(step, link, request, limits.TASKS, message)
        return True
    waiting, total = state.share.tasks_with(state.queued_tasks), state.rules.tasks_total
    if waiting + tasks <= total:
        return False
    message = f"{waiting} of at most {total} tasks wait in this daemon, too many for {tasks} more; try later."
    refuse(step, link, request, limits.TASKS_TOTAL, message)
    return True
