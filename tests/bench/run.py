"""`python -m tests.bench.run`: every figure of issue 4, measured against the echo server beside it.

NOTES.md says how and why. `--smoke` runs every scenario with a handful of links for a fraction of a
second: it proves that they run and says nothing about speed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import lifetimes, messages, proc
from tests.bench.bench import Bench, Skipped
from tests.bench.figures import Figure, table

Scenario = Callable[[Bench], list[Figure]]

SCENARIOS: dict[str, Scenario] = {
    "start": lifetimes.start,
    "ping": messages.ping,
    "create": messages.create,
    "create-long": messages.create_long,
    "create-open": messages.create_open,
    "chat": messages.chat,
    "goals": messages.goals,
    "state": messages.state,
    "attach": messages.attach,
    "stop": lifetimes.stop,
    "status": lifetimes.status,
    "idle": lifetimes.idle,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios asked for; 1 when one of them could not be run, whatever the figures say."""
    options = _parser().parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="spiderwebd-bench-", dir=options.directory) as name:
        bench = _bench(options, Path(name), cores)
        os.sched_setaffinity(0, {bench.load_core})
        for line in _surroundings(bench, cores):
            print(line, flush=True)
        figures: list[Figure] = []
        passed, failed = 0, 0
        for scenario in options.only or SCENARIOS:
            started = time.monotonic()
            try:
                found = messages.with_note(SCENARIOS[scenario](bench), bench.remarks())
            except Skipped as reason:
                print(f"{scenario}: skipped: {reason}", flush=True)
                continue
            except Exception:
                failed += 1
                print(f"{scenario}: failed\n{traceback.format_exc(limit=-2)}", flush=True)
                bench.remarks()
                continue
            passed += 1
            figures += found
            print(f"{scenario}: {time.monotonic() - started:.1f} s", flush=True)
            if not options.smoke:
                print(table(found) + "\n", flush=True)
    if not options.smoke:
        print(table(figures))
        print(f"\nload average at the end: {os.getloadavg()[0]:.2f}")
    if options.json is not None:
        options.json.write_text(json.dumps([figure.as_json() for figure in figures], indent=1) + "\n")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.run", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--smoke", action="store_true", help="only prove that everything runs")
    parser.add_argument(
        "--only",
        action="append",
        choices=SCENARIOS,
        metavar="NAME",
        help=f"one of {', '.join(SCENARIOS)}; repeatable",
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each pair (default: 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a window (default: 3)")
    parser.add_argument(
        "--links", type=int, action="append", help="crowds instead of 100, 1000 and 10000; repeatable"
    )
    parser.add_argument(
        "--programs", type=int, default=1, help="load processes sharing the links (default: 1)"
    )
    parser.add_argument(
        "--directory",
        type=Path,
        help="where daemons keep their state: the disk that is measured (default: temporary)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every round")
    return parser


def _bench(options: argparse.Namespace, directory: Path, cores: Sequence[int]) -> Bench:
    if options.smoke:
        return Bench(
            directory,
            cores[0],
            cores[-1],
            rounds=1,
            warm_seconds=0.1,
            seconds=0.3,
            crowds=(8,),
            idle_links=50,
            idle_seconds=0.6,
            disk_samples=20,
            goals_at_stop=2,
        )
    bench = Bench(
        directory,
        cores[0],
        cores[-1],
        rounds=options.rounds,
        seconds=options.seconds,
        programs=options.programs,
    )
    if options.links:
        bench.crowds = tuple(options.links)
    return bench


def _surroundings(bench: Bench, cores: Sequence[int]) -> list[str]:
    alone = "" if bench.server_core != bench.load_core else " (one core only: the load takes from the server)"
    return [
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.release()}, {len(cores)} cores, "
        f"load average {os.getloadavg()[0]:.2f} at the start",
        f"server on core {bench.server_core}, load program on core {bench.load_core}{alone}; "
        f"state on {proc.file_system(bench.directory)}",
    ]


if __name__ == "__main__":
    sys.exit(main())
