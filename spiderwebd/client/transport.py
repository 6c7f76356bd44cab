"""A connected socket to an address: TCP, TLS or unix, each within a deadline."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from spiderwebd.client.address import Address
from spiderwebd.client.errors import UnreachableError

Frame = dict[str, Any]
"""One JSON object, as it goes over a connection."""

OPEN_SECONDS = 10.0
"""From here to session.ack."""


def open_socket(address: Address, timeout: float, ca_file: Path | None = None) -> socket.socket:
    """Connect within `timeout` seconds (a name is looked up first, within the resolver's own bound).

    Raises UnreachableError when nothing listens there, or TLS finds no certificate it can trust.
    """
    try:
        if address.scheme == "unix":
            return _open_unix(address.path, timeout)
        connected = socket.create_connection((address.host, address.port), timeout)
    except OSError as error:
        raise UnreachableError(
            f"no daemon answers at {address.url}: {error}; is spiderwebd running?"
        ) from None
    # Small frames are answered by small frames: waiting to fill a segment only costs time.
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _secured(connected, address, ca_file) if address.scheme == "wss" else connected


def _open_unix(path: str, timeout: float) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.settimeout(timeout)
        connected.connect(path)
    except BaseException:
        connected.close()
        raise
    return connected


def _secured(connected: socket.socket, address: Address, ca_file: Path | None) -> socket.socket:
    import ssl  # 5 ms at start-up that only wss needs

    try:
        context = ssl.create_default_context(cafile=ca_file)
        return context.wrap_socket(connected, server_hostname=address.host)
    except OSError as error:  # SSLError is one
        connected.close()
        raise UnreachableError(
            f"no TLS with {address.url}: {error}; --ca-file names another authority to trust"
        ) from None
