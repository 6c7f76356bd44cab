"""Where a daemon listens: a websocket URL, or the path of a unix socket."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from spiderwebd.client.errors import UsageError

DEFAULT_PORT = 18790


@dataclass(frozen=True, slots=True)
class Address:
    """One endpoint. `path` is the socket's file for unix, else what stands before /v1 in the URL."""

    scheme: str
    """ws, wss or unix."""
    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them."""
        if self.scheme == "unix":
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def path_prefix(self) -> str:
        """What stands before every request path: empty, but for a URL with a path of its own."""
        return "" if self.scheme == "unix" else self.path

    @property
    def private(self) -> bool:
        """Whether a token sent there stays on this machine or is encrypted on its way."""
        return self.scheme == "wss" or self.on_this_machine

    @property
    def on_this_machine(self) -> bool:
        """Whether this can only be a daemon of this machine."""
        return self.scheme == "unix" or self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def url(self) -> str:
        """Return it as a user would write it."""
        if self.scheme == "unix":
            return f"unix:{self.path}"
        return f"{self.scheme}://{self.authority}{self.path}"


DEFAULT_ADDRESS = Address("ws", "127.0.0.1", DEFAULT_PORT)


def parse_address(text: str) -> Address:
    """Read ws://HOST[:PORT], wss://HOST[:PORT], unix:/PATH, or HOST:PORT.

    Raises UsageError for anything else, and for a URL with a user, a password, a query or a fragment:
    tokens and session keys do not belong into URLs, which end up in logs and process lists.
    """
    text = text.strip()
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/") or "\0" in path:
            raise UsageError(f"{text!r} is no address: unix: needs an absolute path")
        return Address("unix", "localhost", 0, path)
    try:
        parts = urlsplit(text if "://" in text else f"ws://{text}")
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{text!r} is no address: {error}") from None
    if parts.scheme not in ("ws", "wss") or not parts.hostname or not text.isascii():
        raise UsageError(f"{text!r} is no address: write ws://HOST:PORT, wss://HOST:PORT or unix:/PATH")
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            "an address has no user, query or fragment; tokens are read from a file (--token-file)"
        )
    if port == 0:
        raise UsageError(f"{text!r} is no address: port 0 cannot be connected to")
    default_port = 443 if parts.scheme == "wss" else DEFAULT_PORT
    return Address(parts.scheme, parts.hostname, port or default_port, parts.path.rstrip("/"))
