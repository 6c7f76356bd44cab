"""Finding the daemon: the order of sources, and where a token may go."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from spiderwebd.client.address import DEFAULT_ADDRESS, parse_address
from spiderwebd.client.discovery import Place, Wishes, find
from spiderwebd.client.errors import UsageError


class Machine:
    """A machine of folders in a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "run.sock"
        self.local = self.state("local", None, None)
        self.system = self.state("system", None, None)

    def state(self, name: str, token: str | None, address: str | None) -> Path:
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        for file, text in (("token", token), ("address", address)):
            if text is not None:
                (folder / file).write_text(text + "\n")
        return folder

    def find(self, wishes: Wishes | None = None, **environment: str) -> Place:
        return find(
            wishes or Wishes(),
            environment,
            system_socket=self.socket,
            state_folders=(self.local, self.system),
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_default(machine: Machine) -> None:
    """With nothing to go by, it is the default address and no token."""
    assert machine.find() == Place(DEFAULT_ADDRESS, None)


def test_local_state_before_the_system(machine: Machine) -> None:
    """What `make run` left here is preferred; address and token are from one folder."""
    machine.state("system", "sys", "127.0.0.1:2")
    assert machine.find() == Place(parse_address("127.0.0.1:2"), "sys")
    machine.state("local", "loc", "127.0.0.1:1")
    assert machine.find() == Place(parse_address("127.0.0.1:1"), "loc")


def test_socket_before_state_folders(machine: Machine) -> None:
    """The system's unix socket needs no token and is preferred, unless a state folder is named."""
    machine.state("system", "sys", "127.0.0.1:2")
    other = machine.state("other", "oth", None)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(machine.socket))
        assert machine.find().address.url == f"unix:{machine.socket}"
        assert machine.find(SPIDERWEB_STATE_DIR=str(other)) == Place(DEFAULT_ADDRESS, "oth")


def test_options_before_environment(machine: Machine) -> None:
    """--url wins over SPIDERWEB_URL, --token-file over SPIDERWEB_TOKEN_FILE, which win over folders."""
    machine.state("local", "loc", "127.0.0.1:1")
    first, second = machine.state("a", "first", None), machine.state("b", "second", None)
    environment = {"SPIDERWEB_URL": "127.0.0.1:3", "SPIDERWEB_TOKEN_FILE": str(second / "token")}
    assert machine.find(None, **environment) == Place(parse_address("127.0.0.1:3"), "second")
    wishes = Wishes(url="127.0.0.1:4", token_file=first / "token")
    assert machine.find(wishes, **environment) == Place(parse_address("127.0.0.1:4"), "first")
    assert machine.find(Wishes(socket=Path("/x"))).address == parse_address("unix:/x")


def test_two_addresses_are_refused(machine: Machine) -> None:
    """--url and --socket together are a mistake."""
    with pytest.raises(UsageError, match="give one"):
        machine.find(Wishes(url="127.0.0.1:1", socket=Path("/x")))


def test_a_found_token_stays_on_this_machine(machine: Machine) -> None:
    """The local daemon's token is not sent elsewhere just because it lies there."""
    machine.state("local", "loc", None)
    assert machine.find(Wishes(url="wss://far.example")).token is None
    assert machine.find(Wishes(url="127.0.0.1:9")).token == "loc"


def test_a_token_in_clear_is_refused(machine: Machine) -> None:
    """A named token does not cross a network without TLS, unless the user insists."""
    file = machine.state("a", "tok", None) / "token"
    with pytest.raises(UsageError, match="in clear"):
        machine.find(Wishes(url="ws://far.example:1", token_file=file))
    assert machine.find(Wishes(url="ws://far.example:1", token_file=file, insecure=True)).token == "tok"
    assert machine.find(Wishes(url="wss://far.example", token_file=file)).token == "tok"


@pytest.mark.parametrize("text", ["", " \n", "two words", "tok\u00e9n", "a\x01b", "x" * 2000])
def test_a_file_without_a_token_is_refused(machine: Machine, text: str) -> None:
    """What cannot be a token is said to be none; it never gets into a header."""
    file = machine.state("a", text, None) / "token"
    with pytest.raises(UsageError, match="holds no token"):
        machine.find(Wishes(token_file=file))


def test_a_missing_token_file_is_refused(machine: Machine) -> None:
    """A file that was named and cannot be read is not passed over."""
    with pytest.raises(UsageError, match="cannot be read"):
        machine.find(SPIDERWEB_TOKEN_FILE=str(machine.root / "none"))
