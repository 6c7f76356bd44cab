"""What all awake sessions have waiting together, for the bounds that hold for the whole daemon.

Each session keeps its own share exact by saying how much it has after every step; the totals are the
sum of the shares at any moment, so that nothing has to be counted over.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Totals:
    """Over all awake sessions."""

    goals: int = 0
    """Goals that have not ended."""
    tasks: int = 0
    """Tasks that wait to be started."""


@dataclass(slots=True)
class Share:
    """One session's part of the totals."""

    totals: Totals
    goals: int = 0
    tasks: int = 0

    def set(self, goals: int, tasks: int) -> None:
        """Say what the session has now, after every step that changed it; nothing when it leaves."""
        self.totals.goals += goals - self.goals
        self.totals.tasks += tasks - self.tasks
        self.goals, self.tasks = goals, tasks

    def goals_with(self, own: int) -> int:
        """Return the total of goals if this session had `own`."""
        return self.totals.goals - self.goals + own

    def tasks_with(self, own: int) -> int:
        """Return the total of queued tasks if this session had `own`."""
        return self.totals.tasks - self.tasks + own
