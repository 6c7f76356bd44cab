"""The command as a process: exit codes, signals, pipes, and how fast it starts."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from tests.client.conftest import User
from tests.flows.daemon_process import DaemonProcess

COMMAND = [sys.executable, "-m", "spiderwebd.client"]
PATIENCE = 30.0


def run(user: User, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *argv], env=user.environment, input=stdin, capture_output=True, text=True, timeout=PATIENCE
    )


def read_line(pipe: IO[bytes]) -> bytes:
    """Read one line of an unbuffered pipe, or fail."""
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            assert selector.select(PATIENCE), f"no line came after {line!r}"
            data = os.read(pipe.fileno(), 1)
            assert data, f"the process ended after {line!r}"
            line += data
    return line


def test_done_and_refused(user: User) -> None:
    """Answers are on standard output, refusals on standard error, the exit code tells them apart."""
    done = run(user, "chat", "hello")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Nothing stored about this yet.\n"
    refused = run(user, "agent", "nobody")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "agent_unknown" in refused.stderr


def test_not_reachable(user: User) -> None:
    """69, and one line that says where it looked."""
    user.environment["SPIDERWEB_URL"] = "ws://127.0.0.1:1"
    ended = run(user, "state")
    assert ended.returncode == 69
    assert ended.stderr.count("\n") == 1
    assert "ws://127.0.0.1:1" in ended.stderr


def test_not_authorised(user: User, tmp_path: Path) -> None:
    """77 for a token that is not valid, and the token is not repeated."""
    (tmp_path / "wrong").write_text("sw_wrong-token")
    ended = run(user, "state", "--token-file", str(tmp_path / "wrong"))
    assert ended.returncode == 77
    assert "sw_wrong-token" not in ended.stderr


def test_usage(user: User) -> None:
    """2 for a mistake on the command line and for one that shows later."""
    assert run(user, "dance").returncode == 2
    assert run(user, "state", "--url", "http://x").returncode == 2


def test_lines_from_a_file(user: User, tmp_path: Path) -> None:
    """Standard input may be a plain file, which epoll would refuse."""
    (tmp_path / "lines").write_text("hello\n/state\n")
    with (tmp_path / "lines").open() as lines:
        ended = subprocess.run(
            [*COMMAND, "chat", "--json"],
            env=user.environment,
            stdin=lines,
            capture_output=True,
            timeout=PATIENCE,
        )
    assert ended.returncode == 0, ended.stderr
    kinds = [json.loads(line)["type"] for line in ended.stdout.splitlines()]
    assert {"session.accepted", "session.receive", "agent.state"} < set(kinds)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_ended_by_a_signal(user: User, number: signal.Signals, status: int) -> None:
    """Following ends cleanly by Ctrl-C and by signals, and what was seen is remembered."""
    user.run("memory", "create", "one")
    user.run("memory", "create", "two", "--json")
    key = user.frames[0]["sessionKey"]
    with subprocess.Popen(
        [*COMMAND, "attach", "--json", "--after", "0"],
        env=user.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        # A test run in the background of a script inherits SIGINT ignored (POSIX shells do that to `&`).
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as following:
        try:
            assert following.stdout is not None
            frame: dict[str, object] = {}
            while frame.get("memoryId") != 2:
                frame = json.loads(read_line(following.stdout))
            following.send_signal(number)
            _, errors = following.communicate(timeout=PATIENCE)
        finally:
            following.kill()
    assert (following.returncode, errors) == (status, b"")
    path = Path(user.environment["XDG_STATE_HOME"]) / "spiderweb" / "sessions.json"
    # The signal may come between printing a frame and noting it: the last one may be shown again.
    assert json.loads(path.read_text())["seqs"][key] in (1, 2)


def test_a_reader_that_leaves(user: User) -> None:
    """`spiderweb ... | head -1` ends quietly."""
    for text in ("one", "two", "three"):
        user.run("memory", "create", text)
    with subprocess.Popen(
        [*COMMAND, "attach", "--json", "--after", "0"],
        env=user.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as following:
        try:
            assert following.stdout is not None
            read_line(following.stdout)
            following.stdout.close()
            # Whatever comes next has no reader any more.
            user.run("memory", "create", "four")
            user.run("memory", "create", "five")
            assert following.wait(PATIENCE) == 0
            assert following.stderr is not None
            assert following.stderr.read() == b""
        finally:
            following.kill()


def test_reconnects_and_says_so(user: User, tmp_path: Path) -> None:
    """A killed daemon that comes back is found again: no frame twice, none left out."""
    with DaemonProcess(tmp_path / "own", {"log.level": "warning"}) as daemon:
        user.environment["SPIDERWEB_STATE_DIR"] = str(daemon.state_directory)
        user.environment["SPIDERWEB_URL"] = daemon.place.address.url
        user.run("memory", "create", "before the kill", "--json")
        with subprocess.Popen(
            [*COMMAND, "attach", "--json", "--after", "0"],
            env=user.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        ) as following:
            try:
                assert following.stdout is not None
                assert following.stderr is not None
                seqs: list[int] = []

                def follow_to(seq: int) -> None:
                    while seq not in seqs:
                        frame = json.loads(read_line(following.stdout))  # type: ignore[arg-type]  # checked above
                        if "seq" in frame and frame["type"] != "session.ack":
                            seqs.append(frame["seq"])

                follow_to(1)
                daemon.restart()
                assert b"lost the daemon" in read_line(following.stderr)
                assert read_line(following.stderr) == b"spiderweb: reconnected\n"
                user.run("memory", "create", "after the kill")
                follow_to(2)
            finally:
                following.kill()
        assert seqs == [1, 2]


def test_starts_without_the_daemon_s_libraries(user: User) -> None:
    """A question imports neither trio nor pydantic, and rich only for a terminal."""
    probe = (
        "import sys; from spiderwebd.client.cli import main; status = main(['state']);"
        "heavy = {'trio', 'pydantic', 'pydantic_core', 'rich', 'sqlite3'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(status)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", probe], env=user.environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (ended.returncode, ended.stderr) == (0, "")
