"""Finding the daemon and its token on this machine, when nobody says where they are.

Order: options, SPIDERWEB_URL, SPIDERWEB_STATE_DIR, the system's unix socket, ./.spiderwebd (what
`make run` uses), /var/lib/spiderwebd, and last the default address. A token is read from a file and
from nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spiderwebd.client.address import DEFAULT_ADDRESS, Address, parse_address
from spiderwebd.client.errors import UsageError

SYSTEM_SOCKET = Path("/run/spiderwebd/spiderwebd.sock")
SYSTEM_STATE = Path("/var/lib/spiderwebd")
LOCAL_STATE = Path(".spiderwebd")
TOKEN_CHARACTERS = 1024
"""Longest token the daemon takes."""


@dataclass(frozen=True, slots=True)
class Place:
    """A daemon to talk to, and what it takes to be let in."""

    address: Address
    token: str | None = None
    ca_file: Path | None = None
    """PEM file with the authorities to trust for wss; None: the system's."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line said; None where it said nothing."""

    url: str | None = None
    socket: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    insecure: bool = False


def find(
    wishes: Wishes,
    environment: Mapping[str, str],
    *,
    system_socket: Path = SYSTEM_SOCKET,
    state_folders: tuple[Path, ...] = (LOCAL_STATE, SYSTEM_STATE),
) -> Place:
    """Return where the daemon is and the token for it.

    A token found beside a daemon's state is used for addresses of this machine only; any other
    address needs --token-file or SPIDERWEB_TOKEN_FILE.

    Raises UsageError: an address that is none, a token file that cannot be read, or a token that
    would cross the network in clear without `insecure`.
    """
    named = environment.get("SPIDERWEB_STATE_DIR")
    folders = (Path(named),) if named else state_folders
    folder = next((each for each in folders if _read(each / "token") is not None), None)
    address = _chosen(wishes, environment)
    if address is None and not named and system_socket.is_socket():
        address = Address("unix", "localhost", 0, str(system_socket))
    if address is None:
        address = _announced(folder or (Path(named) if named else None))
    token = _token(wishes, environment)
    if token is None and address.on_this_machine and folder is not None:
        token = _checked(_read(folder / "token") or "", folder / "token")
    if token is not None and not address.private and not wishes.insecure:
        raise UsageError(
            f"the token would cross the network in clear to {address.url}; use wss:// or --insecure"
        )
    return Place(address, token, wishes.ca_file)


def _chosen(wishes: Wishes, environment: Mapping[str, str]) -> Address | None:
    if wishes.url is not None and wishes.socket is not None:
        raise UsageError("--url and --socket name two addresses; give one of them")
    if wishes.url is not None:
        return parse_address(wishes.url)
    if wishes.socket is not None:
        return Address("unix", "localhost", 0, str(wishes.socket.absolute()))
    url = environment.get("SPIDERWEB_URL")
    return parse_address(url) if url else None


def _announced(folder: Path | None) -> Address:
    """Return what a running daemon wrote into its state folder, else the default."""
    line = None if folder is None else _read(folder / "address")
    return parse_address(line) if line else DEFAULT_ADDRESS


def _token(wishes: Wishes, environment: Mapping[str, str]) -> str | None:
    named = environment.get("SPIDERWEB_TOKEN_FILE")
    path = wishes.token_file or (Path(named) if named else None)
    if path is None:
        return None
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the token file {path} cannot be read: {error}") from None
    return _checked(text, path)


def _checked(text: str, path: Path) -> str:
    token = text.strip()
    if (
        not token
        or len(token) > TOKEN_CHARACTERS
        or not token.isascii()
        or not token.isprintable()
        or " " in token
    ):
        raise UsageError(f"{path} holds no token: one line of printable ASCII is expected")
    return token


def _read(path: Path) -> str | None:
    """Return the text of a small file that may be missing or not ours to read."""
    try:
        return path.read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
