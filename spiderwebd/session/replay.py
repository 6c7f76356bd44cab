"""Telling a link the past: what it missed, or what an earlier try of its request was answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiderwebd.core.codes import Code
from spiderwebd.core.frames import error_frame, render
from spiderwebd.core.records import RequestRecord
from spiderwebd.core.remembering import item_of
from spiderwebd.core.state import full_state_frame

if TYPE_CHECKING:
    from spiderwebd.session.ports import Client
    from spiderwebd.session.session import Attached, Session

PAGE = 256
"""Events read and queued at once; the next page waits until the link has taken this one."""


async def replay(session: Session, attached: Attached, after: int) -> None:
    """Send every journalled event after `after`, once and in order, then let the link go live.

    Where the log no longer reaches back, session.gap and a state snapshot say so first.
    """
    state, client = session.state, attached.client
    came_live = attached.sent
    await session.house.writer.settled()
    kept = await session.house.reader.first_seq(state.sid)
    first = session.committed + 1 if kept is None else kept
    cursor = after
    if after > session.committed or after + 1 < first:
        gap = {
            "type": "session.gap",
            "sessionKey": state.key,
            "after": after,
            "firstSeq": first,
            "seq": session.committed,
        }
        client.send(render(gap))
        snapshot = full_state_frame(state, "session-restore", state.mode, session.house.clock.wall_ms())
        client.send(render(snapshot))
        cursor = session.committed if after > session.committed else first - 1
    while True:
        if attached.joined <= cursor < came_live:
            cursor = came_live
        if cursor >= session.committed:
            break
        page = await session.house.reader.events(state.sid, cursor, PAGE)
        if not page:
            break  # not on disk yet: degraded storage; the client sees the gap in seq and resumes
        for seq, text in page:
            cursor = seq
            if not attached.joined < seq <= came_live and not client.send(text):
                return
        if cursor < session.committed and not await client.drained():
            return
    attached.sent = max(cursor, came_live)
    attached.live = True


async def retell(session: Session, client: Client, record: RequestRecord) -> None:
    """Send this link the journalled frames that answered the same request the first time."""
    state = session.state
    await session.house.writer.settled()
    frames = await session.house.reader.request_events(state.sid, record.request, record.seq)
    for _, text in frames:
        if not client.send(text):
            return
    if record.memory_id is not None and record.type.startswith("memory.") and record.type != "memory.create":
        stored = await session.house.reader.memory(state.sid, record.memory_id)
        if stored is not None:
            answer = {
                "type": record.type,
                "request": record.request,
                "sessionKey": state.key,
                "item": item_of(stored, "ram" if stored.in_ram else "ltm"),
            }
            client.send(render(answer))
    if not frames:
        client.send(
            render(
                error_frame(
                    "This request was done before; its answer is no longer kept.",
                    Code.REQUEST_CONFLICT,
                    request=record.request,
                )
            )
        )
