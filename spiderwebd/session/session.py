"""One awake session: the inbox loop, and the work it owns.

The loop is the only task that changes the state. It hands each step's records to the store and goes
on; frames, replies and new work wait in `_show`, which the store calls after the commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import trio

from spiderwebd.core import goals, remembering, suggestions, turn
from spiderwebd.core.codes import Close, Code
from spiderwebd.core.frames import error_frame, not_durable, render
from spiderwebd.core.protocol import AnyFrame
from spiderwebd.core.state import (
    Ask,
    Chat,
    Fetch,
    HangUp,
    Hold,
    Replay,
    Retell,
    Start,
    StartChat,
    StartTask,
    State,
    Step,
    StopGoal,
)
from spiderwebd.core.upkeep import keep_within_budget
from spiderwebd.session import replay
from spiderwebd.session.inbox import Inbox
from spiderwebd.session.ports import Client, House
from spiderwebd.work.batch import Batch
from spiderwebd.work.gate import Gate

MANAGER_REQUEST = "memory-manager"

Event = Callable[[Step], None]
"""What waits in the inbox: one of the core's functions with its arguments, applied by the loop."""

Acknowledge = Callable[[Step, int], list[str]]
"""(step, last committed seq) -> the rendered frames that open a link."""


@dataclass(slots=True)
class Attached:
    """A link of this session; while `live` is False it is still being told the past."""

    client: Client
    live: bool
    sent: int
    """Last seq handed to the link, or the seq at which it joined."""
    joined: int
    """Seq at which the link joined; a replay never sends again what came live after it."""


class Session:
    """A life: made by the registry, run in its own nursery, outliving every link."""

    def __init__(self, state: State, house: House) -> None:
        self.state = state
        self.house = house
        self.links: dict[Client, Attached] = {}
        self.committed = state.seq
        """Last seq that `_show` has handed out; never ahead of the store."""
        self.idle_since = house.clock.monotonic()
        self.draining = False
        self.ended = trio.Event()
        self._gate = Gate()
        self._inbox: Inbox[Event] = Inbox(house.inbox_limit)
        self._batches: dict[int, Batch] = {}
        self._beside = 0
        self._in_flight = 0
        self.closing = False
        self._answering = 0
        self._stirred = trio.Event()
        self._nursery: trio.Nursery | None = None

    @property
    def key(self) -> str:
        """The session key; a secret."""
        return self.state.key

    @property
    def quiet(self) -> bool:
        """Whether nothing waits, runs or listens, so that it may hibernate."""
        return not (
            self.links or self.state.busy or self._inbox or self._beside or self._in_flight or self._batches
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Live until told to close and quiet; cancelling is a crash as far as the rows are concerned."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._inbox.put(goals.recover)
                if self.state.chats:
                    self._inbox.put(turn.begin_chat)
                task_status.started()
                await self._loop()
                nursery.cancel_scope.cancel(reason="the session closes")
        finally:
            self._nursery = None
            self.ended.set()

    async def _loop(self) -> None:
        state, clock = self.state, self.house.clock
        while True:
            events = await self._inbox.take()
            state.rules = self.house.rules
            step = Step(state, clock.wall_ms())
            for event in events:
                event(step)
            step.finish()
            self.idle_since = clock.monotonic()
            if step.records or (self._in_flight and not step.only_pongs):
                # Without records too: replies must not overtake what the same client asked before.
                self._in_flight += 1
                await self.house.writer.submit(step.records, partial(self._shown, step))
            else:
                self._show(step, durable=True)
            self._stirred.set()
            self._stirred = trio.Event()
            if self.closing:
                await self.house.writer.settled()
                if not self._inbox and not self.links:
                    return
                self.closing = bool(self._inbox)  # somebody came back: stay awake

    # From links

    def receive(self, client: Client, frame: AnyFrame) -> bool:
        """Take one frame from a link; False when the inbox is full and the link must be told."""
        return self._inbox.offer(partial(self._from_link, client, frame))

    async def room(self) -> None:
        """Wait until the inbox takes frames again; the caller owns the deadline."""
        await self._inbox.room()

    def _from_link(self, client: Client, frame: AnyFrame, step: Step) -> None:
        if turn.changes(frame):
            if self.draining:
                step.refuse(client, frame.id or "", "The daemon is stopping.", Code.DRAINING, turn.RETRY_MS)
                return
            if not self.house.writer.accepting:
                message = "The disk cannot be written and memory is full; nothing was accepted."
                step.refuse(client, frame.id or "", message, Code.STORAGE_UNAVAILABLE, turn.RETRY_MS)
                return
        turn.receive(step, client, frame, self.house.fresh_id)

    def attach(self, client: Client, ack: Acknowledge, after: int | None) -> None:
        """Let a link take part: its ack first, then what it missed, then everything new."""
        self._inbox.put(partial(self._attach, client, ack, after))

    def _attach(self, client: Client, ack: Acknowledge, after: int | None, step: Step) -> None:
        # Frames of this and of earlier steps are not shown yet; a link that starts at the committed
        # seq gets them like everybody else when they are.
        for text in ack(step, self.committed):
            client.send(text)
        self.links[client] = Attached(client, live=True, sent=self.committed, joined=self.committed)
        if after is not None:
            self._start(Replay(client, after))

    def detach(self, client: Client) -> None:
        """Forget a link; nothing is cancelled."""
        self.links.pop(client, None)
        self.idle_since = self.house.clock.monotonic()

    # From sweeps and the registry

    def tick_heartbeat(self) -> None:
        """Let the heartbeat's timer look at the session."""
        self._inbox.put(partial(suggestions.beat, request=suggestions.SWEEP_REQUEST, forced=False))

    def tick_memory_manager(self) -> None:
        """Let the memory manager look at the session."""
        self._inbox.put(partial(keep_within_budget, request=MANAGER_REQUEST, trigger="sweep"))

    def close(self) -> None:
        """End the loop as soon as it is quiet (hibernation) or what runs was cancelled (drain)."""
        self.closing = True
        self._inbox.put(_nothing)

    def drain(self) -> None:
        """Start no further work: the daemon stops."""
        self.draining = True
        self._inbox.put(_hold_dispatch)

    async def at_rest(self) -> None:
        """Return when a draining session has nothing running that would end by itself."""
        while self._answering or self._inbox or (self.state.active_tasks and self.state.mode == "running"):
            await self._stirred.wait()

    # After the commit

    def _shown(self, step: Step, durable: bool) -> None:
        self._in_flight -= 1
        self._show(step, durable=durable)

    def _show(self, step: Step, *, durable: bool) -> None:
        for out in step.outgoing:
            if out.link is not None:
                if out.link in self.links:
                    self.links[out.link].client.send(out.text)
                continue
            self.committed = out.seq
            text = out.text if durable or not out.acknowledges else not_durable(out.text)
            for attached in self.links.values():
                if attached.live:
                    attached.sent = out.seq
                    attached.client.send(text)
        for start in step.starts:
            self._start(start)

    def _start(self, start: Start) -> None:
        nursery = self._nursery
        if nursery is None:
            return  # closing: the rows say what is open, and the next start goes on with it
        match start:
            case Ask() | Fetch() | Retell():
                self._beside_loop(nursery, start)
            case Replay():
                self._begin_replay(nursery, start)
            case StartTask():
                self._start_task(nursery, start)
            case StartChat():
                nursery.start_soon(self._answer, start.chat, name="chat")
            case StopGoal():
                batch = self._batches.pop(start.goal_id, None)
                if batch is not None:
                    batch.close(start.reason)
            case Hold():
                if start.closed:
                    self._gate.pause()
                else:
                    self._gate.resume()
            case HangUp():
                if start.link in self.links:
                    self.links[start.link].client.close(Close.NORMAL, "bye")

    def _start_task(self, nursery: trio.Nursery, task: StartTask) -> None:
        batch = self._batches.get(task.goal_id)
        if batch is None:
            seconds = max(0.0, (task.deadline_ms - self.house.clock.wall_ms()) / 1000)
            batch = Batch(trio.current_time() + seconds)
            self._batches[task.goal_id] = batch
            nursery.start_soon(self._run_batch, batch, task.goal_id, name=f"goal:{task.goal_id}")
        batch.add(partial(self._carry_out, task), name=f"task:{task.goal_id}.{task.task_id}")

    async def _run_batch(self, batch: Batch, goal_id: int) -> None:
        if await batch.run():
            self._batches.pop(goal_id, None)
            self._inbox.put(partial(goals.expire_goal, goal_id=goal_id))

    async def _carry_out(self, task: StartTask) -> None:
        outcome = await self.house.desk.carry_out(self.state, task, self._gate)
        self._inbox.put(
            partial(goals.task_ended, goal_id=task.goal_id, task_id=task.task_id, outcome=outcome)
        )

    async def _answer(self, chat: Chat) -> None:
        self._answering += 1
        try:
            text = await self.house.desk.answer(self.state, chat)
        except Exception as error:  # a bug in answering must still give the request its outcome
            self.house.on_fault("chat", error, self.key)
            self._inbox.put(
                partial(turn.chat_failed, request=chat.request, message="The answer failed; the log says why")
            )
        else:
            self._inbox.put(partial(turn.chat_answered, request=chat.request, answer=text))
        finally:
            self._answering -= 1

    # Beside the loop

    def _begin_replay(self, nursery: trio.Nursery, start: Replay) -> None:
        attached = self.links.get(start.link)
        if attached is None or not attached.live:
            return  # gone, or its replay is under way
        # From here on live frames pass it by; the replay picks them up from the log.
        attached.live = False
        self._beside += 1
        work = partial(replay.replay, self, attached, start.after)
        nursery.start_soon(self._walled, attached.client, work, name="replay")

    def _beside_loop(self, nursery: trio.Nursery, start: Ask | Fetch | Retell) -> None:
        attached = self.links.get(start.link)
        if attached is None:
            return
        if self._beside >= self.house.query_limit:
            request = getattr(start, "request", "")
            attached.client.send(
                render(
                    error_frame(
                        "Too many queries of this session are under way; try again later.",
                        Code.QUEUE_FULL,
                        request=request,
                        retry_after_ms=turn.RETRY_MS,
                    )
                )
            )
            return
        match start:
            case Ask():
                work = partial(self._look_up, attached.client, start)
            case Fetch():
                work = partial(self._fetch, attached.client, start)
            case Retell():
                work = partial(replay.retell, self, attached.client, start.record)
        self._beside += 1
        nursery.start_soon(self._walled, attached.client, work, name=type(start).__name__.lower())

    async def _walled(self, client: Client, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # one broken query costs that query
            self.house.on_fault("query", error, self.key)
            client.send(render(error_frame("The query failed; the log says why.", Code.INTERNAL)))
        finally:
            self._beside -= 1

    async def _look_up(self, client: Client, ask: Ask) -> None:
        await self.house.writer.settled()
        for text in await self.house.desk.look_up(self.state, ask):
            client.send(text)

    async def _fetch(self, client: Client, fetch: Fetch) -> None:
        await self.house.writer.settled()
        record = await self.house.reader.memory(self.state.sid, fetch.memory_id)
        self._inbox.put(
            partial(
                remembering.fetched,
                link=client,
                request=fetch.request,
                frame=fetch.frame,
                payload=fetch.payload,
                record=record,
            )
        )


def _nothing(step: Step) -> None:
    """Wake the loop."""


def _hold_dispatch(step: Step) -> None:
    step.state.draining = True
