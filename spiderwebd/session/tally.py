"""Counting what a session does, from the records and answers it shows: an addition each, no scan.

Two sums hold at any moment, each side counted in another way:

* accepted = answered + running + queued + failed + cancelled + expired: an outcome is counted only for
  a request whose acceptance was, and what is open is a set of names;
* received = accepted + served + refused, as soon as no request waits to be decided: what comes is counted
  by the link, what becomes of it here.
"""

from __future__ import annotations

from pydantic_core import from_json

from spiderwebd.core.effects import Ask, Fetch, Replay, Retell
from spiderwebd.core.records import GoalRecord, Record, RequestRecord, RequestState, TaskRecord, TaskState
from spiderwebd.core.state import State, Step
from spiderwebd.metrics import Metrics

ERROR = '{"type":"error"'

LOOKED_UP = (Ask, Fetch, Retell, Replay)
"""Starts that decide about a request later, beside the loop."""


COUNTED = (RequestRecord, TaskRecord, GoalRecord)


class Tally:
    """What one awake session adds to the daemon's numbers."""

    __slots__ = ("_closed", "_goals", "_metrics", "_requests", "undecided")

    def __init__(self, metrics: Metrics, state: State, *, taken_over: bool) -> None:
        """Start from what is open.

        `taken_over`: a run of the daemon before this one accepted it, so this one counts it now.
        """
        self._metrics = metrics
        self._closed = False
        self.undecided = 0
        """Requests that came and are neither accepted nor served nor refused yet."""
        self._goals = {goal.goal_id: goal.state for goal in state.goals.values()}
        self._requests = {
            record.request: record.goal_id
            for record in state.requests.values()
            if record.state is RequestState.OPEN
        }
        metrics.goals_open += len(self._goals)
        if taken_over:
            metrics.requests_received += len(self._requests)
            metrics.requests_accepted += len(self._requests)
        else:
            metrics.requests_left -= len(self._requests)

    @property
    def open(self) -> tuple[int, int]:
        """Return how many accepted requests run and how many wait.

        Of goals those with state running run; of messages the oldest does.
        """
        running = sum(self._goals.get(goal) is TaskState.RUNNING for goal in self._requests.values() if goal)
        running += any(goal is None for goal in self._requests.values())
        return running, len(self._requests) - running

    def came(self) -> None:
        """Count a request that the session has taken in, and not decided about yet."""
        self.undecided += 1

    def served(self) -> None:
        """Count a request that was answered beside the loop, or whose link left before that."""
        self.undecided -= 1
        self._metrics.requests_served += 1

    def refused(self, text: str) -> None:
        """Count a request that was refused beside the loop, by its rendered error frame."""
        self.undecided -= 1
        count_refusal(self._metrics, text)

    def count(self, step: Step) -> None:
        """Count one step that is shown."""
        accepted, refused = self._metrics.requests_accepted, 0
        for record in step.records:
            if type(record) in COUNTED:
                self._count_record(record, step.now_ms)
        for out in step.outgoing:
            if out.link is not None and out.text.startswith(ERROR):
                count_refusal(self._metrics, out.text)
                refused += 1
        if step.requests:
            looked_up = sum(isinstance(start, LOOKED_UP) for start in step.starts)
            decided = step.requests - looked_up
            self.undecided -= decided
            self._metrics.requests_served += decided - refused - (self._metrics.requests_accepted - accepted)

    def close(self, code: str, in_flight: int) -> None:
        """The session sleeps or has ended: what it left open is no longer in memory.

        Requests that it never came to are refused with `code`; those `in_flight` to the disk are still
        shown, and counted then.
        """
        self._closed = True
        metrics = self._metrics
        metrics.goals_open -= len(self._goals)
        self._goals.clear()
        metrics.requests_left += len(self._requests)
        if (lost := self.undecided - in_flight) > 0:
            metrics.requests_refused[code] += lost
            self.undecided -= lost

    def _count_record(self, record: Record, now_ms: int) -> None:
        match record:
            case RequestRecord():
                self._count_request(record)
            case TaskRecord():
                self._metrics.tasks[record.state.value] += 1
            case GoalRecord():
                self._count_goal(record, now_ms)

    def _count_request(self, record: RequestRecord) -> None:
        metrics, known = self._metrics, record.request in self._requests
        if not known:
            metrics.requests_accepted += 1
            self._open(record)
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
        self._requests.pop(record.request, None)
        metrics.requests_left -= self._closed

    def _open(self, record: RequestRecord) -> None:
        self._requests[record.request] = record.goal_id
        self._metrics.requests_left += self._closed

    def _count_goal(self, record: GoalRecord, now_ms: int) -> None:
        if self._closed:
            return  # its last commit came after its end; whoever wakes it counts what is open then
        before: TaskState | None = self._goals.get(record.goal_id)
        if before is None:
            self._metrics.goals_open += 1
        if before is not TaskState.RUNNING and record.state is TaskState.RUNNING:
            self._metrics.goal_wait_seconds.observe(max(0, now_ms - record.created_ms) / 1000)
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
