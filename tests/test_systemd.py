"""The service manager's protocols, over real sockets and real inherited descriptors."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spiderwebd import systemd

ABSTRACT = "@abstract"


@pytest.fixture(params=["path", ABSTRACT])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """A datagram socket in the place of the service manager's, with and without a file."""
    name = (
        f"@spiderwebd-test-{secrets.token_hex(8)}" if request.param == ABSTRACT else str(tmp_path / "notify")
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(name.replace("@", "\0", 1) if request.param == ABSTRACT else name)
        server.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield server


def test_fields_are_sent_in_one_message(manager: socket.socket) -> None:
    """READY and STATUS arrive together, and a line break in a value starts no other field."""
    assert systemd.notify(READY=1, STATUS="serving\nWATCHDOG=trigger")
    assert manager.recv(4096) == b"READY=1\nSTATUS=serving WATCHDOG=trigger"


def test_a_reload_carries_the_time_it_began(manager: socket.socket) -> None:
    """Type=notify-reload needs MONOTONIC_USEC of the system's monotonic clock."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert systemd.reloading()
    first, second = manager.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_manager_that_does_not_read_is_not_waited_for(manager: socket.socket) -> None:
    """With the manager's queue full, notify says False instead of blocking."""
    sent = [systemd.notify(STATUS="x" * 1000) for _ in range(2000)]
    assert sent[0] is True
    assert sent[-1] is False


@pytest.mark.parametrize(
    "address", [None, "", "relative", "/nonexistent/notify", "/" + "x" * 200, "vsock:2:1"]
)
def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    """A missing, odd or dead address is answered with False and never raises."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert systemd.notify(READY=1) is False


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_the_watchdog_is_for_this_process(environment: dict[str, str], seconds: float | None) -> None:
    """The interval is in seconds; another process' watchdog, or nonsense, is none."""
    assert systemd.watchdog_seconds(environment) == seconds


CHILD = """\
import json, os, sys
from spiderwebd.systemd import listen_sockets
os.environ["LISTEN_PID"] = str(os.getpid() + int(sys.argv[1]))
found = listen_sockets()
json.dump({
    "sockets": [
        [name, link.fileno(), link.getsockname(), link.gettimeout(), os.get_inheritable(link.fileno())]
        for name, link in found
    ],
    "left": [name for name in os.environ if name.startswith("LISTEN_")],
    "again": len(listen_sockets()),
}, sys.stdout)
"""

# Puts the descriptors where systemd puts them, then becomes the child.
STARTER = """\
import fcntl, os, sys
count = int(sys.argv[1])
high = [fcntl.fcntl(int(text), fcntl.F_DUPFD, 100) for text in sys.argv[2:2 + count]]
for place, descriptor in enumerate(high, 3):
    os.dup2(descriptor, place, inheritable=True)
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[2 + count:]])
"""


def run_child(listeners: list[socket.socket], names: str, offset: int) -> dict[str, list[list[object]]]:
    """Start a process with inherited sockets, as a socket unit does; return what it found."""
    descriptors = [listener.fileno() for listener in listeners]
    environment = {**os.environ, "LISTEN_FDS": str(len(listeners)), "LISTEN_FDNAMES": names}
    arguments = [str(len(listeners)), *map(str, descriptors), CHILD, str(offset)]
    output = subprocess.run(
        [sys.executable, "-c", STARTER, *arguments],
        pass_fds=descriptors,
        env=environment,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    found: dict[str, list[list[object]]] = json.loads(output)
    return found


def test_inherited_sockets_are_taken_over(tmp_path: Path) -> None:
    """TCP and unix sockets keep number, name and address; non-blocking, not for children, once."""
    with (
        socket.create_server(("127.0.0.1", 0)) as internet,
        socket.socket(socket.AF_UNIX) as local,
        socket.create_server(("127.0.0.1", 0)) as unnamed,
    ):
        local.bind(str(tmp_path / "socket"))
        local.listen()
        found = run_child([internet, local, unnamed], "tcp:unix", 0)
        assert found["sockets"] == [
            ["tcp", 3, list(internet.getsockname()), 0.0, False],
            ["unix", 4, str(tmp_path / "socket"), 0.0, False],
            ["unknown", 5, list(unnamed.getsockname()), 0.0, False],
        ]
    assert found["left"] == []
    assert found["again"] == 0


def test_sockets_of_another_process_are_left_alone() -> None:
    """LISTEN_PID of another process means that the variables leaked: nothing is taken, all removed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = run_child([listener], "tcp", 1)
    assert found == {"sockets": [], "left": [], "again": 0}


def test_a_descriptor_that_is_no_socket_is_an_error() -> None:
    """A wrong descriptor is not served in silence."""
    with pytest.raises(subprocess.CalledProcessError) as caught, open(os.devnull, "rb") as file:
        run_child([file], "tcp", 0)  # type: ignore[list-item]  # that it is no socket is the point
    assert b"non-socket" in caught.value.stderr


def test_without_socket_activation_there_are_none() -> None:
    """A daemon started by hand finds nothing, also with nonsense in the variables."""
    assert systemd.listen_sockets({}) == []
    assert systemd.listen_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}) == []
