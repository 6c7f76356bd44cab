"""Sustained saturation of a real daemon: more than it can carry, from clients of every temper.

`make soak` runs `python -m tests.bench.saturation` for ten minutes; `--seconds N` and `--storm N` make
it short. Parts, each checked to the last request:

0. its database is filled, so that its page caches are full and what grows later is none of theirs;
1. work: every worker is busy with goals, and messages fill working memories, which are compacted;
2. load: sessions that send pings, messages, goals and memory queries, some in floods beyond their queues;
3. hostility, beside the load: readers that are slow or stop, links that go silent or vanish, heads a byte
   at a time, giant frames;
4. a storm: all links drop, and many more reconnect at once; every one is attached and resumes exactly.

The daemon has one core to itself (as far as others leave it), the load the rest. A bystander in a process of
its own asks for state and pings all the while, and the yardstick's echo beside them, on the daemon's core.
It prints what was measured, and ends with 1 when something did not hold.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from statistics import median

import trio

from spiderwebd.client.accounting import Accounts
from spiderwebd.client.health import accounts, metrics
from spiderwebd.store.store import DATABASE
from tests.bench import bystander, proc
from tests.bench.ledger import Ledger
from tests.bench.load import raise_descriptor_limit
from tests.bench.peer import EndedError, Frame, Peer, ShedError, Target, open_patiently
from tests.bench.servers import echo_server
from tests.flows.daemon_process import DaemonProcess

SETTINGS = {
    "workers.total": 4,
    "workers.chat_seconds": 60,
    "workers.queue_seconds": 60,
    "limits.chats_queued": 16,
    "limits.goals_queued": 4,
    "limits.goals_total": 48,
    "limits.tasks_total": 120,
    "limits.inbox_seconds": 1,
    "limits.write_seconds": 2,
    "limits.outbox_bytes": 262_144,
    "sessions.hibernate_seconds": 2,
    "heartbeat.enabled": False,
}
"""Small queues, so that every bound is met within seconds; everything else as installed."""

FILLING = 32
FILLED = 640
"""Sessions that fill the database, and memories of each: 20 MB of text, where the caches hold 32."""
WORKING = 16
"""Sessions of the first part: with two goals each there is always one that waits for a worker."""
BESIDE_SECONDS = 0.020
"""Issue 5: what state and ping take at p99 while every worker is busy and memory is compacted."""
Make = Callable[[Random, int], Frame]
"""Makes a session's next request and notes it in the ledger."""

GOAL = "/goal find tea; remember that tea {n} is green; report status"
SETTLE_SECONDS = 120.0
"""In which everything accepted must have its outcome once nobody sends any more."""
STORM_SECONDS = 30.0
"""Issue 5: in which a storm of reconnects must be attached."""
MEMORY_RATIO = 1.10
"""Of the resident memory in the last part of the first hostile load: what it may be in that of the second."""
MEMORY_PART = 0.2
"""Of a load: the part in whose median memory is read, so that no moment's garbage decides."""
SHORT_LOAD_SECONDS = 60.0
"""Below this a run says nothing about memory: caches still fill, and nothing may be there to compact."""
FAIRNESS_RATIO = 4.0
"""Longest over median of what the goals of equal sessions took."""


@dataclass(slots=True)
class Report:
    """What was measured, and what did not hold."""

    lines: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Targets of time: they end the program with 1, and never a test."""
    tell: Callable[[str], None] = lambda line: None
    """Called with each line as it comes: what was measured must outlast a later part that fails."""

    def say(self, line: str) -> None:
        """Add a line to the report."""
        self.lines.append(line)
        self.tell(line)

    def check(self, holds: bool, failure: str) -> None:
        """Note a failure unless it holds."""
        if not holds:
            self.failures.append(failure)

    def target(self, holds: bool, missed: str) -> None:
        """Note a target that was missed unless it holds."""
        if not holds:
            self.missed.append(missed)


@dataclass(slots=True)
class Run:
    """One run against one daemon."""

    daemon: DaemonProcess
    sessions: int
    seconds: float
    storm: int
    seed: int = 5
    report: Report = field(default_factory=Report)
    ledger: Ledger = field(default_factory=Ledger)
    echo: str = ""
    """host:port of the yardstick."""
    beside_work: bystander.Seen = field(default_factory=bystander.Seen)
    """What one link saw that asks for its state and pings while all workers work."""
    beside: bystander.Seen = field(default_factory=bystander.Seen)
    """What one link saw that asks for its state and pings while all others press."""
    tasks: float = 0.0
    """Tasks of the daemon's loop before anybody came."""
    memory: float = 0.0
    """Resident memory in the last part of the last load."""
    awake: float = 0.0
    """Sessions that were awake then."""
    compactions: int = 0
    """Frames that told of one."""
    filling: int = 0
    """Sessions that filled the database, each time they came."""
    visits: int = 0
    """Bystanders so far."""
    ends: Counter[str] = field(default_factory=Counter)
    """How hostile links ended."""
    _ids: Iterator[int] = field(default_factory=itertools.count)

    @property
    def target(self) -> Target:
        """Where the daemon is."""
        host, _, port = self.daemon.listen.rpartition(":")
        return Target(host, int(port), self.daemon.token)

    def accounts(self) -> Accounts:
        """Ask the daemon for its sums."""
        found = accounts(self.daemon.place, 20.0)
        assert found is not None
        return found

    async def main(self) -> Report:
        """Run all parts; the daemon must be ready."""
        self.tasks = self.gauges("loop_tasks")["loop_tasks"]
        if self.seconds >= SHORT_LOAD_SECONDS:
            await self._fill()
        await self._work(self.seconds * 0.1)
        await self._check_sums(exact=True)
        await self._load(hostile=False, seconds=self.seconds * 0.3)
        await self._check_sums(exact=True)
        descriptors = self._descriptors()  # the readers of the database are open by now
        await self._load(hostile=True, seconds=self.seconds * 0.3)
        await self._check_sums(exact=False)
        memory, awake = self.memory, self.awake
        await self._load(hostile=True, seconds=self.seconds * 0.3)
        await self._check_sums(exact=False)
        grown = self.memory / memory
        self.report.say(
            f"memory: {memory / 2**20:.1f} MiB and {awake:.0f} sessions awake under hostile load, "
            f"x{grown:.3f} and {self.awake:.0f} after as much of it again"
        )
        self.report.check(
            self.seconds < SHORT_LOAD_SECONDS or grown <= MEMORY_RATIO, f"memory grew by {grown:.3f}"
        )
        await self._storm()
        with trio.move_on_after(SETTLE_SECONDS):
            while self._descriptors() > descriptors:  # noqa: ASYNC110 - the kernel tells nobody
                await trio.sleep(0.1)
        left = self._descriptors() - descriptors
        self.report.check(left <= 0, f"{left} descriptors are still open")
        await self._all_at_rest()
        self._figures()
        return self.report

    def _descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.daemon.pid}/fd"))

    # Load

    async def _fill(self) -> None:
        """Keep many memories and search among them; how long that takes is nobody's promise."""
        words = [f"{syllable}{number}" for number in range(500) for syllable in ("ta", "ke", "mo", "ri")]

        def memory(random: Random, number: int) -> Frame:
            request = f"f{number}-{next(self._ids)}"
            self.ledger.send(request, "create", -1, trio.current_time(), "create to fill")
            return {"type": "memory.create", "id": request, "content": " ".join(random.choices(words, k=160))}

        def query(random: Random, number: int) -> Frame:
            request = f"f{number}-{next(self._ids)}"
            self.ledger.send(request, "query", -1, trio.current_time(), "query to fill")
            return {"type": "memory.query", "id": request, "topic": random.choice(words), "limit": 20}

        for make, count in ((memory, FILLED), (query, FILLED // 8)):
            deadline = trio.current_time() + SETTLE_SECONDS
            async with trio.open_nursery() as nursery:
                self.filling += FILLING
                for number in range(FILLING):
                    nursery.start_soon(self._session, number, deadline, make, 4, count)

    async def _work(self, seconds: float) -> None:
        """Keep all workers and the memory manager at work, without a flood; state and ping must be quick."""
        began, sent, compacted = trio.current_time(), self.ledger.sent, self.compactions
        async with self._bystander(self.beside_work), trio.open_nursery() as nursery:
            for number in range(WORKING):
                nursery.start_soon(self._session, number, began + seconds, self._goal_or_chat, 3)
        spent, compacted = trio.current_time() - began, self.compactions - compacted
        self.report.say(
            f"work: {(self.ledger.sent - sent) / spent:,.0f} goals and messages/s over {spent:.1f} s, "
            f"{compacted:,} compactions"
        )
        self.report.check(
            compacted > 0 or self.seconds < SHORT_LOAD_SECONDS,
            "nothing was compacted while all worked",
        )
        for kind in ("state", "ping"):
            found = self.beside_work.latencies[kind].percentile(0.99)
            missed = f"{kind} took {found * 1000:.1f} ms at p99 while all worked"
            self.report.target(found <= BESIDE_SECONDS, missed)

    async def _load(self, *, hostile: bool, seconds: float) -> None:
        cpu, sent, began = proc.cpu_seconds(self.daemon.pid), self.ledger.sent, trio.current_time()
        deadline = began + seconds
        async with self._bystander(self.beside), trio.open_nursery() as nursery:
            nursery.start_soon(self._read_memory, began + seconds * (1 - MEMORY_PART), deadline)
            for number in range(self.sessions):
                nursery.start_soon(self._session, number, deadline, self._request, 3 if number % 4 else 40)
            if hostile:
                for temper in (self._slow_reader, self._stopped_reader, self._silent, self._vanishing):
                    for _ in range(3):
                        nursery.start_soon(temper, deadline)
                for temper in (self._slow_head, self._giant):
                    nursery.start_soon(temper, deadline)
        spent = trio.current_time() - began
        count = self.ledger.sent - sent
        cpu = proc.cpu_seconds(self.daemon.pid) - cpu
        name = "hostile load" if hostile else "load"
        self.report.say(
            f"{name}: {count / spent:,.0f} requests/s over {spent:.1f} s, "
            f"{cpu / max(count, 1) * 1e6:.0f} us of CPU each, daemon {cpu / spent:.0%} busy"
        )

    async def _session(
        self, number: int, deadline: float, make: Make, under_way: int, most: float = inf
    ) -> None:
        """One session that keeps some requests under way, until `deadline` or until it has made so many."""
        made = 0
        random = Random(self.seed * 1000 + number)
        peer = await open_patiently(self.target, None, None, lambda reason: None, deadline + SETTLE_SECONDS)
        mine: set[str] = set()
        moved = trio.Event()

        async def read() -> None:
            nonlocal moved
            while True:
                frame = await peer.receive()
                self.compactions += frame["type"] == "memory.event" and frame["event"] == "summarize"
                ended = self.ledger.hear(frame, trio.current_time())
                if ended is not None:
                    mine.discard(ended)
                    moved.set()
                    moved = trio.Event()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            while trio.current_time() < deadline and made < most:
                batch = [make(random, number) for _ in range(under_way - len(mine))]
                made += len(batch)
                mine.update(frame["id"] for frame in batch)
                await peer.send(*batch)
                with trio.move_on_at(deadline):
                    await moved.wait()
            with trio.move_on_after(SETTLE_SECONDS):
                while mine:
                    await moved.wait()
            nursery.cancel_scope.cancel(reason="all is answered")
        await peer.close()

    def _goal_or_chat(self, random: Random, number: int) -> Frame:
        """Ask for what workers and memory are for: one message to two goals."""
        request = f"w{number}-{next(self._ids)}"
        kind = random.choice(("chat", "goal", "goal"))
        self.ledger.send(request, kind, -1, trio.current_time(), f"{kind} at work")  # no part of the fairness
        content = GOAL.format(n=request) if kind == "goal" else f"where is the tea of {request}?"
        return {"type": "chat.send", "id": request, "content": content}

    def _request(self, random: Random, number: int) -> Frame:
        kind = random.choices(("ping", "chat", "goal", "query"), (4, 4, 1, 2))[0]
        request = f"s{number}-{next(self._ids)}"
        label = f"{kind} in a flood" if number % 4 == 0 else kind
        self.ledger.send(request, kind, number, trio.current_time(), label)
        match kind:
            case "ping":
                return {"type": "ping", "id": request}
            case "chat":
                return {"type": "chat.send", "id": request, "content": f"where is the tea of {request}?"}
            case "goal":
                return {"type": "chat.send", "id": request, "content": GOAL.format(n=request)}
            case _:
                return {"type": "memory.query", "id": request, "topic": "tea", "limit": 5}

    @asynccontextmanager
    async def _bystander(self, seen: bystander.Seen) -> AsyncIterator[None]:
        """Let somebody stand by in a process of its own; take in what it saw."""
        self.visits += 1
        command = [sys.executable, "-m", "tests.bench.bystander"]
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            job = bystander.Job(self.daemon.listen, self.daemon.token, self.echo)
            await process.stdin.send_all(job.dump().encode())
            yield
            with trio.fail_after(SETTLE_SECONDS):
                await process.stdin.aclose()
                said = b"".join([data async for data in process.stdout])
                await process.wait()
            seen.merge(bystander.Seen.load(said.decode()))
        finally:
            process.kill()
            await trio.aclose_forcefully(process.stdin)
            await trio.aclose_forcefully(process.stdout)

    async def _read_memory(self, since: float, deadline: float) -> None:
        """Keep the median of the resident memory between two moments."""
        await trio.sleep_until(since)
        found = []
        while trio.current_time() < deadline:
            found.append(proc.resident_bytes(self.daemon.pid))
            await trio.sleep(0.25)
        self.memory = median(found or [proc.resident_bytes(self.daemon.pid)])
        self.awake = self.gauges("sessions_awake")["sessions_awake"]

    # Hostility: what these send is not in the ledger, but in the daemon's own sums

    async def _hostile(
        self, deadline: float, receive_buffer: int | None = None, key: str | None = None
    ) -> Peer | None:
        while trio.current_time() < deadline:
            try:
                return await Peer.open(self.target, key, receive_buffer=receive_buffer)
            except (ShedError, EndedError, OSError, trio.TooSlowError):
                await trio.sleep(0.5)
        return None

    async def _slow_reader(self, deadline: float) -> None:
        """Asks for much and reads a little at a time."""
        while (peer := await self._hostile(deadline, receive_buffer=4096)) is not None:
            try:
                with trio.move_on_at(deadline):
                    while True:
                        await peer.send(*({"type": "memory.query", "limit": 128} for _ in range(8)))
                        for _ in range(4):
                            await peer.receive()
                            await trio.sleep(0.02)
            except EndedError as end:
                self.ends[f"slow reader: {end.code}"] += 1
            await trio.aclose_forcefully(peer.stream)

    async def _stopped_reader(self, deadline: float) -> None:
        """Sends on and reads nothing, until the daemon closes the link."""
        while (peer := await self._hostile(deadline, receive_buffer=4096)) is not None:
            try:
                with trio.move_on_at(deadline):
                    while True:
                        await peer.send({"type": "chat.send", "content": "x" * 3000})
            except EndedError:
                self.ends["stopped reader: cut"] += 1
            await trio.aclose_forcefully(peer.stream)

    async def _silent(self, deadline: float) -> None:
        """Attaches, stays half open without a word, and goes without one."""
        peer = await self._hostile(deadline)
        if peer is not None:
            await trio.sleep_until(deadline)
            await trio.aclose_forcefully(peer.stream)

    async def _vanishing(self, deadline: float) -> None:
        """Asks, is gone before the answer, and comes back to ask again."""
        key: str | None = None  # of one session: memory is compared, and that of sessions is their number's
        while (peer := await self._hostile(deadline, key=key)) is not None:
            key = peer.ack["sessionKey"]
            try:
                await peer.send({"type": "chat.send", "content": "hello"}, {"type": "memory.recall"})
            except EndedError:
                self.ends["vanishing: cut"] += 1
            await trio.aclose_forcefully(peer.stream)
            await trio.sleep(0.05)

    async def _slow_head(self, deadline: float) -> None:
        """Twenty connections that send their heads a byte at a time."""

        async def drip() -> None:
            while trio.current_time() < deadline:
                try:
                    stream = await trio.open_tcp_stream(self.target.host, self.target.port)
                    async with stream:
                        for byte in b"GET /v1/agents/default/stream HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100:
                            if trio.current_time() >= deadline:
                                return
                            await stream.send_all(bytes([byte]))
                            await trio.sleep(0.3)
                except (OSError, trio.BrokenResourceError):
                    self.ends["slow head: cut"] += 1

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(drip)

    async def _giant(self, deadline: float) -> None:
        """Announces a frame of a gigabyte; must be told 1009."""
        head = bytes((0x81, 0xFF)) + (1 << 30).to_bytes(8, "big") + b"mask" + b"z" * 4096
        while (peer := await self._hostile(deadline)) is not None:
            code = 0
            try:
                await peer.send_bytes(head)
                with trio.move_on_after(10):
                    while True:
                        await peer.receive()
            except EndedError as end:
                code = end.code
            self.ends[f"giant frame: {code}"] += 1
            self.report.check(code == 1009, f"a giant frame was closed with {code}")
            await trio.aclose_forcefully(peer.stream)
            await trio.sleep(0.2)

    # Checks

    async def _check_sums(self, *, exact: bool) -> None:
        """Once nothing is under way, the daemon's sums and the clients' add up, and are the same."""
        with trio.move_on_after(SETTLE_SECONDS):
            while True:
                found = self.accounts()
                if not (found.undecided or found.running or found.queued):
                    break
                await trio.sleep(0.2)
        self.report.say("; ".join(found.lines()))
        self.report.check(found.undecided == 0, f"{found.undecided} requests were never decided")
        self.report.check(found.lost == 0, f"{found.lost} accepted requests were lost")
        self.report.check(not found.running + found.queued, f"{found.running + found.queued} never ended")
        self.report.failures += self.ledger.sums()
        if exact:
            attaches, states = (
                WORKING + self.filling + self.sessions * (self.visits - 1) + self.visits,
                sum(seen.latencies["state"].total for seen in (self.beside_work, self.beside)),
            )
            for name, theirs, ours in (
                ("accepted", found.accepted, self.ledger.accepted),
                ("refused", found.refused, self.ledger.refused.total()),
                ("served", found.served, self.ledger.served - self.ledger.pings + states + attaches),
            ):
                self.report.check(theirs == ours, f"the daemon {name} {theirs}, its clients count {ours}")

    # The storm

    async def _storm(self) -> None:
        """Reconnect with many links at once to a few sessions; each resumes with exactly what it missed."""
        keys: list[tuple[str, int]] = []
        for _ in range(min(20, self.sessions)):
            peer = await Peer.open(self.target)
            await peer.send({"type": "memory.create", "content": "before"})
            while (await peer.receive())["type"] != "session.accepted":
                pass
            await peer.send({"type": "memory.create", "content": "missed"})
            seq = 0
            while (frame := await peer.receive())["type"] != "session.accepted":
                pass
            seq = frame["seq"]
            keys.append((peer.ack["sessionKey"], seq))
            await peer.close()
        shed: Counter[str] = Counter()
        wrong: list[str] = []
        took: list[float] = []
        received: list[int] = []
        memory, cpu = proc.resident_bytes(self.daemon.pid), proc.cpu_seconds(self.daemon.pid)
        began = trio.current_time()
        attached = trio.Event()
        done = trio.Event()

        async def one(number: int) -> None:
            key, seq = keys[number % len(keys)]
            try:
                peer = await open_patiently(
                    self.target,
                    key,
                    seq - 1,
                    lambda reason: shed.update([reason]),
                    began + SETTLE_SECONDS,
                    SETTLE_SECONDS,
                )
            except trio.TooSlowError:
                return  # counted by what is missing
            frame = peer.ack
            while frame.get("seq") != seq or frame["type"] == "session.ack":
                frame = await peer.receive()
            took.append(trio.current_time() - began)
            received.append(peer.received_bytes)
            if not peer.ack["restored"] or peer.ack["sessionKey"] != key:
                wrong.append("a link of the storm got another session")
            if len(took) == self.storm:
                attached.set()
            await done.wait()
            await trio.aclose_forcefully(peer.stream)

        async with trio.open_nursery() as nursery:
            for number in range(self.storm):
                nursery.start_soon(one, number)
            with trio.move_on_after(SETTLE_SECONDS):
                await attached.wait()
            cpu = (proc.cpu_seconds(self.daemon.pid) - cpu) / max(len(took), 1)
            each = (proc.resident_bytes(self.daemon.pid) - memory) / max(len(took), 1)
            done.set()
        self.report.failures += wrong[:3]
        last = max(took, default=0.0)
        self.report.say(
            f"storm: {len(took)} of {self.storm} links attached and resumed in {last:.1f} s, "
            f"{shed.total()} refusals, {each / 1000:.1f} kB and {cpu * 1e6:,.0f} us of CPU a link and "
            f"{median(received or [0]):.0f} bytes to it"
        )
        self.report.check(len(took) == self.storm, f"{self.storm - len(took)} links never came back")
        self.report.target(last <= STORM_SECONDS, f"the storm took {last:.1f} s")

    async def _all_at_rest(self) -> None:
        """With nobody there any more, the daemon has no link, no session, no open goal and no spare task."""
        found: dict[str, float] = {}
        with trio.move_on_after(SETTLE_SECONDS):
            while not found or any(found.values()):
                found = self.gauges("links", "sessions_awake", "goals_open")
                await trio.sleep(0.2)
        self.report.check(not any(found.values()), f"with nobody there: {found}")
        spare = self.gauges("loop_tasks")["loop_tasks"] - self.tasks
        self.report.say(f"at rest: {self.tasks:.0f} tasks as before the load, {spare:+.0f}")
        self.report.check(spare <= 0, f"{spare:.0f} tasks are left")

    def gauges(self, *names: str) -> dict[str, float]:
        """Ask the daemon for some of its gauges."""
        wanted = {f"spiderwebd_{name}": name for name in names}
        text = metrics(self.daemon.place, 20.0)
        assert text is not None
        lines = (line.partition(" ") for line in text.splitlines())
        return {wanted[name]: float(figure) for name, _, figure in lines if name in wanted}

    def _figures(self) -> None:
        for kind, latencies in sorted(self.ledger.latencies.items()):
            if latencies.total:
                marks = ", ".join(
                    f"{name} {latencies.percentile(share) * 1000:.1f}"
                    for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
                )
                self.report.say(f"{kind}: {latencies.total:,} in ms {marks}")
        for line in self.beside_work.lines():
            self.report.say(f"while all work, {line}")
        for line in self.beside.lines():
            self.report.say(line)
        self.report.say(f"refused: {dict(self.ledger.refused)}; hostile ends: {dict(self.ends)}")
        means = [
            sum(taken) / len(taken)
            for number, taken in self.ledger.goal_seconds.items()
            if number >= 0 and number % 4 and len(taken) >= 3
        ]
        if len(means) >= 3:
            ratio = max(means) / median(means)
            self.report.say(f"fairness: goals of equal sessions took at most x{ratio:.2f} of the median")
            self.report.check(ratio <= FAIRNESS_RATIO, f"goals of one session took {ratio:.1f} of the median")


def saturate(
    folder: Path,
    *,
    sessions: int,
    seconds: float,
    storm: int,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """Start a daemon in `folder`, press it, and return what was found; its log is in the folder.

    `tell` is called with each line of the report as it comes.
    """
    raise_descriptor_limit()
    cores = os.sched_getaffinity(0)
    first = min(cores)
    try:
        os.sched_setaffinity(0, {first})  # inherited by the daemon
        with DaemonProcess(folder, SETTINGS) as daemon, echo_server(folder, first) as echo:
            os.sched_setaffinity(0, cores - {first} or cores)
            run = Run(daemon, sessions, seconds, storm, echo=f"{echo.host}:{echo.port}")
            run.report.tell = tell
            report = trio.run(run.main)
            status = daemon.terminate()
            report.check(status == 0, f"the daemon ended with {status}")
            report.check("Traceback" not in daemon.stderr, "the daemon's log tells of a fault")
            report.check(not run.ledger.open, "requests were left open")
            for what, rows in _open_rows(daemon.state_directory / DATABASE).items():
                report.check(not rows, f"{rows} {what} are left open in the database")
    finally:
        os.sched_setaffinity(0, cores)
    return report


def _open_rows(database: Path) -> dict[str, int]:
    """What of a database that nobody has open has no end."""
    with closing(sqlite3.connect(database)) as connection:
        return {
            table: connection.execute(
                f"SELECT count(*) FROM {table} WHERE state IN ('open', 'queued', 'running')"
            ).fetchone()[0]
            for table in ("requests", "goals", "tasks")
        }


def main() -> int:
    """Run from the command line and print the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="of load, two fifths without hostility")
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--storm", type=int, default=10_000, help="links that reconnect at once")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spiderwebd-saturation-") as folder:
        report = saturate(
            Path(folder),
            sessions=arguments.sessions,
            seconds=arguments.seconds,
            storm=arguments.storm,
            tell=partial(print, flush=True),
        )
    for failure in report.failures:
        print(f"FAILED: {failure}")
    for missed in report.missed:
        print(f"MISSED: {missed}")
    return 1 if report.failures or report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
