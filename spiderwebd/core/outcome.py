"""What a worker hands back: how the task ended, in words, and what it asks of the session.

Only the session's inbox loop changes a session. A worker proposes changes as plain data; the loop
carries them out in the transaction that ends the task, so a crash keeps both or neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from spiderwebd.core.change import Entry
from spiderwebd.core.codes import Code
from spiderwebd.core.quotes import cut
from spiderwebd.core.records import TaskState

DETAIL_CHARACTERS = 1000
"""Longest detail. It stands in a progress frame, a status frame, a row and the final answer."""

NEW_ID = "#?"
"""Stands in a detail for the MemoryID that the session will give the new memory."""

ENDS = (TaskState.COMPLETE, TaskState.BLOCKED, TaskState.FAILED, TaskState.EXPIRED)


@dataclass(frozen=True, slots=True)
class NewMemory:
    """A memory to be appended."""

    role: str
    content: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended.

    Raises:
        ValueError: for a state that is no end, or a code where the state has none or needs one.
    """

    state: TaskState
    """complete, blocked, failed, or expired before it was begun; cancelled is the session's own verdict."""
    detail: str
    code: Code | None = None
    """Why it did not complete; None when it did."""
    remember: tuple[NewMemory, ...] = ()
    """To append, in order; the detail's first NEW_ID becomes the first one's id, and so on."""
    evict: tuple[int, ...] = ()
    """MemoryIDs to take out of RAM."""
    load: tuple[Entry, ...] = ()
    """Memories, as the LTM has them, to bring back into RAM."""
    summarize: tuple[Entry, ...] = ()
    """Memories, as the LTM has them, to stand in RAM as a summary."""

    def __post_init__(self) -> None:
        if self.state not in ENDS:
            raise ValueError(f"a worker cannot end a task as {self.state}")
        if (self.state is TaskState.COMPLETE) is not (self.code is None):
            raise ValueError(f"an outcome {self.state} cannot have code {self.code}")
        object.__setattr__(self, "detail", cut(self.detail, DETAIL_CHARACTERS))


def complete(detail: str) -> Outcome:
    """The task is done."""
    return Outcome(TaskState.COMPLETE, detail)


def failed(detail: str, code: Code = Code.TASK_FAILED) -> Outcome:
    """The worker tried; the detail says what stood in the way."""
    return Outcome(TaskState.FAILED, detail, code)


def blocked(detail: str, code: Code) -> Outcome:
    """The task cannot be done here as it stands; nothing was tried."""
    return Outcome(TaskState.BLOCKED, detail, code)


def expired(detail: str) -> Outcome:
    """The task waited too long for a worker; nothing was tried."""
    return Outcome(TaskState.EXPIRED, detail, Code.EXPIRED)
