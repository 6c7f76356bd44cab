"""Crash rounds by the thousand: `python -m tests.crash.thousand --rounds 1000 --jobs 2 --log FILE`.

Parts of a few rounds, each a daemon and eight clients of its own, some at a time. What a part printed is
printed and kept in the log; the files of one that failed stay in --folder. Exit 1 when a promise was
broken; `--seed SEED --rounds N` of that part's line does it again.
"""

from __future__ import annotations

import argparse
import re
import secrets
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from time import monotonic

from tests.crash.rounds import Rounds

PART_ROUNDS = 25
PART_SECONDS = 900.0
"""For one part on a busy machine."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the rounds; return the exit code."""
    options = _options(argv)
    if options.part:
        rounds = Rounds(options.folder, options.seed, hatched=True)
        rounds.run(options.rounds)
        print(rounds.summary())
        return 0
    began, whole = monotonic(), Counter[str]()
    seeds = range(options.seed, options.seed + -(-options.rounds // options.part_rounds))
    log, lock, failed = options.log.open("a"), Lock(), []

    def say(text: str) -> None:
        with lock:
            print(text, flush=True)
            print(text, file=log, flush=True)

    def part(seed: int) -> None:
        number = seed - options.seed
        count = min(options.part_rounds, options.rounds - number * options.part_rounds)
        folder = Path(mkdtemp(prefix=f"crash-{seed}-", dir=options.folder))
        said, good = _part(seed, count, folder)
        say(f"{monotonic() - began:.0f} s: {said}")
        if good:
            whole.update(rounds=count)
            whole.update(
                {
                    kind: int(found)
                    for found, kind in re.findall(r"(\d+) (requests|events|ends of|retries)", said)
                }
            )
            whole.update(
                {
                    kind: int(found)
                    for kind, found in re.findall(
                        r"([a-z]+(?: inside| whole)?) (\d+)", said.partition("; ends: ")[2]
                    )
                }
            )
            shutil.rmtree(folder, ignore_errors=True)
        else:
            failed.append(seed)

    with log, ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(part, seeds))
        say(
            f"in {monotonic() - began:.0f} s, seeds {seeds.start} to {seeds.stop - 1}: "
            + ", ".join(f"{kind} {count}" for kind, count in whole.items())
            + (f"; FAILED: {failed}" if failed else "; nothing acknowledged was lost, nothing was done twice")
        )
    return 1 if failed else 0


def _part(seed: int, rounds: int, folder: Path) -> tuple[str, bool]:
    """Run one part in a process of its own; what it printed, and whether all promises were kept."""
    command = [
        sys.executable,
        "-m",
        "tests.crash.thousand",
        "--part",
        f"--seed={seed}",
        f"--rounds={rounds}",
        f"--folder={folder}",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PART_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        return f"seed {seed}: FAILED: no end after {PART_SECONDS:g} s: {error.stderr!r}", False
    if done.returncode:
        return f"seed {seed}, {rounds} rounds: FAILED, files in {folder}\n{done.stderr}", False
    return done.stdout.strip(), True


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--part-rounds", type=int, default=PART_ROUNDS, help="rounds of one daemon")
    parser.add_argument("--jobs", type=int, default=2, help="parts at the same time")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="of the first part")
    parser.add_argument("--folder", type=Path, default=None, help="for the files of what fails")
    parser.add_argument("--log", type=Path, default=Path("/dev/null"), help="what is printed is added to it")
    parser.add_argument("--part", action="store_true", help="run one part here")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
