"""Listening sockets: TCP, unix path, inherited from the service manager; and who is on the other end."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import ssl
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import trio
import trio.abc

from spiderwebd.core.codes import SpiderwebError
from spiderwebd.core.values import value

Transport = Literal["tcp", "unix"]
Listener = trio.SocketListener | trio.SSLListener[trio.SocketStream]

KEEPALIVE_IDLE_SECONDS = 60
KEEPALIVE_INTERVAL_SECONDS = 15
KEEPALIVE_PROBES = 4
"""A peer that vanished is noticed by the kernel after 60 + 4 * 15 = 120 s, at no cost to the loop."""

_CREDENTIALS = struct.Struct("3i")
"""struct ucred of unix(7): pid, uid, gid."""


class ListenError(SpiderwebError):
    """An address cannot be listened on; the message says which and what to do."""


class ExposedError(ListenError):
    """A socket that others can reach was handed over, and neither TLS nor the explicit word was."""


@value(frozen=True, slots=True)
class Peer:
    """The other end of an accepted socket, as the kernel vouches for it."""

    transport: Transport
    address: str
    """`host:port`, `[host]:port`, or `uid:N` of a unix peer; never a secret."""
    pid: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One listening socket, ready for `trio.serve_listeners`."""

    listener: Listener
    transport: Transport
    address: str
    """`host:port`, `[host]:port`, or the path of a unix socket."""
    name: str = ""
    """FileDescriptorName of an inherited socket."""
    inode: tuple[int, int] | None = None
    """Device and inode of a socket file that this process made."""

    def remove(self) -> None:
        """Unlink the socket file if it is still the one this process made; call after closing."""
        if self.inode is not None and _inode(self.address) == self.inode:
            Path(self.address).unlink(missing_ok=True)


async def open_tcp(host: str, port: int) -> list[Endpoint]:
    """Listen on every address that `host` resolves to; port 0 picks a free one for each.

    Raises ListenError when the name does not resolve or an address cannot be bound.
    """
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ListenError(
            f"Cannot listen on {address_text(host, port)}: {reason}. "
            "Choose another address or port with --listen, or stop the program that holds it."
        ) from error
    return [_tcp_endpoint(listener) for listener in listeners]


def open_unix(path: Path, *, mode: int = 0o660, backlog: int = 1024) -> Endpoint:
    """Listen on a unix socket at `path`, whose file mode decides who may connect.

    A socket file left by a killed process is replaced; one that somebody answers on is not, and
    neither is any other kind of file. Raises ListenError.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        try:
            listening.bind(str(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(path)
            listening.bind(str(path))
        # Before listen() nobody can connect, so the socket is never open with a wider mode.
        path.chmod(mode)
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        raise ListenError(
            f"Cannot listen on unix socket {path}: {reason}. "
            "Check that its directory exists and is writable for the daemon, and that the path is short."
        ) from error
    except BaseException:
        listening.close()
        raise
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    return Endpoint(listener, "unix", str(path), inode=_inode(str(path)))


def adopt(inherited: Iterable[tuple[str, socket.socket]]) -> list[Endpoint]:
    """Wrap listening sockets that the service manager opened; each comes with its name.

    The sockets belong to the endpoints afterwards. Raises ListenError for one that does not
    listen, is no stream, or is of another family than IPv4, IPv6 and unix.
    """
    endpoints = []
    for name, listening in inherited:
        if (
            listening.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
            or listening.type != socket.SOCK_STREAM
            or not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        ):
            raise ListenError(
                f"Inherited socket {name or listening.fileno()} does not listen for streams. "
                "Use ListenStream= in the .socket unit, with Accept=no."
            )
        listening.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        if listening.family == socket.AF_UNIX:
            endpoints.append(Endpoint(listener, "unix", _unix_name(listening.getsockname()), name))
        else:
            endpoints.append(replace(_tcp_endpoint(listener), name=name))
    return endpoints


def refuse_exposed(endpoints: Iterable[Endpoint]) -> None:
    """Raise ExposedError for a TCP endpoint that is not loopback: tokens would cross the network in clear.

    For inherited sockets; a configured address is checked with the configuration.
    """
    for endpoint in endpoints:
        host = endpoint.address.rpartition(":")[0].strip("[]")
        if endpoint.transport == "tcp" and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            raise ExposedError(
                f"The socket unit listens on {endpoint.address}, which others can reach, without TLS: set "
                "listen.tls_certificate and listen.tls_key, or listen.insecure = true, or its ListenStream=."
            )


def with_tls(endpoint: Endpoint, context: ssl.SSLContext) -> Endpoint:
    """Return the endpoint speaking TLS.

    The handshake happens at the first read, so it falls under the door's head deadline. Raises
    ValueError for a unix endpoint or one that speaks TLS already.
    """
    if endpoint.transport != "tcp" or not isinstance(endpoint.listener, trio.SocketListener):
        raise ValueError(f"{endpoint.address} cannot be wrapped in TLS")
    return replace(endpoint, listener=trio.SSLListener(endpoint.listener, context, https_compatible=True))


def peer_of(stream: trio.abc.Stream) -> Peer:
    """Say who is at the other end of an accepted stream (plain or TLS).

    Raises OSError when the peer has already gone, TypeError for a stream without a socket.
    """
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if not isinstance(transport, trio.SocketStream):
        raise TypeError(f"{type(transport).__name__} has no socket to ask")
    accepted = transport.socket
    if accepted.family == socket.AF_UNIX:
        credentials = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, gid = _CREDENTIALS.unpack(credentials)
        return Peer("unix", f"uid:{uid}", pid, uid, gid)
    host, port, *_ = accepted.getpeername()
    return Peer("tcp", address_text(host, port))


def local_url(endpoint: Endpoint, *, tls: bool) -> str:
    """Return where a client on this machine reaches the endpoint: ws://, wss:// or unix:PATH."""
    if endpoint.transport == "unix":
        return f"unix:{endpoint.address}"
    host, _, port = endpoint.address.rpartition(":")
    # A wildcard listens everywhere and can be connected to nowhere.
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"{'wss' if tls else 'ws'}://{host}:{port}"


def address_text(host: str, port: int) -> str:
    """Render host and port as in a URL, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tcp_endpoint(listener: trio.SocketListener) -> Endpoint:
    listening = listener.socket
    # Linux hands these options on to every accepted socket, so no link pays system calls for them.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    host, port, *_ = listening.getsockname()
    return Endpoint(listener, "tcp", address_text(host, port))


def _remove_stale(path: Path) -> None:
    """Unlink a socket file that no process answers on; raise ListenError for anything else."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise ListenError(f"Cannot listen on {path}: it exists and is no socket. Move it away.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # A full backlog: somebody listens.
    raise ListenError(
        f"Cannot listen on {path}: another process answers there. Stop it or choose another path."
    )


def _inode(path: str) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        return status.st_dev, status.st_ino
    return None


def _unix_name(name: str | bytes) -> str:
    # An abstract socket's name starts with NUL; it is written with @, as ss(8) does.
    text = name.decode(errors="replace") if isinstance(name, bytes) else name
    return text.replace("\0", "@", 1) if text.startswith("\0") else text
