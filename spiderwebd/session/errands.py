"""What is done for one link beside the session's loop: queries, memories to fetch, replays.

Each is walled: a bug in one costs that one, and its link is told. None changes the session. Fetches of one
memory follow each other, each behind the step that the one before it led to; all else is done at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from spiderwebd import log
from spiderwebd.core import limits, remembering
from spiderwebd.core.admission import RETRY_MS
from spiderwebd.core.codes import Close, Code, Refused, SpiderwebError
from spiderwebd.core.effects import Ask, Fetch, Replay, Retell
from spiderwebd.core.frames import refusal_frame, render
from spiderwebd.core.records import EntryRecord
from spiderwebd.core.state import Step
from spiderwebd.session import replay
from spiderwebd.session.links import Attached
from spiderwebd.session.ports import Client
from spiderwebd.session.tally import ERROR

if TYPE_CHECKING:
    from spiderwebd.session.session import Session

Errand = Ask | Fetch | Retell | Replay


class Errands:
    """The errands of one session; queries are bounded by `limits.queries`, replays by the links."""

    __slots__ = ("_last_fetch", "_queries", "_replays", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._queries = 0
        self._replays = 0
        self._last_fetch: dict[int, trio.Event] = {}
        """MemoryID to the end of the fetch of it that was asked for last."""

    def __len__(self) -> int:
        """Count the errands under way."""
        return self._queries + self._replays

    def start(self, nursery: trio.Nursery, errand: Errand, *, asked: bool = True) -> None:
        """Start one in the session's nursery, or tell its link why not; without the link, do nothing.

        `asked`: a request asked for it, and is counted here.
        """
        attached = self._session.links.get(errand.link)
        if attached is None:
            if asked:
                self._session.tally.served()
            self._give_up(errand)
            return
        if isinstance(errand, Replay):
            self._start_replay(nursery, attached, errand, asked)
            return
        request = errand.record.request if isinstance(errand, Retell) else errand.request
        house = self._session.house
        # A client that came back sends everything again at once that it had no answer to.
        bound = house.query_limit + (house.inbox_limit if isinstance(errand, Retell) else 0)
        if self._queries >= bound:
            message = f"{self._queries} queries of this session are under way; try again later."
            self._refuse(attached.client, limits.QUERIES.refused(message), request)
            self._give_up(errand)
            return
        match errand:
            case Ask():
                work = partial(self._look_up, attached.client, errand)
            case Fetch():
                before = self._last_fetch.get(errand.memory_id)
                over = self._last_fetch[errand.memory_id] = trio.Event()
                work = partial(self._fetch, attached.client, errand, before, over)
            case Retell():
                work = partial(self._retell, attached, errand)
        self._queries += 1
        nursery.start_soon(self._answer, attached.client, work, request, name=type(errand).__name__.lower())

    def _start_replay(self, nursery: trio.Nursery, attached: Attached, errand: Replay, asked: bool) -> None:
        if attached.replaying_after is not None:
            message = "A replay of this link is under way; wait for its end."
            self._refuse(attached.client, Refused(message, Code.QUEUE_FULL, RETRY_MS), "connect")
            return
        if asked:
            self._session.tally.served()
        # From here on live frames pass the link by; the replay finds them in the log.
        attached.live = False
        attached.replaying_after = errand.after
        self._replays += 1
        nursery.start_soon(self._replay, attached, errand.after, name="replay")

    async def _replay(self, attached: Attached, after: int) -> None:
        session = self._session
        try:
            await replay.replay(session, attached, after)
        except SpiderwebError as error:
            # A link that missed something must not go on as if it had not.
            attached.client.close(Close.TRY_AGAIN, error.message)
        except Exception as error:
            session.house.on_fault("query", error, session.key)
            attached.client.close(Close.INTERNAL, "the replay failed; connect again and resume")
        finally:
            attached.replaying_after = None
            self._replays -= 1

    async def _answer(self, client: Client, work: Callable[[], Awaitable[None]], request: str) -> None:
        session, decided = self._session, False
        try:
            with log.bound(request=request):
                await work()
            decided = True
        except SpiderwebError as error:
            decided = True
            self._refuse(client, error, request)
        except Exception as error:
            decided = True
            with log.bound(request=request):
                session.house.on_fault("query", error, session.key)
            self._refuse(client, Refused("The query failed; the log says why.", Code.INTERNAL), request)
        finally:
            self._queries -= 1
            if not decided:
                session.tally.served()

    async def _look_up(self, client: Client, ask: Ask) -> None:
        session = self._session
        await session.house.writer.settled()
        for text in await session.house.desk.look_up(session.state, ask):
            if text.startswith(ERROR):
                session.tally.refused(text)
            else:
                session.tally.served()
            client.send(text)

    async def _fetch(self, client: Client, fetch: Fetch, before: trio.Event | None, over: trio.Event) -> None:
        session, handed_on = self._session, False

        def end(step: Step | None = None) -> None:
            over.set()
            if self._last_fetch.get(fetch.memory_id) is over:
                del self._last_fetch[fetch.memory_id]

        try:
            if before is not None:
                await before.wait()
            await session.house.writer.settled()
            record = await session.house.reader.memory(session.state.sid, fetch.memory_id)
            session.put(partial(_fetched, client, fetch, record))
            session.put(end)
            handed_on = True
        finally:
            if not handed_on:
                self._give_up(fetch)
                end()

    def _give_up(self, errand: Errand) -> None:
        """Let the session know of a fetch that will not come back."""
        if isinstance(errand, Fetch):
            self._session.put(partial(_not_fetched, errand.memory_id))

    async def _retell(self, attached: Attached, retell: Retell) -> None:
        await replay.retell(self._session, attached, retell.record)
        self._session.tally.served()

    def _refuse(self, client: Client, refused: SpiderwebError, request: str) -> None:
        text = render(refusal_frame(refused, request))
        self._session.tally.refused(text)
        client.send(text)


def _fetched(client: Client, fetch: Fetch, record: EntryRecord | None, step: Step) -> None:
    step.requests += 1
    remembering.fetched(
        step, link=client, request=fetch.request, frame=fetch.frame, payload=fetch.payload, record=record
    )


def _not_fetched(memory_id: int, step: Step) -> None:
    step.state.fetched(memory_id)
