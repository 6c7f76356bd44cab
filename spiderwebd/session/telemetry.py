"""How far running tasks are, told while they run: the latest word of each, and never more often than a
watch is told.

Workers say as much as they like; nothing is queued for it. What is told carries no seq, is not kept, and
only comes to links that are not being told the past.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiderwebd.core.effects import StartTask
from spiderwebd.core.frames import render
from spiderwebd.core.story import AgentProgress
from spiderwebd.metrics import Metrics
from spiderwebd.work.progress import Progress

if TYPE_CHECKING:
    from spiderwebd.session.session import Session


class Telemetry:
    """The tasks that run in all sessions; a sweep tells what is new of them."""

    __slots__ = ("_running",)

    def __init__(self) -> None:
        self._running: dict[Progress, tuple[Session, StartTask, int]] = {}

    def begin(self, session: Session, task: StartTask) -> Progress:
        """Return where the worker of a task says how far it is."""
        progress = Progress()
        self._running[progress] = session, task, 0
        return progress

    def end(self, progress: Progress) -> None:
        """Tell nothing more: how the task ended is part of the story."""
        del self._running[progress]

    def tell(self, metrics: Metrics) -> None:
        """Tell the links of each session the latest word of each of its tasks, where there is a new one."""
        for progress, (session, task, told) in self._running.items():
            # Read once: a thread may say the next one meanwhile.
            said, word = progress.said, progress.word
            if said == told:
                continue
            metrics.progress_coalesced += said - told - 1
            self._running[progress] = session, task, said
            frame: AgentProgress = {
                "type": "agent.progress",
                "request": task.request,
                "sessionKey": session.key,
                "phase": "worker",
                "status": "working",
                "message": word,
                "goalId": task.goal_id,
                "taskId": task.task_id,
            }
            session.links.mention(render(frame))
