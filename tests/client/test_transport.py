"""Sockets: TLS is checked, and what cannot be reached is said to be so."""

from __future__ import annotations

from pathlib import Path

import pytest

from spiderwebd.client.address import Address
from spiderwebd.client.connection import Connection
from spiderwebd.client.discovery import Place
from spiderwebd.client.errors import UnreachableError
from spiderwebd.client.transport import open_socket
from tests.client.scripted_server import PATIENCE, TOKEN, Scene, ScriptedServer
from tests.wire.certificate import CERTIFICATE, server_context


def talk(scene: Scene) -> None:
    """Accept, send one frame, read until the client has gone."""
    scene.accept()
    scene.frame(type="pong")
    scene.wait_for_end()


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_text(CERTIFICATE)
    return path


def test_tls_with_an_authority_we_trust(ca_file: Path) -> None:
    """wss works with the authority that was named, also beside another descriptor."""
    with (
        ScriptedServer(talk, context=server_context()) as server,
        Connection.open(Place(server.address, TOKEN, ca_file)) as link,
    ):
        assert link.receive(PATIENCE, also=server._listener.fileno()) == {"type": "pong"}


def test_tls_with_an_authority_we_do_not_trust() -> None:
    """A certificate from nowhere ends it before the token is sent."""
    with ScriptedServer(talk, context=server_context()) as server:
        with pytest.raises(UnreachableError, match="--ca-file"):
            Connection.open(server.place)
        assert server.scenes == []


def test_tls_with_another_name(ca_file: Path) -> None:
    """The certificate must be for the host that was asked for."""
    with ScriptedServer(talk, context=server_context()) as server:
        address = Address("wss", "localhost.localdomain", server.address.port)
        with pytest.raises(UnreachableError):
            open_socket(address, PATIENCE, ca_file)


def test_no_unix_socket(tmp_path: Path) -> None:
    """A path without a socket is an unreachable daemon."""
    with pytest.raises(UnreachableError, match="no daemon answers"):
        open_socket(Address("unix", "localhost", 0, str(tmp_path / "none")), PATIENCE)
