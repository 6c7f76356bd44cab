"""One request and its answers: which frames belong to it, which is the last, how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from spiderwebd.client.errors import Exit, exit_for
from spiderwebd.client.transport import Frame

LAST_ANSWER = {
    "ping": "pong",
    "session.new": "session.new",
    "session.reset": "session.reset",
    "session.list": "session.list.response",
    "session.history": "session.history.response",
    "session.restore": "session.restore.response",
    "memory.create": "session.accepted",
    "memory.load": "memory.load",
    "memory.update": "memory.update",
    "memory.evict": "memory.evict",
    "memory.summarize": "memory.summarize",
    "memory.recall": "memory.recall",
    "memory.query": "memory.query",
    "agent.heartbeat": "agent.heartbeat",
    "agent.list": "agent.list.response",
    "agent.get": "agent.info",
}
"""Type of a client frame to the type of the frame that ends its answer; an error ends it as well.
What is missing here, chat.send, session.send and agent.control, depends on what was said."""

UNANSWERED = ("connect", "disconnect", "pong")
"""Client frames that nothing answers."""

_ANSWERED_BY_STATE = ("state", "status", "pause", "resume", "cancel")


@dataclass(slots=True)
class Request:
    """A frame that was sent and what has come of it; feed it every frame through `take`."""

    frame: Frame
    id: str
    detached: bool = False
    """Whether being accepted is enough: the outcome of a goal is not waited for."""
    accepted: Frame | None = None
    ended: bool = False
    exit: Exit = Exit.DONE
    tasks: dict[int, str] = field(default_factory=dict)
    """Last known state of each task of the goal."""

    @property
    def goal_id(self) -> int | None:
        """The goal that came of it, once accepted."""
        return None if self.accepted is None else self.accepted.get("goalId")

    def take(self, frame: Frame) -> bool:
        """Note a frame; True when it belongs to this request."""
        if frame.get("request") != self.id:
            return False
        kind = frame["type"]
        if kind == "error":
            self._end(exit_for(str(frame.get("code"))))
        elif kind == "session.accepted":
            self.accepted = frame
            if self.detached or self._last_answer() == kind:
                self._end(Exit.DONE)
        elif kind == "agent.status" and isinstance(frame.get("taskId"), int):
            self.tasks[frame["taskId"]] = str(frame.get("status"))
        elif kind == "agent.progress":
            self._progress(frame)
        elif kind == self._last_answer():
            self._end(Exit.DONE)
        return True

    def _last_answer(self) -> str | None:
        kind = self.frame.get("type")
        if kind in ("chat.send", "session.send"):
            if self.goal_id is not None:
                return None  # its end is told by agent.progress
            said = self.frame.get("content", self.frame.get("text"))
            return "session.new" if said == "/new" else "session.receive"
        if kind == "agent.control":
            action = self.frame.get("action")
            if action == "heartbeat":
                return "agent.heartbeat"
            return "agent.state" if action in _ANSWERED_BY_STATE else None
        return LAST_ANSWER.get(str(kind))

    def _progress(self, frame: Frame) -> None:
        """A goal ends with execution/complete, an unanswered message with execution/failed or cancelled."""
        # A task's own milestone may read execution/complete as well, and names its task.
        if frame.get("phase") != "execution" or "taskId" in frame or self.accepted is None:
            return
        status = frame.get("status")
        if self.goal_id is None:
            if status in ("failed", "cancelled"):
                self._end(Exit.NOT_DONE)
        elif status == "complete":
            done = all(state == "complete" for state in self.tasks.values())
            self._end(Exit.DONE if done else Exit.NOT_DONE)

    def _end(self, how: Exit) -> None:
        self.ended, self.exit = True, how
