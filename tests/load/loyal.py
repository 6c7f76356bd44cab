"""A client that keeps its session busy and comes back whatever happens, holding the daemon to its word.

What it had no answer to it sends again under the same id, and its story is one: every journalled frame
comes once, in order, without a gap, over however many links.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import trio

from tests.bench.latency import Latencies
from tests.bench.peer import EndedError, Frame, Peer, ShedError, Target

UNDER_WAY = 8
"""Requests without an end; more than the queues of a session take together, so that some are refused."""
OUTCOMES = ("failed", "cancelled", "expired")
UNNUMBERED = ("session.ack", "session.gap")
RETURN_SECONDS = 0.1
PAUSE_SECONDS = 0.02
"""Between the end of a request and the next: who is refused does not ask again at once."""
GOAL = "/goal find tea; remember that tea {n} is green; find tea in files; report status"


@dataclass(slots=True)
class Request:
    """One request without its end."""

    frame: Frame
    at: float
    accepted: bool = False


@dataclass(slots=True)
class Account:
    """What all clients of a test were told."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """What must never happen, in words."""
    undurable: int = 0
    """Acceptances that said durable:false."""
    shed: Counter[str] = field(default_factory=Counter)
    """Why links were not let in, or ended."""
    attached: Counter[bool] = field(default_factory=Counter)
    """By whether the session was restored."""


@dataclass(slots=True)
class Loyal:
    """One session; `run` lives until cancelled, `ask` says whether new requests are made."""

    target: Target
    number: int
    account: Account
    key: str | None = None
    story: list[Frame] = field(default_factory=list)
    """Journalled frames in order; the seq of each is its place, from 1."""
    open: dict[str, Request] = field(default_factory=dict)
    peer: Peer | None = None
    ask: bool = True
    moved: trio.Event = field(default_factory=trio.Event)
    """Set, and replaced, whenever a request ends."""
    _ids: Iterator[int] = field(default_factory=itertools.count)
    _random: Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = Random(self.number)

    async def run(self) -> None:
        """Attach, ask, and come back."""
        while True:
            try:
                await self._visit()
            except ShedError as shed:
                self.account.shed[str(shed)] += 1
                await trio.sleep(shed.seconds)  # as the daemon asked
            except (EndedError, OSError, trio.TooSlowError) as end:
                self.account.shed[str(end) or type(end).__name__] += 1
                await trio.sleep(RETURN_SECONDS)  # as a good client waits before it reconnects

    async def _visit(self) -> None:
        after = None if self.key is None else len(self.story)
        peer = await Peer.open(self.target, self.key, after)
        ended: EndedError | None = None
        try:
            self.account.attached[peer.ack["restored"]] += 1
            if self.key is not None and peer.ack["sessionKey"] != self.key:
                self.account.wrong.append(f"client {self.number} was given another session")
            self.key, self.peer = peer.ack["sessionKey"], peer
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._talk, peer)
                while True:
                    self._hear(await peer.receive())
        except* EndedError as ends:
            ended = next(end for end in ends.exceptions if isinstance(end, EndedError))
        finally:
            self.peer = None
            await trio.aclose_forcefully(peer.stream)
        if ended is not None:
            raise ended

    async def _talk(self, peer: Peer) -> None:
        # What had no answer is asked again: done once, whatever became of it the first time.
        if self.open:
            await peer.send(*(request.frame for request in self.open.values()))
        while True:
            if self.ask and len(self.open) < UNDER_WAY:
                fresh = [self._request() for _ in range(UNDER_WAY - len(self.open))]
                for frame in fresh:
                    self.open[frame["id"]] = Request(frame, trio.current_time())
                await peer.send(*fresh)
            await self.moved.wait()
            await trio.sleep(PAUSE_SECONDS)  # sets the pace: this client is polite

    def _request(self) -> Frame:
        name = f"r{self.number}-{next(self._ids)}"
        match self._random.choices(("chat", "goal", "create", "query"), (4, 3, 2, 1))[0]:
            case "chat":
                return {"type": "chat.send", "id": name, "content": f"where is the tea of {name}?"}
            case "goal":
                return {"type": "chat.send", "id": name, "content": GOAL.format(n=name)}
            case "create":
                return {"type": "memory.create", "id": name, "content": f"the tea of {name} is green"}
            case _:
                return {"type": "memory.query", "id": name, "topic": "tea", "limit": 3}

    def _hear(self, frame: Frame) -> None:
        seq = frame.get("seq") if frame["type"] not in UNNUMBERED else None
        if frame["type"] == "session.gap":
            self.account.wrong.append(f"client {self.number} was told of a gap: {frame}")
        if seq is not None and not self._numbered(seq, frame):
            return
        name = frame.get("request")
        request = self.open.get(name) if isinstance(name, str) else None
        if request is None or not isinstance(name, str):
            return
        match frame["type"]:
            case "session.accepted":
                if not request.accepted:
                    self.account.accepted += 1
                    self.account.undurable += frame.get("durable") is False
                request.accepted = True
                if request.frame["type"] != "memory.create":
                    return
            case "error":
                if request.accepted and frame["code"] != "task_failed":
                    self.account.wrong.append(f"{name} was accepted and then refused: {frame}")
                self.account.refused[frame["code"]] += 1
            case "session.receive":
                self.account.outcomes["answered"] += 1
            case "agent.progress" if frame["phase"] == "execution" and frame["status"] in OUTCOMES:
                self.account.outcomes[frame["status"]] += 1
            case "memory.query":
                pass
            case _:
                return
        del self.open[name]
        self.moved.set()
        self.moved = trio.Event()

    def _numbered(self, seq: int, frame: Frame) -> bool:
        """Take in a journalled frame; False when it is known and says nothing new."""
        known = {name: value for name, value in frame.items() if name != "durable"}
        if seq <= len(self.story):
            # A retold answer has the seq that it had.
            if self.story[seq - 1] != known:
                self.account.wrong.append(f"client {self.number}: seq {seq} was told twice, differently")
            return frame.get("request") in self.open
        if seq != len(self.story) + 1:
            self.account.wrong.append(f"client {self.number}: seq {seq} came after {len(self.story)}")
        self.story.append(known)
        return True


@dataclass(slots=True)
class Bystander:
    """One link beside the load that asks for its state and pings, and watches; what it heard, and when."""

    target: Target
    period: float = 0.1
    pings: Latencies = field(default_factory=Latencies)
    slowest_ping: float = 0.0
    states: list[Frame] = field(default_factory=list)
    """What the watch told."""

    @property
    def lifecycles(self) -> list[str]:
        """The words of the watch, repetitions left out."""
        return [word for word, _ in itertools.groupby(state["lifecycle"] for state in self.states)]

    async def run(self) -> None:
        """Ask until cancelled or the link ends."""
        peer = await Peer.open(self.target)
        sent: dict[str, float] = {}

        async def hear() -> None:
            while True:
                frame = await peer.receive()
                if frame["type"] == "pong":
                    seconds = trio.current_time() - sent.pop(frame["request"])
                    self.pings.add(seconds)
                    self.slowest_ping = max(self.slowest_ping, seconds)
                elif frame["type"] == "agent.state":
                    self.states.append(frame)

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hear)
                await peer.send({"type": "agent.control", "id": "watch", "action": "watch"})
                for number in itertools.count():
                    name = f"p{number}"
                    sent[name] = trio.current_time()
                    await peer.send({"type": "ping", "id": name})
                    await trio.sleep(self.period)  # sets the pace of its pings
        finally:
            await trio.aclose_forcefully(peer.stream)
