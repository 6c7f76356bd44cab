"""Scenarios of messages: what each costs, how many a second, how long one waits."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tests.bench.bench import Bench, Shape
from tests.bench.disk import fdatasync_latencies
from tests.bench.figures import Figure, Target
from tests.bench.job import Exchange, Mode
from tests.bench.measure import Run

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "rd", "sk", "lt", "mp")]
"""300 words, so that the search index does the work it does for text."""


def _text(seed: int, size: int) -> str:
    random = Random(seed)  # the same text every time
    text = ""
    while len(text) < size:
        text += random.choice(WORDS) + " "
    return text[:size].strip()


PING = Exchange('{"type":"ping","id":"p-{n}"}', '{"type":"pong"')
CREATE = Exchange(
    f'{{"type":"memory.create","id":"m-{{n}}","content":"{{n}} {_text(1, 130)}"}}',
    '{"type":"session.accepted"',
)
"""200 bytes with its envelope, the size of the reference's messages."""
CHAT = Exchange(
    f'{{"type":"chat.send","id":"c-{{n}}","content":"{{n}} {_text(2, 130)}"}}', '{"type":"session.receive"'
)
GOAL = Exchange(
    '{"type":"chat.send","id":"g-{n}","content":"/goal remember that backup {n} runs at 02:00; '
    'search memories for backups; recall memory 1; list files; report status"}',
    '{"type":"session.receive"',
)
"""Five tasks of all three workers: one writes, one searches, two read, one reports."""
LIGHT_GOAL = Exchange(
    '{"type":"chat.send","id":"g-{n}","content":"/goal report status; report queue; report memory; '
    'report progress; report results {n}"}',
    '{"type":"session.receive"',
)
"""Five tasks that touch nothing, as the original's workers did; plan and every transition are durable."""
PAUSED_GOAL = Exchange(
    '{"type":"chat.send","id":"paused","pauseBefore":1,"content":"/goal report status; report queue; '
    'report memory; report progress; report results"}',
    '{"type":"session.accepted"',
)
STATE = Exchange('{"type":"agent.control","action":"state","id":"s-{n}"}', '{"type":"agent.state"')


def _milliseconds(seconds: float) -> float:
    return seconds * 1e3


def ping(bench: Bench) -> list[Figure]:
    """Ping at one link (paced) and at each crowd (closed loop)."""
    alone = Figure("ping, 1 link at 400/s: median round trip", "ms")
    alone_cpu = Figure("ping, 1 link at 400/s: CPU a message", "us")
    for echo, ours in bench.pairs(1, PING, Shape(Mode.OPEN, rate=400.0)):
        alone.values.append(_milliseconds(ours.latencies.percentile(0.5)))
        alone.ratios.append(ours.latencies.percentile(0.5) / echo.latencies.percentile(0.5))
        _add_cpu(alone_cpu, echo, ours)
    figures = [alone, alone_cpu]
    limits = {100: 0.8, 1_000: 0.5}
    for links in bench.crowds:
        limit = limits.get(links)
        target = None if limit is None else Target(f"at most {limit} of the echo", limit)
        cpu = Figure(f"ping, {links:,} links: CPU a message", "us", target=target)
        rate = Figure(f"ping, {links:,} links: messages a second", "/s")
        if links == 100:
            rate.target = Target("at least 10,000/s, the original's ceiling", 10_000.0, True, of_ratio=False)
        for echo, ours in bench.pairs(links, PING):
            _add_cpu(cpu, echo, ours)
            _add_rate(rate, echo, ours)
        figures += [cpu, rate]
    return figures


def create(bench: Bench) -> list[Figure]:
    """Durable acknowledgements in a closed loop: memory.create to session.accepted."""
    figures = []
    limits = {100: 0.7, 1_000: 1.2}
    for links in (each for each in bench.crowds if each <= 1_000):
        limit = limits.get(links)
        target = None if limit is None else Target(f"at least {limit} of the echo", limit, at_least=True)
        rate = Figure(f"memory.create, {links:,} links: acknowledged a second", "/s", target=target)
        cpu = Figure(f"memory.create, {links:,} links: CPU a message", "us")
        for echo, ours in bench.pairs(links, CREATE):
            _add_rate(rate, echo, ours)
            _add_cpu(cpu, echo, ours)
        figures += [rate, cpu]
    return figures


def create_long(bench: Bench) -> list[Figure]:
    """The same in sessions whose working memory is full, so that compaction goes on all the time."""
    links = bench.crowds[0]
    rate = Figure(f"memory.create, {links:,} links, working memory full: acknowledged a second", "/s")
    # 50 memories are past the threshold of 0.75 of 64 entries.
    fill = [Exchange(CREATE.text.replace("{n}", f"fill-{n}"), CREATE.mark) for n in range(50)]
    for echo, ours in bench.pairs(links, CREATE, Shape(prepare=tuple(fill))):
        _add_rate(rate, echo, ours)
    return [rate]


def create_open(bench: Bench) -> list[Figure]:
    """What an acknowledgement waits at 70 % of the maximum, in multiples of this disk's fdatasync."""
    links = bench.crowds[0]
    waits = Figure(f"memory.create, {links:,} links at 70 % of the maximum: p99", "ms")
    median = Figure(f"memory.create, {links:,} links at 70 % of the maximum: median", "ms")
    disk = Figure("fdatasync of 4 kB: p99", "ms")
    times = Figure(
        "p99 of acknowledgements over p99 of fdatasync",
        "times",
        target=Target("at most 10", 10.0, of_ratio=False),
    )
    for _ in range(bench.rounds):
        sync = fdatasync_latencies(bench.directory, bench.disk_samples).percentile(0.99)
        rate = 0.7 * bench.ours(links, CREATE).rate
        run = bench.ours(links, CREATE, Shape(Mode.OPEN, rate=rate))
        p99 = run.latencies.percentile(0.99)
        waits.values.append(_milliseconds(p99))
        median.values.append(_milliseconds(run.latencies.percentile(0.5)))
        disk.values.append(_milliseconds(sync))
        times.values.append(p99 / sync)
    return [waits, median, disk, times]


def chat(bench: Bench) -> list[Figure]:
    """A message and its answer from memory: session.accepted and session.receive, both durable."""
    links = bench.crowds[0]
    rate = Figure(f"chat.send, {links:,} links: answered a second", "/s")
    cpu = Figure(f"chat.send, {links:,} links: CPU a message", "us")
    for echo, ours in bench.pairs(links, CHAT):
        _add_rate(rate, echo, ours)
        _add_cpu(cpu, echo, ours)
    return [rate, cpu]


def goals(bench: Bench) -> list[Figure]:
    """Goals of five tasks: sessions all together, and one alone."""
    links = bench.crowds[0]
    together = Target("at least 400/s", 400.0, at_least=True, of_ratio=False)
    alone = Target("under 15 ms", 15.0, of_ratio=False)
    figures = []
    for name, goal in (("five tasks, all workers", GOAL), ("five tasks, status only", LIGHT_GOAL)):
        rate = Figure(
            f"goals of five tasks ({name}), {links:,} sessions: done a second", "/s", target=together
        )
        cpu = Figure(f"goals ({name}), {links:,} sessions: CPU a goal", "ms")
        median = Figure(f"goal ({name}), alone: median to its answer", "ms", target=alone)
        for _ in range(bench.rounds):
            run = bench.ours(links, goal)
            rate.values.append(run.rate)
            cpu.values.append(_milliseconds(run.cpu_each))
            median.values.append(_milliseconds(bench.ours(1, goal).latencies.percentile(0.5)))
        figures += [rate, cpu, median]
    return figures


def state(bench: Bench) -> list[Figure]:
    """agent.state of a session with a paused goal of five tasks."""
    links = bench.crowds[0]
    cpu = Figure(
        "agent.state with a goal of five tasks: CPU",
        "ms",
        target=Target("at most 0.5 ms", 0.5, of_ratio=False),
    )
    for _ in range(bench.rounds):
        cpu.values.append(_milliseconds(bench.ours(links, STATE, Shape(prepare=(PAUSED_GOAL,))).cpu_each))
    return [cpu]


def attach(bench: Bench) -> list[Figure]:
    """New links, 32 handshakes at once: to session.ack of a new, durable session; the echo's to its 101."""
    rate = Figure(
        "attach: handshakes a second",
        "/s",
        target=Target("at least 0.7 of the echo", 0.7, at_least=True),
    )
    cpu = Figure("attach: CPU each", "us")
    size = Figure("session.ack: bytes", "B", target=Target("at most 2,048", 2_048.0, of_ratio=False))
    for _ in range(bench.rounds):
        size.values.append(float(bench.ours(1, PING, Shape(warm_seconds=0.0, seconds=0.2)).welcome_bytes))
    for echo, ours in bench.pairs(0, PING, Shape(Mode.ATTACH, in_flight=32)):
        _add_rate(rate, echo, ours)
        _add_cpu(cpu, echo, ours)
    return [rate, cpu, size]


def _add_rate(figure: Figure, echo: Run, ours: Run) -> None:
    figure.values.append(ours.rate)
    figure.ratios.append(ours.rate / echo.rate)


def _add_cpu(figure: Figure, echo: Run, ours: Run) -> None:
    figure.values.append(ours.cpu_each * 1e6)
    figure.ratios.append(ours.cpu_each / echo.cpu_each)


def with_note(figures: Sequence[Figure], note: str) -> list[Figure]:
    """Return the figures, each with the note unless it has one of its own."""
    for figure in figures:
        figure.note = figure.note or note
    return list(figures)
