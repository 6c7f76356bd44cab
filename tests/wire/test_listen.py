"""Listening sockets of every kind, on real sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing

from spiderwebd.wire.listen import (
    KEEPALIVE_IDLE_SECONDS,
    Endpoint,
    ExposedError,
    Listener,
    ListenError,
    Transport,
    address_text,
    adopt,
    local_url,
    open_tcp,
    open_unix,
    peer_of,
    refuse_exposed,
    with_tls,
)
from tests.wire.certificate import client_context, server_context


async def accept_one(endpoint: Endpoint) -> tuple[trio.SocketStream, trio.abc.Stream]:
    """Connect to an endpoint; return both ends."""
    if endpoint.transport == "unix":
        client = await trio.open_unix_socket(endpoint.address)
    else:
        host, _, port = endpoint.address.rpartition(":")
        client = await trio.open_tcp_stream(host.strip("[]"), int(port))
    return client, await endpoint.listener.accept()


async def test_tcp_listens_on_a_free_port_and_knows_its_peer() -> None:
    """Port 0 is replaced by the port taken; the peer is the client's own address."""
    (endpoint,) = await open_tcp("127.0.0.1", 0)
    client, server = await accept_one(endpoint)
    async with endpoint.listener, client, server:
        peer = peer_of(server)
        assert endpoint.transport == peer.transport == "tcp"
        assert peer.address == address_text(*client.socket.getsockname())
        assert peer.uid is None


async def test_accepted_sockets_inherit_keepalive_and_nodelay() -> None:
    """The kernel watches each accepted socket, and small frames are not held back."""
    (endpoint,) = await open_tcp("127.0.0.1", 0)
    client, server = await accept_one(endpoint)
    async with endpoint.listener, client, server:
        assert isinstance(server, trio.SocketStream)
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEPALIVE_IDLE_SECONDS
        assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_a_taken_port_is_named_in_the_error() -> None:
    """The operator reads which address, why, and what to do."""
    (endpoint,) = await open_tcp("127.0.0.1", 0)
    async with endpoint.listener:
        port = int(endpoint.address.rpartition(":")[2])
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}.*--listen"):
            await open_tcp("127.0.0.1", port)


async def test_a_restart_takes_the_same_port_again() -> None:
    """Connections of the former process in TIME_WAIT do not keep the address."""
    (endpoint,) = await open_tcp("127.0.0.1", 0)
    client, server = await accept_one(endpoint)
    await server.aclose()
    await endpoint.listener.aclose()
    await client.aclose()
    (again,) = await open_tcp("127.0.0.1", int(endpoint.address.rpartition(":")[2]))
    async with again.listener:
        assert again.address == endpoint.address


async def test_unix_socket_has_its_mode_and_knows_credentials(tmp_path: Path) -> None:
    """The file admits owner and group only; the kernel says which process connected."""
    endpoint = open_unix(tmp_path / "s.sock")
    client, server = await accept_one(endpoint)
    async with endpoint.listener, client, server:
        assert stat.S_IMODE(os.lstat(endpoint.address).st_mode) == 0o660
        peer = peer_of(server)
        assert (peer.transport, peer.pid, peer.uid, peer.gid) == (
            "unix",
            os.getpid(),
            os.getuid(),
            os.getgid(),
        )
        assert peer.address == f"uid:{os.getuid()}"


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """What a killed daemon left behind does not keep the next one from starting."""
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
        killed.listen()
    endpoint = open_unix(path)
    client, server = await accept_one(endpoint)
    async with endpoint.listener, client, server:
        assert peer_of(server).transport == "unix"


async def test_a_socket_that_answers_is_left_alone(tmp_path: Path) -> None:
    """A second daemon does not steal the path of one that runs."""
    endpoint = open_unix(tmp_path / "s.sock")
    async with endpoint.listener:
        with pytest.raises(ListenError, match="another process"):
            open_unix(tmp_path / "s.sock")
        client, server = await accept_one(endpoint)
        async with client, server:
            assert peer_of(server).pid == os.getpid()


def test_a_socket_whose_backlog_is_full_is_left_alone(tmp_path: Path) -> None:
    """A busy daemon that accepts nobody right now still owns its path."""
    path = tmp_path / "s.sock"
    waiting = []
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                probe = socket.socket(socket.AF_UNIX)
                waiting.append(probe)
                probe.setblocking(False)
                probe.connect(str(path))
        with pytest.raises(ListenError, match="another process"):
            open_unix(path)
        for probe in waiting:
            probe.close()
    assert path.is_socket()


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    """A mistyped path costs nobody their file."""
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ListenError, match="no socket"):
        open_unix(path)
    assert path.read_text() == "data"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """The error says which path cannot be made."""
    with pytest.raises(ListenError, match=r"missing/s\.sock.*directory"):
        open_unix(tmp_path / "missing" / "s.sock")


async def test_remove_takes_its_own_socket_file_only(tmp_path: Path) -> None:
    """A successor's socket at the same path survives the end of the predecessor."""
    path = tmp_path / "s.sock"
    first = open_unix(path)
    await first.listener.aclose()
    kept = path.rename(tmp_path / "kept")
    second = open_unix(path)
    await second.listener.aclose()
    assert kept.is_socket()
    first.remove()
    assert path.is_socket()
    second.remove()
    second.remove()
    assert not path.exists()


async def test_inherited_sockets_are_adopted(tmp_path: Path) -> None:
    """TCP and unix sockets opened by somebody else serve like our own, under their names."""
    tcp = socket.create_server(("127.0.0.1", 0))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "s.sock"))
    unix.listen()
    await trio.lowlevel.checkpoint()
    for endpoint, name in zip(adopt([("web", tcp), ("local", unix)]), ["web", "local"], strict=True):
        assert endpoint.name == name
        client, server = await accept_one(endpoint)
        async with endpoint.listener, client, server:
            await client.send_all(b"hello")
            assert await server.receive_some(10) == b"hello"
        endpoint.remove()
    assert (tmp_path / "s.sock").is_socket(), "systemd owns the file of an inherited socket"


def test_a_socket_that_does_not_listen_is_refused() -> None:
    """A datagram or unconnected socket in the unit is a configuration error with a hint."""
    with socket.socket() as idle, pytest.raises(ListenError, match="ListenStream="):
        adopt([("web", idle)])
    with socket.socket(type=socket.SOCK_DGRAM) as datagram, pytest.raises(ListenError, match="web"):
        adopt([("web", datagram)])


async def test_tls_is_spoken_on_a_wrapped_endpoint() -> None:
    """A client that checks the certificate talks to the daemon, whose peer is still known."""
    endpoint = with_tls((await open_tcp("127.0.0.1", 0))[0], server_context())
    plain, server = await accept_one(endpoint)
    secure = trio.SSLStream(plain, client_context(), server_hostname="localhost")
    async with endpoint.listener, secure, server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(secure.send_all, b"hello")
            assert await server.receive_some(10) == b"hello"
        assert peer_of(server).address == address_text(*plain.socket.getsockname())


async def test_tls_on_a_unix_socket_is_a_mistake(tmp_path: Path) -> None:
    """The kernel already keeps a unix socket private."""
    endpoint = open_unix(tmp_path / "s.sock")
    async with endpoint.listener:
        with pytest.raises(ValueError, match="TLS"):
            with_tls(endpoint, server_context())


def test_a_stream_without_a_socket_has_no_peer() -> None:
    """Only what the kernel vouches for counts as a peer."""
    stream, _ = trio.testing.memory_stream_pair()
    with pytest.raises(TypeError, match="no socket"):
        peer_of(stream)


@pytest.mark.parametrize(
    ("transport", "address", "tls", "url"),
    [
        ("tcp", "127.0.0.1:18790", False, "ws://127.0.0.1:18790"),
        ("tcp", "0.0.0.0:18790", True, "wss://127.0.0.1:18790"),
        ("tcp", "[::]:18790", False, "ws://[::1]:18790"),
        ("unix", "/run/spiderwebd/spiderwebd.sock", True, "unix:/run/spiderwebd/spiderwebd.sock"),
    ],
)
def test_local_url_can_be_connected_to(transport: Transport, address: str, tls: bool, url: str) -> None:
    """What stands in the address file names the scheme, and never a wildcard."""
    nobody = cast("Listener", None)
    assert local_url(Endpoint(nobody, transport, address), tls=tls) == url


@pytest.mark.parametrize(
    ("host", "exposed"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True), ("::", True)]
)
async def test_inherited_sockets_open_to_others_are_refused(host: str, exposed: bool) -> None:
    """Loopback and unix sockets pass, any other address is named in the refusal."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.bind((host, 0))
    listening.listen()
    (endpoint,) = adopt([("spiderwebd", listening)])
    try:
        if exposed:
            with pytest.raises(ExposedError, match=r"listen\.tls_certificate"):
                refuse_exposed([endpoint])
        else:
            refuse_exposed([endpoint])
    finally:
        await endpoint.listener.aclose()
