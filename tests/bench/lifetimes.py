"""Scenarios of a life: start, stop under work, being asked for status, and doing nothing."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tests.bench import proc
from tests.bench.bench import Bench, Skipped
from tests.bench.figures import Figure, Target
from tests.bench.job import Exchange, Mode
from tests.bench.measure import held_links, job_for
from tests.bench.messages import GOAL, PING
from tests.bench.servers import Server, daemon, environment

DATABASE = "spiderwebd.db"
PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.05
SETTLE_SECONDS = 5.0
"""After attaching a crowd, before its idleness is measured."""


def start(bench: Bench) -> list[Figure]:
    """Exec to the ready line, with byte code in place as in an installed package."""
    wall = Figure("start to ready", "s", target=Target("at most 0.8 s", 0.8, of_ratio=False))
    cpu = Figure("start to ready: CPU", "s", target=Target("at most 0.6 s", 0.6, of_ratio=False))
    with daemon(bench.directory, bench.server_core, bench.state()):
        pass  # writes the byte code
    for _ in range(max(bench.rounds, 3)):
        with daemon(bench.directory, bench.server_core, bench.state()) as server:
            wall.values.append(server.ready_seconds)
            cpu.values.append(server.ready_cpu_seconds)
    return [wall, cpu]


def stop(bench: Bench) -> list[Figure]:
    """SIGTERM with hundreds of goals unfinished; the next start must finish every one of them."""
    links = min(100, bench.crowds[0])
    wall = Figure(
        f"SIGTERM to exit, {links} links, goals under way",
        "s",
        target=Target("under 2 s", 2.0, of_ratio=False),
    )
    left = Figure("goals unfinished at exit, all completed by the next start", "goals")
    unmerged = Figure("write-ahead log left at exit, not merged into the database", "MB")
    asks = [
        Exchange(GOAL.text.replace("{n}", f"stop-{n}"), '{"type":"session.accepted"')
        for n in range(bench.goals_at_stop)
    ]
    for _ in range(bench.rounds):
        state = bench.state()
        with daemon(bench.directory, bench.server_core, state) as server:
            job = job_for(server, bench.load_core, links, Mode.HOLD, PING, asks)
            with held_links(job):
                wall.values.append(server.stop())
        open_goals = _goals(state, "state IN ('queued', 'running', 'interrupted')")
        left.values.append(float(open_goals))
        log = state / f"{DATABASE}-wal"
        unmerged.values.append(log.stat().st_size / 1e6 if log.exists() else 0.0)
        with daemon(bench.directory, bench.server_core, state):
            deadline = time.monotonic() + PATIENCE_SECONDS
            while _goals(state, "state <> 'complete'"):
                if time.monotonic() > deadline:
                    raise RuntimeError("goals open at SIGTERM were not completed by the next start")
                time.sleep(LOOK_SECONDS)
        kept = _goals(state, "1")
        if kept != links * bench.goals_at_stop:
            raise RuntimeError(f"{links * bench.goals_at_stop} goals were accepted and {kept} are on disk")
    return [wall, left, unmerged]


def status(bench: Bench) -> list[Figure]:
    """`spiderweb status` as a person types it, against a running daemon."""
    command = Path(sys.executable).with_name("spiderweb")
    if not command.exists():
        raise Skipped(f"{command.name} is not installed beside this interpreter")
    wall = Figure("spiderweb status", "ms", target=Target("at most 150 ms", 150.0, of_ratio=False))
    state = bench.state()
    with daemon(bench.directory, bench.server_core, state):
        variables = {**environment(bench.directory), "SPIDERWEB_STATE_DIR": str(state)}
        for number in range(max(bench.rounds, 3) + 1):
            started = time.monotonic()
            ended = subprocess.run(
                [str(command), "status"],
                env=variables,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            seconds = time.monotonic() - started
            if ended.returncode:
                raise Skipped(f"it ends with {ended.returncode}: {ended.stderr.strip()[-300:]}")
            if number:  # the first writes the byte code
                wall.values.append(seconds * 1e3)
    return [wall]


def idle(bench: Bench) -> list[Figure]:
    """A daemon without clients, with a crowd that says nothing, and with that crowd asleep on disk."""
    links, state = bench.idle_links, bench.state()
    empty = Figure(
        "resident memory without clients", "MB", target=Target("at most 60 MB", 60.0, of_ratio=False)
    )
    empty_cpu = Figure("CPU without clients", "% of a core")
    each = Figure(
        f"resident memory of an idle link, {links:,} attached",
        "kB",
        target=Target("at most 30 kB", 30.0, of_ratio=False),
    )
    cpu = Figure(
        f"CPU of {links:,} idle links",
        "% of a core",
        target=Target("at most 1 %", 1.0, of_ratio=False),
    )
    again = Figure(
        f"start to ready with {links:,} hibernated sessions",
        "s",
        target=Target("at most 1 s", 1.0, of_ratio=False),
    )
    asleep = Figure(f"resident memory of one of {links:,} hibernated sessions, after a start", "kB")
    asleep_cpu = Figure(f"CPU of {links:,} hibernated sessions", "% of a core")
    kept = Figure(f"resident memory still held for each of {links:,} sessions that fell asleep", "kB")
    settings = {"sessions.hibernate_seconds": 1}
    with daemon(bench.directory, bench.server_core, state, settings) as server:
        bare = proc.resident_bytes(server.pid)
        empty.values.append(bare / 1e6)
        empty_cpu.values.append(_cpu_share(server, bench.idle_seconds / 6))
        job = replace(job_for(server, bench.load_core, links, Mode.HOLD, PING))
        with held_links(job) as load:
            time.sleep(min(SETTLE_SECONDS, bench.idle_seconds))
            each.values.append((proc.resident_bytes(server.pid) - bare) / links / 1e3)
            cpu.values.append(_cpu_share(server, bench.idle_seconds))
            load.tell("stop")
            lost = load.hear(60.0)["lost"]
            if lost:
                raise RuntimeError(f"{lost} of {links} idle links were lost")
        _wait_until_asleep(server)
        kept.values.append((proc.resident_bytes(server.pid) - bare) / links / 1e3)
        server.stop()
    with daemon(bench.directory, bench.server_core, state, settings) as server:
        again.values.append(server.ready_seconds)
        asleep.values.append((proc.resident_bytes(server.pid) - bare) / links / 1e3)
        asleep_cpu.values.append(_cpu_share(server, bench.idle_seconds / 6))
    return [empty, empty_cpu, each, cpu, again, asleep, asleep_cpu, kept]


def _cpu_share(server: Server, seconds: float) -> float:
    used, began = proc.cpu_seconds(server.pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (proc.cpu_seconds(server.pid) - used) / (time.monotonic() - began)


def _wait_until_asleep(server: Server) -> None:
    request = urllib.request.Request(
        f"http://{server.host}:{server.port}/metrics", headers={"Authorization": f"Bearer {server.token}"}
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with urllib.request.urlopen(request, timeout=30) as answer:
            if b"\nspiderwebd_sessions_awake 0.0\n" in answer.read():
                return
        time.sleep(LOOK_SECONDS)
    raise RuntimeError(f"sessions without links were still awake after {PATIENCE_SECONDS:g} s")


def _goals(state: Path, condition: str) -> int:
    """Count goals as they stand on disk; `condition` is ours, never input."""
    with closing(sqlite3.connect(f"file:{state / DATABASE}?mode=ro", uri=True, timeout=30)) as connection:
        count: int = connection.execute(f"SELECT count(*) FROM goals WHERE {condition}").fetchone()[0]
        return count
