"""The story of requests and goals in the log: who asked, what ended how. Never what was said.

`journalctl SPIDERWEB_REQUEST=ID` reads one goal from acceptance to end; chats and memory operations
stand at debug level, since there is one for every message.
"""

from __future__ import annotations

from spiderwebd import log
from spiderwebd.core.records import GoalRecord, RequestRecord, TaskRecord, TaskState
from spiderwebd.core.state import Step

_LOGGER = log.get_logger(__name__)

TOLD = (GoalRecord, TaskRecord)
TOLD_ALL = (*TOLD, RequestRecord)


def tell(step: Step) -> None:
    """Write a line for each goal that was accepted or ended, and for each task that ended."""
    state = step.state
    told = TOLD_ALL if _LOGGER.wants_debug else TOLD
    for record in step.records:
        if type(record) not in told:
            continue
        match record:
            case GoalRecord(state=TaskState.QUEUED):
                _LOGGER.info(
                    "a goal was accepted",
                    session=state.key,
                    agent=state.agent,
                    principal=state.principal,
                    request=record.request,
                    goal=record.goal_id,
                )
            case GoalRecord() if record.ended_ms is not None:
                _LOGGER.info(
                    "a goal ended",
                    session=state.key,
                    request=record.request,
                    goal=record.goal_id,
                    outcome=record.state.value,
                    milliseconds=record.ended_ms - record.created_ms,
                )
            case TaskRecord() if record.state.ended:
                _LOGGER.info(
                    "a task ended",
                    session=state.key,
                    request=_request_of(step, record.goal_id),
                    goal=record.goal_id,
                    task=record.task_id,
                    worker=record.kind,
                    outcome=record.state.value,
                    code=record.code,
                    attempt=record.attempts,
                )
            case RequestRecord():
                _LOGGER.debug(
                    "a request was kept",
                    session=state.key,
                    principal=state.principal,
                    request=record.request,
                    type=record.type,
                    outcome=record.state.value,
                )


def _request_of(step: Step, goal_id: int) -> str:
    goal = step.state.goals.get(goal_id)
    if goal is not None:
        return goal.request
    ended = (each for each in step.records if isinstance(each, GoalRecord) and each.goal_id == goal_id)
    return next((record.request for record in ended), "")
