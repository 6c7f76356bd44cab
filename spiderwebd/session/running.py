"""What runs for one session: the answer to a message, and the tasks of its goals.

Whatever happens to a worker comes back to the inbox as an outcome; nothing here changes the session.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING

import trio

from spiderwebd import log
from spiderwebd.core import goals, turn
from spiderwebd.core.codes import Code
from spiderwebd.core.deadlines import answer_by_ms
from spiderwebd.core.effects import StartTask, StopGoal
from spiderwebd.core.outcome import expired, failed
from spiderwebd.core.pending import Chat
from spiderwebd.work.batch import Batch
from spiderwebd.work.gate import Gate

if TYPE_CHECKING:
    from spiderwebd.session.session import Session


class Running:
    """One batch a goal from its acceptance to its end, bounded by its deadline, and one gate for all."""

    __slots__ = ("_batches", "_gate", "_session", "answering")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._gate = Gate()
        self._batches: dict[int, Batch] = {}
        self.answering = 0
        """Messages whose answer is being made."""

    def __len__(self) -> int:
        """Count the answers and the goals under way."""
        return len(self._batches) + self.answering

    def hold(self, closed: bool) -> None:
        """Close the gate that workers pass between two steps, or open it."""
        if closed:
            self._gate.pause()
        else:
            self._gate.resume()

    def open_goal(self, nursery: trio.Nursery, goal_id: int, deadline_ms: int) -> None:
        """Hold a goal to its deadline (wall-clock ms), whether or not any task of it runs yet."""
        if goal_id in self._batches:
            return
        batch = Batch(self._moment(deadline_ms))
        self._batches[goal_id] = batch
        nursery.start_soon(self._run, batch, goal_id, name=f"goal:{goal_id}")

    def start_task(self, task: StartTask) -> None:
        """Start a task of an open goal; a goal that was stopped meanwhile starts nothing."""
        batch = self._batches.get(task.goal_id)
        if batch is not None:
            batch.add(partial(self._carry_out, task), name=f"task:{task.goal_id}.{task.task_id}")

    def stop_goal(self, stop: StopGoal) -> None:
        """Cancel what still runs of a goal."""
        batch = self._batches.pop(stop.goal_id, None)
        if batch is not None:
            batch.close(stop.reason)

    def start_chat(self, nursery: trio.Nursery, chat: Chat) -> None:
        """Begin to answer a message."""
        self.answering += 1
        nursery.start_soon(self._answer, chat, name="chat")

    def _moment(self, wall_ms: int | None) -> float:
        """Return a wall-clock moment on trio's clock (seconds); None is never."""
        if wall_ms is None:
            return inf
        return trio.current_time() + max(0, wall_ms - self._session.house.clock.wall_ms()) / 1000

    async def _run(self, batch: Batch, goal_id: int) -> None:
        if await batch.run():
            self._batches.pop(goal_id, None)
            self._session.put(partial(goals.expire_goal, goal_id=goal_id))

    async def _carry_out(self, task: StartTask) -> None:
        session, house = self._session, self._session.house
        outcome = expired("no worker was free before its time was up, so it was not run")
        too_late = trio.CancelScope(deadline=self._moment(task.start_by_ms))
        progress = house.telemetry.begin(session, task)

        def began(waited: float) -> None:
            too_late.deadline = inf
            house.waits.note(session.key, waited)
            house.metrics.task_wait_seconds.observe(max(0, house.clock.wall_ms() - task.queued_ms) / 1000)
            session.put(partial(goals.task_began, goal_id=task.goal_id, task_id=task.task_id))

        with log.bound(request=task.request, goal=task.goal_id, task=task.task_id):
            try:
                with too_late:
                    outcome = await house.desk.carry_out(session.state, task, self._gate, began, progress)
            except Exception as error:  # a bug on the way to the worker costs the task, not the session
                house.on_fault("task", error, session.key)
                outcome = failed("a fault of the daemon ended this task; its log has it", Code.INTERNAL)
            finally:
                house.telemetry.end(progress)
        session.put(partial(goals.task_ended, goal_id=task.goal_id, task_id=task.task_id, outcome=outcome))

    async def _answer(self, chat: Chat) -> None:
        session = self._session
        waited = session.house.clock.wall_ms() - chat.created_ms
        session.house.metrics.chat_wait_seconds.observe(max(0, waited) / 1000)
        late = trio.CancelScope(deadline=self._moment(answer_by_ms(session.state, chat)))
        try:
            with log.bound(request=chat.request):
                text = None
                try:
                    with late:
                        text = await session.house.desk.answer(session.state, chat)
                except Exception as error:  # the request must have its outcome all the same
                    session.house.on_fault("chat", error, session.key)
                    message = "The answer failed; the log says why"
                    session.put(partial(turn.chat_failed, request=chat.request, message=message))
                else:
                    if text is None:
                        session.put(turn.expire_overdue)
                    else:
                        session.put(partial(turn.chat_answered, request=chat.request, answer=text))
        finally:
            self.answering -= 1
