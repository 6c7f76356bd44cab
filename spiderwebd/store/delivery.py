"""What the store reports, told to those who wait for it: in order, and a few milliseconds at a time.

A batch may hold hundreds of submissions, and each has a session show its frames. Told all at once, they
would keep trio's loop from every socket for tens of milliseconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from spiderwebd.store.committer import Report, Submission

SLICE_SECONDS = 0.004
"""After so long the loop's other tasks have their turn."""


@dataclass(slots=True)
class _Part:
    report: Report
    told: int = 0


@dataclass(slots=True)
class Delivery:
    """Reports that are being told. Lives in trio's entry queue: what its parts raise goes to `fault`."""

    begin: Callable[[Report], None]
    """Called with each report before the first of its submissions."""
    tell: Callable[[Submission], None]
    finish: Callable[[Report], None]
    """Called with each report after the last of its submissions."""
    fault: Callable[[Exception], None]
    token: trio.lowlevel.TrioToken = field(default_factory=trio.lowlevel.current_trio_token)
    _parts: deque[_Part] = field(default_factory=deque)

    def take(self, report: Report) -> None:
        """Tell a report, behind those before it."""
        self._parts.append(_Part(report))
        if len(self._parts) == 1:
            self._begin_and_go_on()

    def tell_rest(self) -> None:
        """Tell all that is left, at once: nobody will come back for it."""
        self._go_on(float("inf"))

    def _begin_and_go_on(self) -> None:
        if self._parts:
            self._go_on(trio.current_time() + SLICE_SECONDS)

    def _go_on(self, until: float) -> None:
        try:
            while self._parts:
                if not self._tell(self._parts[0], until):
                    self.token.run_sync_soon(self._begin_and_go_on)
                    return
                self._parts.popleft()
        except Exception as error:
            self._parts.clear()
            self.fault(error)

    def _tell(self, part: _Part, until: float) -> bool:
        """Go on with a report; False when the time is over and something is left of it."""
        submissions = part.report.submissions
        if part.told == 0:
            self.begin(part.report)
        while part.told < len(submissions):
            if part.told and trio.current_time() >= until:
                return False
            part.told += 1
            self.tell(submissions[part.told - 1])
        self.finish(part.report)
        return True
