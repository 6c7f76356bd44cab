"""The load program: many links of one process over raw sockets and epoll, on a core of its own.

`python -m tests.bench.load` reads a Job as one line of standard input, attaches its links, says so,
waits for `go TIME` (time.monotonic), runs and prints its Outcome. Everything that can be done before
the window is: frames are built and masked, the collector is off. A reply is counted by its first
bytes; what it took is measured from the send (closed loop) or from when it was due (open loop).
"""

from __future__ import annotations

import base64
import gc
import json
import os
import resource
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum, auto

from tests.bench.frames import CLOSE, PING, PONG, FrameScanner, client_frame
from tests.bench.job import Exchange, Job, Mode, Outcome
from tests.bench.latency import Latencies

ATTACHING = 64
"""Handshakes at once while links are attached before a run."""
ATTACH_SECONDS = 300.0
PREPARE_SECONDS = 120.0
DISTINCT = 4_096
"""Frames built for one exchange: more than the requests whose ids a session remembers."""
RECEIVE_BYTES = 262_144
_READ, _WRITE = select.EPOLLIN, select.EPOLLIN | select.EPOLLOUT


class LoadFailedError(Exception):
    """The server refused or dropped what the job needs, or did not answer in time."""


class Phase(Enum):
    """Where a link stands."""

    CONNECTING = auto()
    HEAD = auto()
    WELCOME = auto()
    READY = auto()
    GONE = auto()


class Link:
    """One socket and what is under way on it."""

    __slots__ = ("due", "head", "number", "phase", "scanner", "sending", "socket")

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.socket = sock
        self.phase = Phase.CONNECTING
        self.head = b""
        self.scanner = FrameScanner()
        self.sending = b""
        self.number = number
        """Of the next message; links start apart, so that they do not all send the same."""
        self.due: deque[float] = deque()
        """When each request without a reply was sent, or should have been."""


def build(exchange: Exchange, count: int = DISTINCT) -> list[bytes]:
    """Return masked frames of the message, numbered from 0; one is enough when it has no number."""
    texts = [exchange.text.replace("{n}", str(n)) for n in range(count if "{n}" in exchange.text else 1)]
    return [client_frame(text.encode(), os.urandom(4)) for text in texts]


class LoadProgram:
    """Carries out one job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.links: dict[int, Link] = {}
        self.ready = 0
        self.replies = 0
        self.sent = 0
        self.lost = 0
        self.welcome_bytes = 0
        self.latencies = Latencies()
        self._opened = 0
        self._late = 0.0
        self._frames: list[bytes] = []
        self._epoll = select.epoll()
        self._on_reply: Callable[[Link, int], None] = lambda link, count: None
        key = base64.b64encode(os.urandom(16)).decode()
        bearer = f"Authorization: Bearer {job.token}\r\n" if job.token else ""
        self._request = (
            f"GET {job.path} HTTP/1.1\r\nHost: {job.host}:{job.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{bearer}\r\n"
        ).encode()

    # Links

    def open(self) -> None:
        """Begin one link; it becomes READY in some later `pump`."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = sock.connect_ex((self.job.host, self.job.port))
        if error not in (0, 115):  # EINPROGRESS
            raise LoadFailedError(f"connect failed: {os.strerror(error)}")
        link = Link(sock, self._opened * 37 % DISTINCT)
        link.scanner.mark = self.job.welcome.encode()
        self._opened += 1
        self.links[sock.fileno()] = link
        self._epoll.register(sock.fileno(), select.EPOLLOUT)

    def attach(self, links: int) -> None:
        """Open this many links and wait until all are attached.

        Raises LoadFailedError: one was refused or lost, or ATTACH_SECONDS went by.
        """
        deadline = time.monotonic() + ATTACH_SECONDS
        while self.ready < links:
            while self._opened < links and self._opened - self.ready < ATTACHING:
                self.open()
            self.pump(1.0)
            if self.lost:
                raise LoadFailedError(f"{self.lost} links were lost while {links} were attached")
            if time.monotonic() > deadline:
                raise LoadFailedError(f"{self.ready} of {links} links attached in {ATTACH_SECONDS:g} s")

    def say(self, link: Link, due: float) -> None:
        """Send the next message on a link; `due` is when its latency begins."""
        frame = self._frames[link.number % len(self._frames)]
        link.number += 1
        link.due.append(due)
        self.sent += 1
        self._send(link, frame)

    def pump(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for events and deal with all that are there."""
        links = self.links
        for number, _ in self._epoll.poll(timeout):
            link = links[number]
            if link.phase is Phase.CONNECTING:
                self._connected(link)
                continue
            if link.sending:
                waiting, link.sending = link.sending, b""
                self._epoll.modify(number, _READ)
                self._send(link, waiting)
                if link.phase is Phase.GONE:
                    continue
            self._receive(link)

    def _connected(self, link: Link) -> None:
        error = link.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise LoadFailedError(f"connect failed: {os.strerror(error)}")
        link.phase = Phase.HEAD
        self._epoll.modify(link.socket.fileno(), _READ)
        self._send(link, self._request)

    def _send(self, link: Link, data: bytes) -> None:
        if link.sending:
            link.sending += data
            return
        try:
            taken = link.socket.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            self._lose(link)
            return
        if taken < len(data):
            link.sending = data[taken:]
            self._epoll.modify(link.socket.fileno(), _WRITE)

    def _receive(self, link: Link) -> None:
        try:
            data = link.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(link)
            return
        if link.phase is Phase.HEAD:
            link.head += data
            head, blank, data = link.head.partition(b"\r\n\r\n")
            if not blank:
                return
            status = head.partition(b"\r\n")[0]
            if b" 101 " not in status:
                raise LoadFailedError(f"a link was refused: {status.decode('latin-1')}")
            link.head = b""
            link.phase = Phase.WELCOME
            if not link.scanner.mark:
                self._is_ready(link)
        found = link.scanner.feed(data)
        if link.scanner.control:
            self._answer(link)
        if link.phase is Phase.WELCOME and found:
            self.welcome_bytes = max(self.welcome_bytes, link.scanner.marked_bytes)
            self._is_ready(link)
        elif found and link.phase is Phase.READY:
            self.replies += found
            self._on_reply(link, found)

    def _is_ready(self, link: Link) -> None:
        link.phase = Phase.READY
        link.scanner.mark = self.job.message.mark.encode()
        self.ready += 1

    def _answer(self, link: Link) -> None:
        for opcode, payload in link.scanner.control:
            if opcode == PING:
                self._send(link, client_frame(payload, os.urandom(4), PONG))
            elif opcode == CLOSE:
                self._send(link, client_frame(payload, os.urandom(4), CLOSE))
        link.scanner.control.clear()

    def _lose(self, link: Link) -> None:
        del self.links[link.socket.fileno()]
        self._epoll.unregister(link.socket.fileno())
        link.socket.close()
        self.ready -= link.phase is Phase.READY
        link.phase = Phase.GONE
        self.lost += 1

    # Runs

    def exchange(self, exchange: Exchange) -> None:
        """Send a message once on every link and wait for all replies.

        Raises LoadFailedError when a link is lost or PREPARE_SECONDS go by.
        """
        self._frames = build(exchange)
        self._on_reply = lambda link, count: None
        wanted = self.replies + len(self.links)
        for link in list(self.links.values()):
            link.scanner.mark = exchange.mark.encode()
            self.say(link, 0.0)
        deadline = time.monotonic() + PREPARE_SECONDS
        while self.replies < wanted:
            self.pump(1.0)
            if self.lost or time.monotonic() > deadline:
                raise LoadFailedError(
                    f"{wanted - self.replies} links had no reply to {exchange.text[:60]!r}; {self.lost} lost"
                )
        for link in self.links.values():
            link.due.clear()
            link.scanner.mark = self.job.message.mark.encode()

    def run(self, start: float) -> Outcome:
        """Warm up from `start` (time.monotonic), then count for the job's seconds."""
        job = self.job
        self._frames = build(job.message)
        begin = start + job.warm_seconds
        end = begin + job.seconds
        gc.collect()
        gc.disable()
        time.sleep(max(0.0, start - time.monotonic()))
        drive = {Mode.CLOSED: self._closed, Mode.OPEN: self._open, Mode.ATTACH: self._attaching}[job.mode]
        steps = drive(start)
        self._until(steps, begin)
        self.latencies = Latencies()
        counted = (self.replies, self.sent, self._received(), self._data_frames(), self.ready)
        used, began = time.process_time(), time.monotonic()
        self._late = 0.0
        self._until(steps, end)
        seconds = time.monotonic() - began
        done = self.ready - counted[4] if job.mode is Mode.ATTACH else self.replies - counted[0]
        return Outcome(
            replies=done,
            sent=self.sent - counted[1],
            seconds=seconds,
            received_bytes=self._received() - counted[2],
            frames=self._data_frames() - counted[3],
            lost=self.lost,
            busy=(time.process_time() - used) / seconds,
            late_seconds=self._late,
            latencies=self.latencies.as_json(),
        )

    def _until(self, steps: Iterator[None], moment: float) -> None:
        while time.monotonic() < moment:
            next(steps)

    def _received(self) -> int:
        return sum(link.scanner.bytes for link in self.links.values())

    def _data_frames(self) -> int:
        return sum(link.scanner.frames for link in self.links.values())

    def _closed(self, start: float) -> Iterator[None]:
        def again(link: Link, count: int) -> None:
            now = time.monotonic()
            for _ in range(min(count, len(link.due))):
                self.latencies.add(now - link.due.popleft())
                self.say(link, now)

        self._on_reply = again
        for link in list(self.links.values()):
            for _ in range(self.job.in_flight):
                self.say(link, start)
        while True:
            self.pump(0.1)
            yield

    def _open(self, start: float) -> Iterator[None]:
        def answered(link: Link, count: int) -> None:
            now = time.monotonic()
            for _ in range(min(count, len(link.due))):
                self.latencies.add(now - link.due.popleft())

        self._on_reply = answered
        links = list(self.links.values())
        events = [self._epoll.fileno()]
        gap, turn, due = 1.0 / self.job.rate, 0, start
        while True:
            now = time.monotonic()
            while due <= now:
                link = links[turn % len(links)]
                if link.phase is Phase.READY:
                    self._late = max(self._late, now - due)
                    self.say(link, due)
                turn += 1
                due += gap
            # epoll waits whole milliseconds, select on it waits microseconds.
            if select.select(events, (), (), max(0.0, due - time.monotonic()))[0]:
                self.pump(0.0)
            yield

    def _attaching(self, start: float) -> Iterator[None]:
        while True:
            while self._opened - self.ready - self.lost < self.job.in_flight:
                self.open()
            self.pump(0.1)
            yield

    def hold(self) -> None:
        """Answer pings until a line, or the end, comes on standard input."""
        stop = sys.stdin.fileno()
        events = [self._epoll.fileno(), stop]
        while stop not in select.select(events, (), ())[0]:
            self.pump(0.0)

    def close(self) -> None:
        """Say goodbye on every link, as far as it takes the frame at once, and close it."""
        goodbye = client_frame((1000).to_bytes(2, "big"), os.urandom(4), CLOSE)
        for link in list(self.links.values()):
            self._send(link, goodbye)
            link.socket.close()
        self._epoll.close()


def raise_descriptor_limit() -> None:
    """Allow as many open sockets as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    """Read a job, do it, say what came of it."""
    job = Job.load(sys.stdin.readline())
    os.sched_setaffinity(0, {job.core})
    raise_descriptor_limit()
    program = LoadProgram(job)
    try:
        started = time.monotonic()
        program.attach(job.links)
        seconds = time.monotonic() - started
        for exchange in job.prepare:
            program.exchange(exchange)
        attached = {"event": "attached", "seconds": seconds, "welcome_bytes": program.welcome_bytes}
        print(json.dumps(attached), flush=True)
        if job.mode is Mode.HOLD:
            program.hold()
            outcome = Outcome(replies=program.replies, sent=program.sent, lost=program.lost)
        else:
            outcome = program.run(float(sys.stdin.readline().split()[1]))
    except (LoadFailedError, OSError) as error:
        print(json.dumps({"event": "failed", "reason": str(error)}), flush=True)
        return 1
    print(outcome.dump(), flush=True)
    program.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
