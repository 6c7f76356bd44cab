"""One awake session: the inbox, whose events change it one after the other, and the work it owns.

An event that comes while nothing else is to be done is handled where it comes in, which saves the loop a
wake-up; else it waits in the inbox for the loop. Either way one step follows the other. A step hands its
records to the store and is done; frames, replies and new work wait in `_show`, called after the commit.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial

import trio

from spiderwebd.core import goals, suggestions, turn
from spiderwebd.core.attention import needs_attention
from spiderwebd.core.codes import Close, Code
from spiderwebd.core.effects import (
    Ask,
    Fetch,
    HangUp,
    Hold,
    Replay,
    Retell,
    Start,
    StartChat,
    StartTask,
    StopGoal,
    Watch,
)
from spiderwebd.core.frames import not_durable
from spiderwebd.core.protocol import SIGNALS, AnyFrame
from spiderwebd.core.records import GoalRecord, SessionRecord
from spiderwebd.core.state import State, Step
from spiderwebd.core.upkeep import keep_within_budget, tell_removal
from spiderwebd.session import chronicle
from spiderwebd.session.commits import Commits
from spiderwebd.session.errands import Errands
from spiderwebd.session.inbox import Inbox
from spiderwebd.session.intake import take_in
from spiderwebd.session.links import Links
from spiderwebd.session.ports import Client, House
from spiderwebd.session.running import Running
from spiderwebd.session.tally import LOOKED_UP, Tally
from spiderwebd.session.watching import Watching

MANAGER_REQUEST = "memory-manager"

Event = Callable[[Step], None]
"""What waits in the inbox: one of the core's functions with its arguments, applied by the loop."""

Acknowledge = Callable[[Step, int], list[str]]
"""(step, last committed seq) -> the rendered frames that open a link."""


class Session:
    """A life: made by the registry, run in its own nursery, outliving every link."""

    def __init__(
        self, state: State, house: House, *, taken_over: bool = False, new_row: SessionRecord | None = None
    ) -> None:
        """Prepare a session that stands on disk as `state` says.

        `taken_over`: what is open in it was accepted by an earlier run of the daemon. `new_row`: its row,
        when it has just been made and has nothing to go on with.
        """
        self.state = state
        self.house = house
        self.links = Links()
        self.committed = state.seq
        """Last seq that `_show` has handed out; never ahead of the store."""
        self.idle_since = house.clock.monotonic()
        """When something last happened (seconds, the clock's monotonic time)."""
        self.closing = False
        """Whether the loop ends as soon as nothing waits, runs or listens."""
        self.draining = False
        self.over = False
        """Whether the loop has ended: nothing that is put into the inbox is heard any more."""
        self.ended = trio.Event()
        """Set when the nursery is closed; the rows may be read by the next life."""
        self._inbox: Inbox[Event] = Inbox(house.inbox_limit)
        self._commits = Commits(house.writer, self._show, self.fail, new_row or state.record())
        # Its parts hold it weakly: an ended session is freed at once, and never waits for the collector,
        # which has been told to come rarely. They only work while `run` does, and that holds it.
        this: Session = weakref.proxy(self)
        self._errands = Errands(this)
        self.tally = Tally(house.metrics, state, taken_over=taken_over)
        """What it adds to the daemon's numbers."""
        state.count_share()
        house.unattended[state.key] = None
        self._running = Running(this)
        self._watching = Watching(this)
        self._ticking: set[str] = set()
        self._resting: trio.Event | None = None
        self._nursery: trio.Nursery | None = None
        self._new = new_row is not None
        self._stepping = False
        """Whether a step is being made: what it causes here and now waits for the loop."""

    @property
    def key(self) -> str:
        """The session key; a secret."""
        return self.state.key

    @property
    def quiet(self) -> bool:
        """Whether nothing waits, runs or listens, so that it may hibernate."""
        return self._idle and not self._commits.in_flight

    @property
    def _idle(self) -> bool:
        return not (self.links or self.state.busy or self._inbox or self._errands or self._running)

    async def run(self) -> None:
        """Live until told to close and quiet; cancelling is a crash as far as the rows are concerned."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if not self._new:
                    self._go_on(nursery)
                try:
                    await self._loop(nursery)
                finally:
                    self.over = True
                nursery.cancel_scope.cancel(reason="the session closes")
        finally:
            self._nursery = None
            self.state.share.set(0, 0)
            self.house.attentive.pop(self.key, None)
            self.house.unattended.pop(self.key, None)
            self.tally.close(self._ending_code, self._commits.requests_to_show)
            self._inbox.close()
            self._commits.close()
            self._stir()
            self.ended.set()

    def _go_on(self, nursery: trio.Nursery) -> None:
        """Take up what an earlier life left open."""
        for goal in self.state.goals.values():
            self._running.open_goal(nursery, goal.goal_id, goal.deadline_ms)
        self._inbox.put(goals.recover)
        if self.state.chats:
            self._inbox.put(turn.begin_chat)

    async def _loop(self, nursery: trio.Nursery) -> None:
        while True:
            step = self._step(await self._inbox.take())
            if not await self._commits.take(step) and self._commits.held == 1:
                nursery.start_soon(self._hand_over, name="hand over")
            self._stir()
            self._watching.notice(nursery)
            if self.closing and await self._may_close():
                return

    def _step(self, events: list[Event]) -> Step:
        state, clock = self.state, self.house.clock
        state.rules = self.house.rules
        step = Step(state, clock.wall_ms())
        state.degraded = self.house.stalled or self.house.writer.degraded is not None
        for event in events:
            event(step)
        step.finish()
        self.idle_since = clock.monotonic()
        self.house.metrics.inbox_wait_seconds.observe(self._inbox.waited)
        if needs_attention(state):
            self.house.attentive[state.key] = None
        else:
            self.house.attentive.pop(state.key, None)
        return step

    def _heed(self) -> None:
        """See to what was added to the inbox: here if the loop has nothing to do, else by the loop."""
        nursery = self._nursery
        if nursery is None or self._stepping or not (self._inbox.awaited and self._commits.free):
            self._inbox.wake()
            return
        self._stepping = True
        try:
            step = self._step(self._inbox.take_nowait())
            if not self._commits.take_nowait(step):
                nursery.start_soon(self._hand_over, name="hand over")
        except Exception as error:  # whoever brought the event is not to pay for it: the loop raises it
            self.fail(error)
        finally:
            self._stepping = False
        self._stir()
        self._watching.notice(nursery)

    async def _may_close(self) -> bool:
        """Whether nothing has come since the order to close, and the disk has all there is."""
        self.closing = False
        if not self._idle:
            return False
        # What changes without a record of its own (when the heartbeat last looked) is saved here.
        return await self._commits.save(self.state.record()) and self.quiet

    async def _hand_over(self) -> None:
        await self._commits.hand_over()
        self._stir()

    def put(self, event: Event) -> None:
        """Take in the result of something this session started."""
        self._inbox.add(event)
        self._heed()

    @property
    def has_mail(self) -> bool:
        """Whether something waits in the inbox."""
        return bool(self._inbox)

    @property
    def waiting(self) -> int:
        """How much waits in the inbox."""
        return len(self._inbox)

    @property
    def waiting_seconds(self) -> float:
        """How long the oldest in the inbox has waited."""
        return self._inbox.oldest_seconds

    # From links

    def receive(self, client: Client, frame: AnyFrame) -> bool:
        """Take one frame from a link; False when the inbox is full and the link must be told.

        Once `over`, nobody hears it: the link is being closed with the reason.
        """
        request = not isinstance(frame, SIGNALS)
        if self.over:
            self.house.metrics.requests_refused[self._ending_code] += request
            return True
        taken = self._inbox.offer(partial(self._from_link, client, frame, self.house.clock.monotonic()))
        if taken:
            if request:
                self.tally.came()
            self._heed()
        return taken

    @property
    def _ending_code(self) -> str:
        return (Code.DRAINING if self.draining else Code.INTERNAL).value

    async def room(self) -> None:
        """Wait until the inbox takes frames again; the caller owns the deadline."""
        await self._inbox.room()

    def _from_link(self, client: Client, frame: AnyFrame, since: float, step: Step) -> None:
        waited = self.house.clock.monotonic() - since
        take_in(
            self.house, step, client, frame, waited=waited, held=self._commits.held, draining=self.draining
        )

    def attach(self, client: Client, ack: Acknowledge, after: int | None) -> None:
        """Let a link take part: its ack first, then what it missed, then everything new.

        Once `over`, nobody would hear it: the next life has to be woken instead.
        """
        self.links.expect(client)
        self.house.unattended.pop(self.key, None)
        self._inbox.put(partial(self._attach, client, ack, after))

    def _attach(self, client: Client, ack: Acknowledge, after: int | None, step: Step) -> None:
        # Frames of this and of earlier steps are not shown yet; a link that starts at the committed
        # seq gets them like everybody else when they are.
        if self.links.join(client, self.committed) is None:
            return
        for text in ack(step, self.committed):
            client.send(text)
        if after is not None and self._nursery is not None:
            self._errands.start(self._nursery, Replay(client, after), asked=False)

    def detach(self, client: Client) -> None:
        """Forget a link; nothing is cancelled."""
        self.links.leave(client)
        self._watching.leave(client)
        self.idle_since = self.house.clock.monotonic()
        if not (self.links or self.over):
            self.house.unattended[self.key] = None

    # From sweeps and the registry

    def tick_heartbeat(self) -> None:
        """Let the heartbeat's timer look at the session."""
        self._tick("heartbeat", partial(suggestions.beat, request=suggestions.SWEEP_REQUEST, forced=False))

    def tick_memory_manager(self) -> None:
        """Let the memory manager look at the session."""
        self._tick("memory manager", partial(keep_within_budget, request=MANAGER_REQUEST, trigger="sweep"))

    def tick_deadlines(self) -> None:
        """Expire what has waited too long."""
        self._tick("deadlines", turn.expire_overdue)

    def _tick(self, name: str, event: Event) -> None:
        # A loop that waits for the disk must not find a hundred ticks when it comes back.
        if name in self._ticking or not self.house.writer.accepting:
            return
        self._ticking.add(name)
        self.put(partial(self._ticked, name, event))

    def _ticked(self, name: str, event: Event, step: Step) -> None:
        self._ticking.discard(name)
        event(step)

    def note_storage(self) -> None:
        """Let who watches know that the disk failed, or works again."""
        if self._watching:
            self._inbox.put(_nothing)

    def note_pruned(self, events: int) -> None:
        """Take in that this many of its oldest events have left the log."""
        self._inbox.put(partial(_pruned, events))

    def note_removed(self, kind: str, count: int) -> None:
        """Tell the links that retention took memories or archive markers away."""
        self._inbox.put(partial(tell_removal, kind=kind, count=count))

    def close(self) -> None:
        """End the loop if it still is quiet when it comes to look; else nothing happens."""
        self.closing = True
        self._inbox.put(_nothing)

    def drain(self) -> None:
        """Start no further work: the daemon stops."""
        self.draining = True
        self._inbox.put(_hold_dispatch)

    async def at_rest(self) -> None:
        """Return when a draining session has nothing running that would end by itself."""
        state = self.state
        while not self.over and (
            self._running.answering
            or self._inbox
            or self._commits.held
            or (state.active_tasks and state.mode == "running")
        ):
            self._resting = trio.Event()
            await self._resting.wait()

    def _stir(self) -> None:
        if self._resting is not None:
            self._resting.set()

    # After the commit

    def fail(self, error: BaseException) -> None:
        """Bring a fault that came outside of the loop to the session's wall."""
        self._inbox.put(partial(_raise, error))

    def _show(self, step: Step, durable: bool) -> None:
        self.tally.count(step)
        chronicle.tell(step)
        if len(step.outgoing) > 1:
            with self.links.joined():
                self._tell(step, durable)
        else:
            self._tell(step, durable)
        nursery = self._nursery
        if nursery is None or self.over:
            # The rows say what is open, and the next life goes on with it; queries have lost their link.
            for start in step.starts:
                if isinstance(start, LOOKED_UP):
                    self.tally.served()
            return
        for record in step.records:
            if isinstance(record, GoalRecord) and record.ended_ms is None:
                self._running.open_goal(nursery, record.goal_id, record.deadline_ms)
        for start in step.starts:
            self._start(nursery, start)

    def _tell(self, step: Step, durable: bool) -> None:
        links = self.links
        for out in step.outgoing:
            if out.link is not None:
                links.reply(out.link, out.text)
            else:
                self.committed = out.seq
                links.tell(out.seq, out.text if durable or not out.acknowledges else not_durable(out.text))

    def _start(self, nursery: trio.Nursery, start: Start) -> None:
        match start:
            case Ask() | Fetch() | Retell() | Replay():
                self._errands.start(nursery, start)
            case StartTask():
                self._running.start_task(start)
            case StartChat():
                self._running.start_chat(nursery, start.chat)
            case StopGoal():
                self._running.stop_goal(start)
            case Hold():
                self._running.hold(start.closed)
            case Watch():
                if self.links.get(start.link) is not None:
                    self._watching.change(start)
                    self._watching.notice(nursery)
            case HangUp():
                if self.links.get(start.link) is not None:
                    start.link.close(Close.NORMAL, "bye")


def _nothing(step: Step) -> None:
    """Wake the loop."""


def _raise(error: BaseException, step: Step) -> None:
    raise error


def _pruned(events: int, step: Step) -> None:
    step.state.first_seq += events


def _hold_dispatch(step: Step) -> None:
    step.state.draining = True
