"""The unix socket: the kernel says who is there, no token is needed, and it is the same sessions."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from spiderwebd.client.address import parse_address
from spiderwebd.client.discovery import Place
from spiderwebd.client.errors import UnreachableError
from tests.flows.daemon_process import DaemonProcess
from tests.flows.talking import Talker


def _place(path: Path) -> Place:
    return Place(parse_address(f"unix:{path}"))


def test_a_peer_needs_no_token(tmp_path: Path) -> None:
    """A client on the unix socket is attached at once, as the principal that its user id stands for."""
    path = tmp_path / "s.sock"
    with DaemonProcess(tmp_path, {"listen.unix_socket": path}) as daemon:
        assert daemon.ready["addresses"] == [daemon.listen, str(path)]
        with Talker(_place(path)) as talker:
            assert talker.ack["principal"] == f"uid:{os.getuid()}"
            accepted = talker.ask("memory.create", id="a", content="tea")
        with Talker(_place(path), talker.key, 0) as back:
            back.up_to(1)
            assert back.story == [accepted]


def test_its_sessions_are_not_those_of_a_token(tmp_path: Path) -> None:
    """The token's principal is another one than the user's, so neither may take the other's session."""
    path = tmp_path / "s.sock"
    with (
        DaemonProcess(tmp_path, {"listen.unix_socket": path}) as daemon,
        Talker(_place(path)) as talker,
        Talker(daemon.place, talker.key, 0) as other,
    ):
        assert other.ack["restored"] is False
        assert other.key != talker.key


def test_its_file_is_private_and_goes_with_the_daemon(tmp_path: Path) -> None:
    """Others of the machine cannot connect; after a stop the file is gone, after a kill it is replaced."""
    path = tmp_path / "s.sock"
    with DaemonProcess(tmp_path, {"listen.unix_socket": path}) as daemon:
        assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
        daemon.restart()
        with Talker(_place(path)) as talker:
            assert talker.ask("ping")["type"] == "pong"
        assert daemon.terminate() == 0
        assert not path.exists()
    with pytest.raises(UnreachableError):
        Talker(_place(path))
