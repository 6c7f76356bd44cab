"""Who is next: one waiter from each session in turn, so that no session's crowd delays another's one.

Every task costs one slot, so deficit round robin (Shreedhar and Varghese, 1995) with a quantum of one
is plain round robin over the sessions that have waiters; within a session, first come, first served.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from statistics import median
from typing import Generic, TypeVar

Waiter = TypeVar("Waiter")


class RoundRobin(Generic[Waiter]):
    """Waiters by session. Adding, taking the next and giving up cost the same however many wait."""

    __slots__ = ("_count", "_sessions")

    def __init__(self) -> None:
        # A session stands at the end after each turn; its waiters keep the order of their coming.
        self._sessions: OrderedDict[str, dict[Waiter, None]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, session: str, waiter: Waiter) -> None:
        """Let a waiter stand in its session's line; a session new to the round comes last."""
        self._sessions.setdefault(session, {})[waiter] = None
        self._count += 1

    def next(self) -> Waiter | None:
        """Take the first waiter of the session whose turn it is; None when nobody waits."""
        if not self._sessions:
            return None
        session, line = next(iter(self._sessions.items()))
        waiter = next(iter(line))
        self._leave(session, waiter)
        if line:
            self._sessions.move_to_end(session)
        return waiter

    def had_its_turn(self, session: str) -> None:
        """Let a session stand last: it has just given back what it was served.

        So a session that comes while another's crowd holds every slot is next when the first comes free.
        """
        if session in self._sessions:
            self._sessions.move_to_end(session)

    def give_up(self, session: str, waiter: Waiter) -> None:
        """Take a waiter out of its line. Raises KeyError when it does not stand there."""
        if waiter not in self._sessions[session]:
            raise KeyError(waiter)
        self._leave(session, waiter)

    def _leave(self, session: str, waiter: Waiter) -> None:
        line = self._sessions[session]
        del line[waiter]
        self._count -= 1
        if not line:
            del self._sessions[session]


class WaitSpread:
    """How evenly sessions wait: the longest over the median, of their mean waits lately."""

    __slots__ = ("_waits",)

    def __init__(self, kept: int = 256) -> None:
        """Look at the last `kept` waits, of whatever sessions."""
        self._waits: deque[tuple[str, float]] = deque(maxlen=kept)

    def note(self, session: str, seconds: float) -> None:
        """Take in how long one task of a session waited for its slot."""
        self._waits.append((session, seconds))

    def ratio(self) -> float:
        """Return max over median of the sessions' mean waits; 1 when they are even, or one alone waits."""
        sums: dict[str, list[float]] = {}
        for session, seconds in self._waits:
            sums.setdefault(session, []).append(seconds)
        means = [sum(waits) / len(waits) for waits in sums.values()]
        middle = median(means) if means else 0.0
        return max(means) / middle if middle else 1.0
