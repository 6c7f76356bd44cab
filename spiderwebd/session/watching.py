"""Links that watch: agent.state is sent to them when it changes, coalesced, and never otherwise.

What they hear is made by the session's loop as a step of its own, so it never runs ahead of the commit
of what it tells; it carries no seq and is not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from spiderwebd.core.effects import Watch
from spiderwebd.core.state import Step
from spiderwebd.core.state_frames import full_state_frame
from spiderwebd.session.ports import Client

if TYPE_CHECKING:
    from spiderwebd.session.session import Session


class Watching:
    """The watching links of one session; at most one frame each in `limits.watch_seconds`, the latest."""

    __slots__ = ("_not_before", "_pending", "_seen", "_session", "_told", "_watchers")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._watchers: dict[Client, str] = {}
        self._told: tuple[object, ...] = ()
        """The figures that all watchers have been sent."""
        self._pending = False
        self._seen: tuple[object, ...] = ()
        self._not_before = 0.0

    def __len__(self) -> int:
        """Count the links that watch."""
        return len(self._watchers)

    def change(self, watch: Watch) -> None:
        """Begin, rename or end the watch of a link."""
        if watch.request is None:
            self._watchers.pop(watch.link, None)
            return
        if not self._watchers:
            self._told = watch.told
            self._not_before = trio.current_time() + self._session.house.watch_seconds
        self._watchers[watch.link] = watch.request

    def leave(self, client: Client) -> None:
        """Forget a link."""
        self._watchers.pop(client, None)

    def notice(self, nursery: trio.Nursery) -> None:
        """See whether there is something to tell; called whenever the state may have changed."""
        if not self._watchers:
            return
        figures = self._session.state.figures()
        if self._pending:
            self._session.house.metrics.states_coalesced += figures != self._seen
        elif figures != self._told:
            self._pending = True
            nursery.start_soon(self._wait, name="watch")
        self._seen = figures

    async def _wait(self) -> None:
        await trio.sleep_until(self._not_before)
        self._session.put(self._tell)

    def _tell(self, step: Step) -> None:
        state = step.state
        self._pending = False
        self._told = state.figures()
        self._not_before = trio.current_time() + self._session.house.watch_seconds
        for client, request in self._watchers.items():
            step.reply(client, full_state_frame(state, request, state.mode, step.now_ms))
