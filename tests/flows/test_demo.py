"""The demo: it passes on a daemon that works, and fails on one that does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.flows.daemon_process import COMMAND
from tests.flows.demo import Checks

PATIENCE = 240.0
ROOT = Path(__file__).parents[2]


def demo(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as `make demo` does."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.flows.demo", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_the_demo_passes() -> None:
    """Every check holds on the real daemon, and the summary is on one screen."""
    ended = demo()
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr
    assert "FAILED" not in ended.stdout
    summary = ended.stdout.rpartition("\n\n")[2].splitlines()
    assert 20 <= len(summary) <= 24, summary
    assert summary[-1].startswith(f"{len(summary) - 1} of {len(summary) - 1} checks hold")


def test_without_a_daemon_it_fails() -> None:
    """A daemon that cannot be started is exit code 1 and a row that says so."""
    ended = demo("--daemon", "/nonexistent/spiderwebd")
    assert ended.returncode == 1
    assert "FAILED  the story is told to its end" in ended.stdout


def test_a_daemon_that_forgets_is_found_out(tmp_path: Path) -> None:
    """Sabotage: a daemon that loses its database when it is started again does not pass."""
    forgetful = tmp_path / "forgetful"
    forgetful.write_text(
        "#!/bin/sh\n"
        'for argument; do case "$previous" in --state-dir) state=$argument;; esac; previous=$argument; done\n'
        'rm -f "$state"/spiderwebd.db*\n'
        f'exec {" ".join(COMMAND)} "$@"\n'
    )
    forgetful.chmod(0o755)
    ended = demo("--daemon", str(forgetful))
    assert ended.returncode == 1
    assert "FAILED  the session is there again" in ended.stdout


def test_checks_fail_when_one_fails() -> None:
    """One check that does not hold is enough, and none at all is not a pass."""
    checks = Checks()
    passed = [checks.passed]
    for holds in (True, False):
        checks.that(holds, "a check", 1)
        passed.append(checks.passed)
    assert passed == [False, True, False]
    assert checks.summary().splitlines()[-1] == "1 of 2 checks hold"
