"""One client of the crash rounds: mixed traffic, and a memory of everything that was acknowledged."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic

from spiderwebd.client.connection import Connection, Frame
from spiderwebd.client.discovery import Place
from spiderwebd.client.errors import ClientError, DeadlineError
from spiderwebd.client.stream import seq_of

OUTSTANDING = 4
"""Requests without an answer at most."""
ANSWER_SECONDS = 20.0
ENDED = ("complete", "failed", "blocked", "cancelled", "expired")
APPENDED = "log.txt"
PAUSE_SECONDS = 0.01
"""Between two requests of one client, about."""
SETTLE_SECONDS = 60.0
"""For everything that was accepted to come to its end, on a busy machine."""
AT_REST = ("idle", "blocked")
"""Words of agent.state for a session in which nothing is open."""
NO_ANSWER = ("failed", "cancelled", "expired")
"""How a message may end without session.receive: agent.progress of phase execution says so."""
REFUSALS = (
    "queue_full",
    "draining",
    "storage_unavailable",
    "memory_unknown",
    "memory_forgotten",
    "rate_limited",
)


class Broken(AssertionError):
    """A promise was broken; the message says which, to whom and where."""


@dataclass
class Client:
    """One session over all rounds; what it was told it holds against the daemon."""

    number: int
    chance: random.Random
    key: str | None = None
    frames: dict[int, Frame] = field(default_factory=dict)
    """Every journalled frame it was ever sent, by seq."""
    created: dict[str, str] = field(default_factory=dict)
    """Request id to text of every memory, message and goal ever sent; no two texts are the same."""
    memories: dict[int, set[str]] = field(default_factory=dict)
    """Acknowledged memory to the texts that it may have now: the last one acknowledged, and later tries."""
    updates: dict[str, tuple[int, str]] = field(default_factory=dict)
    revised: dict[int, int] = field(default_factory=dict)
    """Memory to the number of the last update of it that was acknowledged."""
    remembered: dict[str, str] = field(default_factory=dict)
    """Request id of a goal to the text that its first task is to remember, once."""
    appended: dict[str, str] = field(default_factory=dict)
    """The same for the line that its first task is to append to a file."""
    asked: set[str] = field(default_factory=set)
    """Ids of chats and goals: each is to be answered once."""
    retries: int = 0
    pending: dict[str, Frame] = field(default_factory=dict)
    """Requests sent and not answered."""
    done: list[Frame] = field(default_factory=list)
    """Acknowledged requests, for sending again."""
    undurable: set[int] = field(default_factory=set)
    """Seqs that were acknowledged with durable:false."""
    accepted: dict[str, int] = field(default_factory=dict)
    """Request id to the seq of its session.accepted."""
    refusals: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    last: int = 0
    """The highest seq it was sent, in order."""
    failure: Exception | None = None

    def run(self, place: Place, stop: threading.Event) -> None:
        """Attach, catch up and make traffic until the link breaks or `stop` is set."""
        try:
            self._live(place, stop)
        except ClientError:
            pass  # the daemon was killed: what this test is about
        except Exception as error:
            self.failure = error

    def _live(self, place: Place, stop: threading.Event) -> None:
        after = self.last if self.key is not None else None
        with Connection.open(place, session=self.key, after=after) as link:
            ack = self._next(link)
            if ack["type"] == "error" and ack["code"] == "draining":
                return
            if ack["type"] != "session.ack":
                raise Broken(f"client {self.number}: the first frame is {ack}")
            if self.key is not None and ack["sessionKey"] != self.key:
                raise Broken(f"client {self.number}: its session is gone")
            if ack["seq"] < self.last - len(self.undurable):
                raise Broken(
                    f"client {self.number}: was sent seq {self.last}, now the session is at {ack['seq']}"
                )
            self.key = ack["sessionKey"]
            for request, frame in list(self.pending.items()):
                # Unanswered before the crash: the same id again, which is done once whatever became of it.
                link.send({**frame, "id": request})
            while not stop.is_set():
                if len(self.pending) < OUTSTANDING:
                    self._send(link)
                self._drain(link, stop)

    def _next(self, link: Connection) -> Frame:
        frame = link.receive(ANSWER_SECONDS)
        assert frame is not None
        self._take(frame)
        return frame

    def _drain(self, link: Connection, stop: threading.Event) -> None:
        """Read what is there; wait when too much is unanswered."""
        deadline = monotonic() + ANSWER_SECONDS
        while not stop.is_set():
            try:
                frame = link.receive(PAUSE_SECONDS if len(self.pending) < OUTSTANDING else 0.05)
            except DeadlineError:
                if len(self.pending) < OUTSTANDING:
                    return
                if monotonic() > deadline:
                    raise Broken(
                        f"client {self.number}: no answer to {list(self.pending.values())}"
                    ) from None
                continue
            assert frame is not None
            self._take(frame)

    def _send(self, link: Connection) -> None:
        self.sent += 1
        request = f"c{self.number}-{self.sent}"
        roll = self.chance.random()
        frame: Frame
        if roll < 0.25:
            self.created[request] = f"message {request}"
            self.asked.add(request)
            frame = {"type": "chat.send", "content": f"message {request}"}
        elif roll < 0.55:
            text = f"memory {request} " + "word " * self.chance.randint(0, 60)
            self.created[request] = text
            frame = {"type": "memory.create", "content": text}
        elif roll < 0.65 and self.memories:
            memory = self.chance.choice(list(self.memories))
            text = f"revised {request}"
            self.updates[request] = (memory, text)
            self.memories[memory].add(text)
            frame = {"type": "memory.update", "memoryId": memory, "content": text}
        elif roll < 0.70:
            frame = {"type": "memory.evict"}
        elif roll < 0.80:
            frame = {"type": "chat.send", "content": f"/goal {self._goal(request)}"}
        elif roll < 0.82:
            frame = {"type": "session.reset", "reason": "a crash test"}
        elif roll < 0.92 and self.done:
            # A retry by an impatient client: the same id, the same payload.
            link.send(self.chance.choice(self.done))
            self.retries += 1
            return
        elif roll < 0.94:
            link.send({"type": "agent.control", "action": "pause"})
            link.send({"type": "agent.control", "action": "resume"})
            return
        else:
            link.send({"type": "memory.recall", "limit": 5})
            return
        self.pending[request] = frame
        link.send({**frame, "id": request})

    def _goal(self, request: str) -> str:
        """Two tasks whose first has an effect that can be counted."""
        self.asked.add(request)
        if self.chance.random() < 0.5:
            self.remembered[request] = f"{request} is noted"
            goal = f"remember that {request} is noted; report status"
        else:
            self.appended[request] = f"line of {request}"
            goal = f"append to {APPENDED}: line of {request}; search memories for {request}"
        self.created[request] = goal
        return goal

    def _take(self, frame: Frame) -> None:
        seq = seq_of(frame)
        if seq is not None:
            self._journalled(seq, frame)
        request = frame.get("request")
        if not isinstance(request, str) or request not in self.pending:
            return
        asked = self.pending[request]
        if frame["type"] == "error":
            self._refused(request, frame)
        elif frame["type"] in (asked["type"], "session.accepted", "session.reset"):
            self._answered(request, asked, frame, seq)

    def _refused(self, request: str, frame: Frame) -> None:
        code = str(frame["code"])
        if code not in REFUSALS:
            raise Broken(f"client {self.number}: {self.pending[request]} was answered {frame}")
        self.refusals[code] = self.refusals.get(code, 0) + 1
        del self.pending[request]
        for texts in (self.created, self.remembered, self.appended, self.updates):
            texts.pop(request, None)

    def _answered(self, request: str, asked: Frame, frame: Frame, seq: int | None) -> None:
        del self.pending[request]
        self.done.append({**asked, "id": request})
        if frame["type"] == "session.accepted" and seq is not None:
            self.accepted[request] = seq
            self.memories[frame["memoryId"]] = {self.created[request]}
        elif asked["type"] == "memory.update":
            memory, _ = self.updates[request]
            self.revised[memory] = max(self.revised.get(memory, 0), self._order(request))
            # Repeats are answered in any order; what was asked for last is what stands.
            self.memories[memory] = {
                tried
                for other, (same, tried) in self.updates.items()
                if same == memory and self._order(other) >= self.revised[memory]
            }

    @staticmethod
    def _order(request: str) -> int:
        return int(request.partition("-")[2])

    def _journalled(self, seq: int, frame: Frame) -> None:
        known = self.frames.get(seq)
        plain = {name: value for name, value in frame.items() if name != "durable"}
        if frame.get("durable") is False:
            self.undurable.add(seq)
        if known is None:
            self.frames[seq] = plain
            if seq != self.last + 1:
                raise Broken(f"client {self.number}: seq {seq} came after {self.last}")
            self.last = seq
        elif known != plain:
            raise Broken(f"client {self.number}: seq {seq} was {known} and is {plain}")

    def outcomes(self) -> Counter[str]:
        """How many outcomes each request was told: an answer, or that there will be none."""
        return Counter(
            frame["request"]
            for frame in self.frames.values()
            if frame["type"] == "session.receive"
            or (
                frame["type"] == "agent.progress"
                and frame["phase"] == "execution"
                and frame["status"] in NO_ANSWER
                and "goalId" not in frame
            )
        )

    def settle(self, place: Place) -> None:
        """Resume, and listen until nothing is open and all was heard. Raises Broken when that never comes."""
        deadline = monotonic() + SETTLE_SECONDS
        with Connection.open(place, session=self.key, after=self.last) as link:
            self.key = str(self._next(link)["sessionKey"])
            for request, frame in list(self.pending.items()):
                link.send({**frame, "id": request})
            link.send({"type": "agent.control", "action": "resume"})
            lifecycle = ""
            while self.pending or lifecycle not in AT_REST:
                link.send({"type": "agent.control", "action": "state", "id": "settle"})
                while (frame := self._next(link)).get("request") != "settle":
                    pass
                lifecycle = frame["lifecycle"]
                if monotonic() > deadline:
                    raise Broken(f"client {self.number}: still {frame}, without an answer: {self.pending}")
                self._listen(link, 0.1)
        # A state is told ahead of a replay that is under way; the end of the story is known to a new link.
        with Connection.open(place, session=self.key, after=self.last) as link:
            end = self._next(link)["seq"]
            while self.last < end:
                self._next(link)

    def _listen(self, link: Connection, seconds: float) -> None:
        deadline = monotonic() + seconds
        try:
            while (frame := link.receive(max(0.0, deadline - monotonic()))) is not None:
                self._take(frame)
        except DeadlineError:
            return

    def task_ends(self) -> dict[tuple[str, int], str]:
        """The ends of tasks that it was told: (request of the goal, task) to state."""
        return {
            (frame["request"], frame["taskId"]): frame["status"]
            for frame in self.frames.values()
            if frame["type"] == "agent.status" and frame.get("status") in ENDED and "taskId" in frame
        }


def drive(clients: list[Client], place: Place, stop: threading.Event) -> list[threading.Thread]:
    """Start all clients, a thread each."""
    threads = [
        threading.Thread(target=client.run, args=(place, stop), name=f"client {client.number}", daemon=True)
        for client in clients
    ]
    for thread in threads:
        thread.start()
    return threads


def rest(clients: list[Client], threads: list[threading.Thread], stop: threading.Event) -> None:
    """End the traffic; raise what a client found broken."""
    stop.set()
    for thread in threads:
        thread.join(3 * ANSWER_SECONDS)
        if thread.is_alive():
            raise Broken(f"{thread.name} does not end")
    for client in clients:
        if client.failure is not None:
            raise client.failure


def settle(clients: list[Client], place: Place) -> None:
    """Let all sessions come to rest while their clients listen; raise what one found broken."""
    for client in clients:
        try:
            client.settle(place)
        except ClientError as error:
            raise Broken(f"client {client.number}: {error}") from error
