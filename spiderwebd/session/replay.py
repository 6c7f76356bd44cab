"""Telling a link the past: what it missed, or what an earlier try of its request was answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiderwebd.core.codes import Code, Refused
from spiderwebd.core.frames import render
from spiderwebd.core.records import RequestRecord
from spiderwebd.core.remembering import item_of
from spiderwebd.core.state_frames import full_state_frame

if TYPE_CHECKING:
    from spiderwebd.session.links import Attached
    from spiderwebd.session.ports import Client
    from spiderwebd.session.session import Session

PAGE = 256
"""Events read at once."""
BURST_FRAMES = 8
BURST_BYTES = 32_768
"""Queued at most before the link has written them: half of the smallest outbox one can configure, so
that a replay never makes its own link a slow one."""


class _Feed:
    """Sends frames to one link in bursts that fit its outbox."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._frames = 0
        self._bytes = 0

    async def send(self, text: str) -> bool:
        """Send one frame, in its turn; False when the link is ending."""
        if self._frames >= BURST_FRAMES or self._bytes + len(text) > BURST_BYTES:
            if not await self._client.drained():
                return False
            self._frames = self._bytes = 0
        self._frames += 1
        self._bytes += len(text)
        return self._client.send(text)


async def replay(session: Session, attached: Attached, after: int) -> None:
    """Send every journalled event after `after`, once and in order, then let the link go live.

    Where the log does not reach back, session.gap and a state snapshot say so first. The link must
    not be live: what is committed meanwhile is read from the log too.
    """
    house, client = session.house, attached.client
    feed = _Feed(client)
    await house.writer.settled()
    sid = session.state.sid
    cursor = start = after
    if after > session.committed:
        # The disk lost what this client saw (it was told durable:false), or the client is mistaken.
        kept = await house.reader.first_seq(sid)
        cursor = session.committed
        await _tell_gap(session, feed, after, cursor + 1 if kept is None else kept)
        start = min(cursor, attached.joined)
    while True:
        if attached.joined <= cursor < attached.sent:
            cursor = attached.sent
        target = session.committed
        if cursor >= target:
            break
        page = await house.reader.events(sid, cursor, PAGE)
        following = page[0][0] if page else target + 1
        if following != cursor + 1:
            # Pruned, or shown while the disk could not be written and not on it yet.
            await _tell_gap(session, feed, cursor, following)
            cursor = following - 1
            continue
        for seq, text in page:
            if seq > session.committed or attached.joined < seq <= attached.sent:
                break  # not shown to anybody yet, or this link was given it while it was live
            if not await feed.send(text):
                return
            cursor = seq
    attached.joined = min(attached.joined, start)
    attached.sent = max(attached.sent, cursor)
    attached.live = True


async def _tell_gap(session: Session, feed: _Feed, after: int, first: int) -> None:
    state = session.state
    gap = {
        "type": "session.gap",
        "sessionKey": state.key,
        "after": after,
        "firstSeq": first,
        "seq": session.committed,
    }
    snapshot = full_state_frame(state, "session-restore", state.mode, session.house.clock.wall_ms())
    if await feed.send(render(gap)):
        await feed.send(render(snapshot))


async def retell(session: Session, attached: Attached, record: RequestRecord) -> None:
    """Send this link again what answered the same request the first time, with its seqs.

    While a replay is under way, that tells what came after the seq it was asked for.
    """
    state, client = session.state, attached.client
    feed = _Feed(client)
    await session.house.writer.settled()
    frames = await session.house.reader.request_events(state.sid, record.request, record.seq)
    for seq, text in frames:
        if attached.replaying_after is not None and seq > attached.replaying_after:
            break
        if attached.live and seq > attached.sent:
            break  # committed and not shown yet: it comes in its turn, after what is before it
        if not await feed.send(text):
            return
    by_id = record.type.startswith("memory.") and record.type != "memory.create"
    if by_id and record.memory_id is not None:
        stored = await session.house.reader.memory(state.sid, record.memory_id)
        if stored is not None:
            answer = {
                "type": record.type,
                "request": record.request,
                "sessionKey": state.key,
                "item": item_of(stored, "ram" if stored.in_ram else "ltm"),
            }
            await feed.send(render(answer))
            return
    if not frames:
        message = "This request was done before; its answer is no longer kept."
        raise Refused(message, Code.REQUEST_CONFLICT)
