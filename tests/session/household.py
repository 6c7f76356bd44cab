"""A registry over a real SQLite file, with listeners in place of links; for tests of the session room.

With the default runner everything runs inline, so that the clock of the test is the only one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from typing_extensions import override

from spiderwebd.clock import Clock, SteppedClock
from spiderwebd.core.codes import Close
from spiderwebd.core.effects import Ask, StartTask
from spiderwebd.core.outcome import Outcome, complete
from spiderwebd.core.pending import Chat
from spiderwebd.core.protocol import parse
from spiderwebd.core.state import Rules, State
from spiderwebd.metrics import Metrics
from spiderwebd.session.agents import AgentFolder
from spiderwebd.session.desk import HouseDesk
from spiderwebd.session.personas import Personas
from spiderwebd.session.ports import Desk, House
from spiderwebd.session.registry import Registry, fresh_id
from spiderwebd.session.session import Session
from spiderwebd.store.committer import Committer, Report
from spiderwebd.store.reading import ReadPool
from spiderwebd.store.runner import Deliver, Ended, InlineRunner, Runner
from spiderwebd.store.store import Store, open_store
from spiderwebd.work.blocking import run_inline
from spiderwebd.work.documents import DocumentFolders
from spiderwebd.work.gate import Gate
from spiderwebd.work.progress import Progress
from spiderwebd.work.slots import FairSlots

PATIENCE = 20.0
"""Seconds after which a frame that never came fails the test."""

UNNUMBERED = ("session.ack", "session.gap")
"""Frames whose seq says where the session stands; it is not their own."""

Frame = dict[str, Any]


class LateRunner(InlineRunner):
    """Commits at once, but while held says nothing of it: what is on disk has not been shown yet."""

    def __init__(self) -> None:
        super().__init__()
        self.held = False
        self._reports: list[Report] = []
        self._tell: Deliver = lambda report: None

    @override
    async def start(self, committer: Committer, pool: ReadPool, deliver: Deliver, ended: Ended) -> None:
        self._tell = deliver
        await super().start(committer, pool, self._keep, ended)

    def _keep(self, report: Report) -> None:
        if self.held:
            self._reports.append(report)
        else:
            self._tell(report)

    def release(self) -> None:
        """Report what was held back, in order, and hold nothing from now on."""
        self.held = False
        while self._reports:
            self._tell(self._reports.pop(0))


class Listener:
    """What a session takes for a link: keeps what it hears and how it was closed."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.closed: tuple[Close, str] | None = None
        self.deaf = False
        """Set to refuse frames, as a link does that is ending."""
        self.writes: list[int] = []
        """How many frames went out together, write by write."""
        self._holds = 0
        self._held = 0
        self.undrained: trio.Event | None = None
        """Set to an event to hold back whoever waits for this link to have written everything."""
        self.session: Session | None = None
        self._heard = trio.Event()

    def send(self, text: str) -> bool:
        """Keep one frame."""
        if self.deaf:
            return False
        self.frames.append(json.loads(text))
        self._held += 1
        self._write()
        self._heard.set()
        self._heard = trio.Event()
        return True

    def hold(self) -> None:
        """Let frames wait for `release`."""
        self._holds += 1

    def release(self) -> None:
        """Note what was held as one write."""
        self._holds -= 1
        self._write()

    def _write(self) -> None:
        if self._held and not self._holds:
            self.writes.append(self._held)
            self._held = 0

    def close(self, code: Close, reason: str) -> None:
        """Keep the first close."""
        self.closed = self.closed or (code, reason)
        self._heard.set()

    async def drained(self) -> bool:
        """Come back at once, or when the test lets go."""
        await trio.lowlevel.checkpoint()
        if self.undrained is not None:
            await self.undrained.wait()
        return not self.deaf

    def say(self, kind: str, /, **fields: object) -> None:
        """Send a client frame to the session; it must find room in the inbox."""
        assert self.session is not None
        assert self.session.receive(self, parse(json.dumps({"type": kind, **fields})))

    async def until(self, found: Callable[[Frame], bool], start: int = 0, seconds: float = PATIENCE) -> Frame:
        """Return the first frame from position `start` on for which `found` holds, as soon as it is here."""
        with trio.fail_after(seconds):
            while True:
                for frame in self.frames[start:]:
                    if found(frame):
                        return frame
                assert self.closed is None, f"closed while waiting: {self.closed}"
                await self._heard.wait()

    async def ask(self, kind: str, /, **fields: object) -> Frame:
        """Send a client frame and return the first frame that comes behind it."""
        start = len(self.frames)
        self.say(kind, **fields)
        return await self.until(lambda frame: True, start)

    async def answer(self, kind: str, request: str, **fields: object) -> Frame:
        """Send a chat or goal with this id and return the session.receive that answers it."""
        self.say(kind, id=request, **fields)
        return await self.until(lambda f: f["type"] == "session.receive" and f["request"] == request)

    async def until_closed(self) -> tuple[Close, str]:
        """Return how the session closed this link, as soon as it has."""
        with trio.fail_after(PATIENCE):
            while self.closed is None:
                await self._heard.wait()
        return self.closed

    async def until_seq(self, seq: int) -> Frame:
        """Return the journalled frame with this seq, as soon as it is here."""
        return await self.until(lambda frame: frame["type"] not in UNNUMBERED and frame.get("seq") == seq)

    @property
    def seqs(self) -> list[int]:
        """The seqs of the journalled frames heard, in order."""
        return [frame["seq"] for frame in self.frames if "seq" in frame and frame["type"] not in UNNUMBERED]

    def of_type(self, kind: str) -> list[Frame]:
        """The frames heard of one type."""
        return [frame for frame in self.frames if frame["type"] == kind]


class HeldDesk:
    """A desk whose answers and tasks wait until the test lets them go; `fault` is raised instead."""

    def __init__(self) -> None:
        self.go = trio.Event()
        self.fault: Exception | None = None
        self.asked: list[str] = []
        self.progress: dict[str, Progress] = {}
        """Where each task says how far it is, by title."""

    async def answer(self, state: State, chat: Chat) -> str:
        """Answer with the message."""
        await self._wait(chat.text)
        return f"answer to {chat.text}"

    async def carry_out(
        self,
        state: State,
        task: StartTask,
        gate: Gate,
        began: Callable[[float], None],
        progress: Progress,
    ) -> Outcome:
        """Complete the task."""
        began(0.0)
        self.progress[task.title] = progress
        await self._wait(task.title)
        await gate.wait()
        return complete(f"did {task.title}")

    async def look_up(self, state: State, ask: Ask) -> list[str]:
        """Answer every query alike."""
        await self._wait(ask.frame.type)
        return [json.dumps({"type": ask.frame.type, "request": ask.request})]

    async def _wait(self, name: str) -> None:
        self.asked.append(name)
        await self.go.wait()
        if self.fault is not None:
            raise self.fault


@dataclass
class Household:
    """A running registry, and what its walls caught."""

    registry: Registry
    store: Store
    metrics: Metrics
    faults: list[tuple[str, BaseException, str]] = field(default_factory=list)

    @property
    def house(self) -> House:
        """What the sessions share."""
        return self.registry.house

    async def attach(
        self,
        key: str | None = None,
        after: int | None = None,
        *,
        principal: str = "ann",
        agent: str = "default",
        listener: Listener | None = None,
    ) -> Listener:
        """Attach a new listener and wait for its session.ack."""
        listener = listener or Listener()
        listener.session = await self.registry.attach(principal, agent, key, after, listener)
        await listener.until(lambda frame: frame["type"] == "session.ack")
        return listener

    async def asleep(self, key: str) -> None:
        """Wait until the session with this key no longer is awake."""
        with trio.fail_after(PATIENCE):
            while (session := self.registry.awake.get(key)) is not None:
                await session.ended.wait()


def key_of(listener: Listener) -> str:
    """Return the key that session.ack told."""
    key: str = listener.of_type("session.ack")[0]["sessionKey"]
    return key


@asynccontextmanager
async def open_household(
    folder: Path,
    *,
    rules: Rules | None = None,
    desk: Desk | None = None,
    clock: Clock | None = None,
    runner: Runner | None = None,
    limit: int = 100,
    hibernate_seconds: float = 60.0,
    inbox_limit: int = 64,
    inbox_seconds: float = PATIENCE,
    query_limit: int = 16,
    task_seconds: float = 60.0,
    **options: Any,
) -> AsyncIterator[Household]:
    """Run a registry on the database in `folder`; `options` go to the store's writer."""
    faults: list[tuple[str, BaseException, str]] = []
    clock = clock or SteppedClock()
    metrics = Metrics()

    def on_fault(where: str, error: BaseException, key: str) -> None:
        faults.append((where, error, key))
        metrics.faults[where] += 1

    async with open_store(folder / "spiderwebd.db", runner or InlineRunner(), **options) as store:
        agents = AgentFolder(folder / "agents")
        house = House(
            writer=store.writer,
            reader=store.reader,
            clock=clock,
            rules=rules or Rules(),
            desk=desk
            or HouseDesk(
                reader=store.reader,
                writer=store.writer,
                agents=agents,
                files_root=folder / "files",
                documents=DocumentFolders(()),
                blocking=run_inline,
                slots=FairSlots(8),
                task_seconds=lambda: task_seconds,
                on_fault=on_fault,
            ),
            personas=Personas(agents, run_inline, lambda agent, message: None, clock),
            on_fault=on_fault,
            fresh_id=fresh_id,
            announced_limits={},
            inbox_limit=inbox_limit,
            inbox_seconds=inbox_seconds,
            query_limit=query_limit,
            metrics=metrics,
        )
        registry = Registry(house, limit, hibernate_seconds)
        async with trio.open_nursery() as nursery:
            await nursery.start(registry.run)
            yield Household(registry, store, metrics, faults)
            nursery.cancel_scope.cancel()
