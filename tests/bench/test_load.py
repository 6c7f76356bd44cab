"""The load program against real sockets: it counts what a server really answered, in every mode."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.frames import CLOSE, PING, PONG, FrameScanner
from tests.bench.job import Exchange, Job, Mode, Outcome
from tests.bench.load import LoadFailedError, LoadProgram, build
from tests.bench.measure import LoadError, held_links, job_for, measure
from tests.bench.proc import core_seconds, cpu_seconds, file_system, resident_bytes
from tests.bench.servers import Server, echo_server

PATIENCE_SECONDS = 20.0
CORE = min(os.sched_getaffinity(0))
NUMBERED = Exchange('{"type":"ping","id":"p-{n}"}', "")


@pytest.fixture(scope="module")
def yardstick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the real echo server as a process of its own."""
    with echo_server(tmp_path_factory.mktemp("echo"), CORE) as server:
        yield server


@contextmanager
def peer(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Accept one connection, give `answer` to its head, collect what comes then until it ends."""
    collected: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(PATIENCE_SECONDS)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += accepted.recv(4096)
                accepted.sendall(answer)
                while data := accepted.recv(4096):
                    collected.append(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], collected
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def job_at(port: int, welcome: str = "") -> Job:
    """Return a job for one held link against a peer of the test's own."""
    return Job("127.0.0.1", port, "/", "", welcome, 1, Mode.HOLD, NUMBERED)


def short(server: Server, links: int, mode: Mode) -> Job:
    """Return a job of a fraction of a second."""
    return replace(job_for(server, CORE, links, mode, NUMBERED), warm_seconds=0.05, seconds=0.2)


def test_numbered_messages_differ_and_plain_ones_are_built_once() -> None:
    """A request id must not be sent twice; what has no number needs one frame."""
    assert len(set(build(NUMBERED, 50))) == 50
    assert len(build(Exchange("same", ""))) == 1


def test_a_job_and_an_outcome_survive_their_line() -> None:
    """What the bench writes is what the load program reads, and back."""
    job = Job("h", 1, "/", "t", "w", 2, Mode.OPEN, NUMBERED, (Exchange("a", "b"),), rate=3.5)
    assert Job.load(job.dump()) == job
    assert '"event": "done"' in Outcome(replies=3).dump()


def test_a_closed_loop_counts_every_echo_and_its_latency(yardstick: Server) -> None:
    """Each reply is matched to a request: as many latencies as replies, nothing lost."""
    run = measure(yardstick, replace(short(yardstick, 5, Mode.CLOSED), in_flight=2))
    assert run.replies > 0
    assert run.latencies.total == run.replies
    assert run.lost == 0
    assert 0 < run.latencies.percentile(0.5) < run.seconds
    assert run.cpu_seconds >= 0


def test_an_open_loop_keeps_its_rate(yardstick: Server) -> None:
    """The rate is the job's, not the server's: what is answered is what was asked, give or take the edges."""
    run = measure(yardstick, replace(short(yardstick, 4, Mode.OPEN), rate=200.0, seconds=0.5))
    assert 60 <= run.replies <= 104


def test_links_are_shared_between_load_programs(yardstick: Server) -> None:
    """Two processes with three links between them count together."""
    run = measure(yardstick, short(yardstick, 3, Mode.CLOSED), programs=2)
    assert run.replies > 3
    assert run.latencies.total == run.replies


def test_attaching_counts_finished_handshakes(yardstick: Server) -> None:
    """Attach mode opens links all the time and counts those that were answered."""
    run = measure(yardstick, replace(short(yardstick, 0, Mode.ATTACH), in_flight=4))
    assert run.replies > 4


def test_held_links_are_let_go_on_request(yardstick: Server) -> None:
    """Silent links stay until told to leave, and none is lost meanwhile."""
    with held_links(short(yardstick, 3, Mode.HOLD)) as load:
        load.tell("stop")
        assert load.hear(PATIENCE_SECONDS)["lost"] == 0


def test_pings_are_answered_and_a_close_is_returned() -> None:
    """An idle link stays alive by pongs with the ping's own payload, and ends as the RFC wants it."""
    upgraded = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    frames = bytes((0x80 | PING, 2)) + b"hi" + bytes((0x80 | CLOSE, 2)) + (1001).to_bytes(2, "big")
    with peer(upgraded + frames) as (port, collected):
        program = LoadProgram(job_at(port))
        program.attach(1)
        program.pump(0.0)
        program.close()
    stream = b"".join(collected)
    opcodes = []
    while stream:
        size = stream[1] & 0x7F
        opcodes.append(stream[0] & 0x0F)
        stream = stream[6 + size :]
    assert opcodes[:2] == [PONG, CLOSE]


def test_a_welcome_in_the_same_segment_as_the_head_is_seen_and_measured() -> None:
    """The daemon's session.ack often comes with the HTTP answer in one piece."""
    welcome = b'{"type":"session.ack"}'
    answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + bytes((0x81, len(welcome))) + welcome
    with peer(answer) as (port, _):
        program = LoadProgram(job_at(port, '{"type":"session.ack"'))
        program.attach(1)
        assert program.welcome_bytes == len(welcome)
        program.close()


def test_a_refused_handshake_is_an_error_with_its_status_line() -> None:
    """A run against a server that says no must not look like a slow one."""
    with peer(b"HTTP/1.1 401 Unauthorized\r\n\r\n") as (port, _):
        program = LoadProgram(job_at(port))
        with pytest.raises(LoadFailedError, match="401 Unauthorized"):
            program.attach(1)
        program.close()


def test_a_failed_load_program_says_why(yardstick: Server) -> None:
    """The bench passes on the reason instead of waiting for a result."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(LoadError, match="refused"):
        measure(yardstick, replace(short(yardstick, 1, Mode.CLOSED), port=port))


def test_a_scanner_takes_a_stream_of_a_real_server(yardstick: Server) -> None:
    """Frames of trio-websocket itself, many in one segment, are each counted once."""
    program = LoadProgram(short(yardstick, 1, Mode.CLOSED))
    program.attach(1)
    program.exchange(Exchange("x" * 70_000, "xxx"))
    scanner: FrameScanner = next(iter(program.links.values())).scanner
    assert scanner.frames == 1
    assert scanner.marked_bytes == 70_000
    program.close()


def test_the_kernel_is_read_right(tmp_path: Path) -> None:
    """CPU time grows with work, memory is that of a Python process, and the disk has a type."""
    before, core = cpu_seconds(os.getpid()), core_seconds(CORE)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while cpu_seconds(os.getpid()) < before + 0.03 and time.monotonic() < deadline:
        sum(range(10_000))
    assert cpu_seconds(os.getpid()) >= before + 0.03
    assert core_seconds(CORE) >= core
    assert 5e6 < resident_bytes(os.getpid()) < 2e9
    assert file_system(tmp_path) != "unknown"
