"""Counting what a session does, from the records and answers it shows: an addition each, no scan.

accepted = answered + failed + cancelled + expired + those still open, always: an outcome is counted
only for a request whose acceptance was.
"""

from __future__ import annotations

from pydantic_core import from_json

from spiderwebd.core.records import GoalRecord, Record, RequestRecord, RequestState, TaskRecord, TaskState
from spiderwebd.core.state import State, Step
from spiderwebd.metrics import Metrics

ERROR = '{"type":"error"'


class Tally:
    """What one awake session adds to the daemon's numbers."""

    __slots__ = ("_closed", "_goals", "_metrics", "_requests")

    def __init__(self, metrics: Metrics, state: State, *, taken_over: bool) -> None:
        """Start from what is open.

        `taken_over`: a run of the daemon before this one accepted it, so this one counts it now.
        """
        self._metrics = metrics
        self._closed = False
        self._goals = {goal.goal_id: goal.state for goal in state.goals.values()}
        self._requests = {
            record.request for record in state.requests.values() if record.state is RequestState.OPEN
        }
        metrics.goals_open += len(self._goals)
        if taken_over:
            metrics.requests_accepted += len(self._requests)

    def count(self, step: Step) -> None:
        """Count one step that is shown."""
        for record in step.records:
            self._count_record(record)
        for out in step.outgoing:
            if out.link is not None and out.text.startswith(ERROR):
                count_refusal(self._metrics, out.text)

    def close(self) -> None:
        """The session sleeps or has ended: what it left open is no longer in memory."""
        self._closed = True
        self._metrics.goals_open -= len(self._goals)
        self._goals.clear()

    def _count_record(self, record: Record) -> None:
        match record:
            case RequestRecord():
                self._count_request(record)
            case TaskRecord():
                self._metrics.tasks[record.state.value] += 1
            case GoalRecord():
                self._count_goal(record)

    def _count_request(self, record: RequestRecord) -> None:
        metrics, known = self._metrics, record.request in self._requests
        if not known:
            metrics.requests_accepted += 1
            self._requests.add(record.request)
        match record.state:
            case RequestState.OPEN:
                return
            case RequestState.ANSWERED:
                metrics.requests_answered += 1
            case RequestState.FAILED:
                metrics.requests_failed += 1
            case RequestState.CANCELLED:
                metrics.requests_cancelled += 1
            case RequestState.EXPIRED:
                metrics.requests_expired += 1
        self._requests.discard(record.request)

    def _count_goal(self, record: GoalRecord) -> None:
        if self._closed:
            return  # its last commit came after its end; whoever wakes it counts what is open then
        before: TaskState | None = self._goals.get(record.goal_id)
        if before is None:
            self._metrics.goals_open += 1
        if before is not record.state:
            self._metrics.goals[record.state.value] += 1
        if record.state.ended:
            self._metrics.goals_open -= 1
            self._goals.pop(record.goal_id, None)
        else:
            self._goals[record.goal_id] = record.state


def count_refusal(metrics: Metrics, text: str) -> None:
    """Count a rendered error frame under its stable code."""
    metrics.requests_refused[from_json(text)["code"]] += 1
