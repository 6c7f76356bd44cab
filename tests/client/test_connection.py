"""One link: the handshake, frames both ways, deadlines, and each way it can end."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from time import monotonic

import pytest

from spiderwebd.client import connection as module
from spiderwebd.client.address import Address
from spiderwebd.client.connection import Connection
from spiderwebd.client.discovery import Place
from spiderwebd.client.errors import (
    ClientError,
    DeadlineError,
    Exit,
    LinkLostError,
    ProtocolError,
    RefusedError,
    UnreachableError,
)
from tests.client.scripted_server import PATIENCE, TOKEN, Scene, Script, ScriptedServer


def echo(scene: Scene) -> None:
    """Accept, and answer each frame with itself until the client says goodbye."""
    scene.accept()
    while True:
        try:
            frame = scene.received()
        except EOFError:
            scene.close(1000)
            raise
        scene.frame(**frame)


def at(port: int) -> Address:
    """A loopback address."""
    return Address("ws", "127.0.0.1", port)


def test_frames_go_both_ways() -> None:
    """A frame arrives as it was sent; the token is in the header and the key in the query."""
    with ScriptedServer(echo) as server:
        with Connection.open(server.place, "kim", session="KEY", after=7) as link:
            sent = {"type": "chat.send", "content": "Grüße, 日本, \U0001f577"}
            link.send(sent)
            assert link.receive(PATIENCE) == sent
        (scene,) = server.scenes
        assert scene.target == "/v1/agents/kim/stream?session=KEY&after=7"
        assert scene.headers["authorization"] == f"Bearer {TOKEN}"


def test_without_a_session_there_is_nothing_to_resume() -> None:
    """`after` without a key means nothing and is left out."""
    with ScriptedServer(echo) as server:
        Connection.open(server.place, after=7).close()
        assert server.scenes[0].target == "/v1/agents/default/stream"


def test_over_a_unix_socket(tmp_path: Path) -> None:
    """A unix socket needs no token: the kernel says who we are."""
    with ScriptedServer(echo, path=str(tmp_path / "s")) as server:
        with Connection.open(Place(server.address)) as link:
            link.send({"type": "ping"})
            assert link.receive(PATIENCE) == {"type": "ping"}
        assert "authorization" not in server.scenes[0].headers


def test_a_lone_surrogate_is_replaced() -> None:
    """What is no UTF-8 cannot be sent; the rest of the text can."""
    with ScriptedServer(echo) as server, Connection.open(server.place) as link:
        link.send({"type": "chat.send", "content": "a\udce4b"})
        answer = link.receive(PATIENCE)
        assert answer is not None
        assert answer["content"] == "a\ufffdb"


def test_pings_are_answered() -> None:
    """The daemon's keepalive is answered while we wait for a frame."""

    def script(scene: Scene) -> None:
        scene.accept()
        scene.ping()
        scene.received()
        assert scene.pongs == 1
        scene.frame(type="pong")
        scene.wait_for_end()

    with ScriptedServer(script) as server, Connection.open(server.place) as link:
        with pytest.raises(DeadlineError):
            link.receive(0.05)
        link.send({"type": "ping"})
        assert link.receive(PATIENCE) == {"type": "pong"}


def test_our_ping_shows_a_sign_of_life() -> None:
    """A silent daemon answers a ping, and `heard_at` moves."""
    with ScriptedServer(echo) as server, Connection.open(server.place) as link:
        before = link.heard_at
        link.ping()
        link.send({"type": "ping"})
        link.receive(PATIENCE)
        assert link.heard_at > before


def test_fragments_are_put_together() -> None:
    """A message in pieces is one frame; a deadline in between loses nothing."""

    def script(scene: Scene) -> None:
        scene.accept()
        scene.piece('{"type":"po', last=False)
        scene.received()
        scene.piece('ng"}', last=True)
        scene.wait_for_end()

    with ScriptedServer(script) as server, Connection.open(server.place) as link:
        with pytest.raises(DeadlineError):
            link.receive(0.05)
        link.send({"type": "ping"})
        assert link.receive(PATIENCE) == {"type": "pong"}


def test_a_deadline_leaves_the_link_as_it_was() -> None:
    """Waiting is bounded, ends about then, and the next frame still comes."""
    with ScriptedServer(echo) as server, Connection.open(server.place) as link:
        began = monotonic()
        with pytest.raises(DeadlineError) as caught:
            link.receive(0.1)
        assert 0.09 < monotonic() - began < PATIENCE
        assert caught.value.exit is Exit.TEMPORARY
        link.send({"type": "ping"})
        assert link.receive(PATIENCE) == {"type": "ping"}


def test_another_descriptor_ends_the_wait() -> None:
    """A user's line is seen while we wait for frames; a frame that is here already comes first."""
    reader, writer = os.pipe()
    try:
        with ScriptedServer(echo) as server, Connection.open(server.place) as link:
            os.write(writer, b"x")
            assert link.receive(PATIENCE, also=reader) is None
            os.read(reader, 1)
            link.send({"type": "ping"})
            assert link.receive(PATIENCE, also=reader) == {"type": "ping"}
            with pytest.raises(DeadlineError):
                link.receive(0.01, also=reader)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(
    ("code", "error", "how"),
    [
        (1000, LinkLostError, Exit.UNREACHABLE),
        (1001, LinkLostError, Exit.UNREACHABLE),
        (1011, LinkLostError, Exit.UNREACHABLE),
        (1013, LinkLostError, Exit.UNREACHABLE),
        (4413, LinkLostError, Exit.UNREACHABLE),
        (4999, LinkLostError, Exit.UNREACHABLE),
        (1002, ProtocolError, Exit.PROTOCOL),
        (1007, ProtocolError, Exit.PROTOCOL),
        (1008, ProtocolError, Exit.PROTOCOL),
        (1009, ProtocolError, Exit.PROTOCOL),
        (4401, RefusedError, Exit.NOT_AUTHORISED),
        (4403, RefusedError, Exit.NOT_AUTHORISED),
        (4408, RefusedError, Exit.NOT_AUTHORISED),
    ],
)
def test_close_codes(code: int, error: type[ClientError], how: Exit) -> None:
    """What came before the close is given first; then its code decides, each time one asks."""

    def script(scene: Scene) -> None:
        scene.accept()
        scene.frame(type="pong")
        scene.close(code)
        scene.wait_for_end()

    with ScriptedServer(script) as server, Connection.open(server.place) as link:
        assert link.receive(PATIENCE) == {"type": "pong"}
        for _ in range(2):
            with pytest.raises(error) as caught:
                link.receive(PATIENCE)
            assert caught.value.exit is how
        with pytest.raises(error):
            link.send({"type": "ping"})


def test_an_end_without_goodbye() -> None:
    """A killed daemon closes nothing; the kernel does, and that is a lost link."""

    def script(scene: Scene) -> None:
        scene.accept()
        scene.reset()

    with ScriptedServer(script) as server, Connection.open(server.place) as link:
        with pytest.raises(LinkLostError) as caught:
            link.receive(PATIENCE)
        assert caught.value.close_code == 1006


@pytest.mark.parametrize(
    ("status", "body", "how", "said"),
    [
        (401, b'{"code":"unauthorized","message":"Bad token."}', Exit.NOT_AUTHORISED, "Bad token."),
        (401, b"", Exit.NOT_AUTHORISED, "HTTP 401"),
        (403, b'{"code":"agent_invalid","message":"Bad agent."}', Exit.REFUSED, "Bad agent."),
        (403, b'{"code":"forbidden","message":"Bad origin."}', Exit.NOT_AUTHORISED, "Bad origin."),
        (503, b'{"code":"draining","message":"Stopping.","retry_after_ms":9}', Exit.TEMPORARY, "Stopping."),
        (503, b"<html>", Exit.TEMPORARY, "HTTP 503"),
        (404, b"nothing here", Exit.PROTOCOL, "HTTP 404"),
        (200, b"welcome", Exit.PROTOCOL, "HTTP 200"),
    ],
)
def test_refusals_over_http(status: int, body: bytes, how: Exit, said: str) -> None:
    """The door's JSON says why; anything else is judged by its status."""
    with ScriptedServer(lambda scene: scene.refuse(status, body)) as server:
        with pytest.raises(ClientError, match=said) as caught:
            Connection.open(server.place)
        assert caught.value.exit is how


def garbage(scene: Scene) -> None:
    """Answer like something that is no HTTP."""
    scene.request()
    scene.send_bytes(b"220 smtp.example ESMTP\r\n\r\n")
    scene.wait_for_end()


def test_no_websocket_at_all() -> None:
    """Another service at that port is a protocol error, not a hang."""
    with ScriptedServer(garbage) as server, pytest.raises(ProtocolError):
        Connection.open(server.place)


@pytest.mark.parametrize(
    "send",
    [
        lambda scene: scene.binary(),
        lambda scene: scene.piece("not json", last=True),
        lambda scene: scene.piece("[1]", last=True),
        lambda scene: scene.piece('{"type":5}', last=True),
        lambda scene: scene.send_bytes(b"\xf1\x00"),  # reserved bits set
        lambda scene: scene.send_bytes(b"\x81\x02\xff\xfe"),  # no UTF-8
    ],
)
def test_what_is_not_the_protocol(send: Script) -> None:
    """A peer that breaks the rules is told apart from a lost link."""

    def script(scene: Scene) -> None:
        scene.accept()
        send(scene)
        scene.wait_for_end()

    with (
        ScriptedServer(script) as server,
        Connection.open(server.place) as link,
        pytest.raises(ProtocolError),
    ):
        link.receive(PATIENCE)


def test_a_message_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon cannot fill our memory, not even piece by piece."""
    monkeypatch.setattr(module, "MESSAGE_CHARACTERS", 1000)

    def script(scene: Scene) -> None:
        scene.accept()
        for _ in range(11):
            scene.piece("x" * 100, last=False)
        scene.wait_for_end()

    with (
        ScriptedServer(script) as server,
        Connection.open(server.place) as link,
        pytest.raises(ProtocolError, match="beyond 1000"),
    ):
        link.receive(PATIENCE)


def test_nothing_listens() -> None:
    """A refused connection is told at once, with what to look at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UnreachableError, match="is spiderwebd running"):
        Connection.open(Place(at(port), TOKEN))


def test_a_daemon_that_does_not_answer() -> None:
    """Opening is bounded: a socket that is accepted by the kernel alone is no daemon."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DeadlineError):
        Connection.open(Place(at(silent.getsockname()[1]), TOKEN), timeout=0.2)


def test_without_a_token() -> None:
    """TCP needs a token; the user is told how to name it. Nothing is sent."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with pytest.raises(RefusedError, match="--token-file") as caught:
            Connection.open(Place(at(listening.getsockname()[1])))
        assert caught.value.exit is Exit.NOT_AUTHORISED
        accepted, _ = listening.accept()
        with accepted:
            accepted.settimeout(PATIENCE)
            assert accepted.recv(1) == b""


def test_a_peer_that_takes_nothing() -> None:
    """A write is bounded as well, and ends the link."""

    go = threading.Event()

    def script(scene: Scene) -> None:
        scene.accept()
        go.wait(PATIENCE)

    with ScriptedServer(script) as server, Connection.open(server.place) as link:
        with pytest.raises(LinkLostError, match="did not take"):
            link.send({"type": "chat.send", "content": "x" * 50_000_000}, timeout=0.3)
        go.set()


def test_close_does_not_wait_for_ever() -> None:
    """A daemon that does not answer the goodbye costs the given time, no more."""

    def script(scene: Scene) -> None:
        scene.accept()
        assert scene.next() is not None  # the client's goodbye, left without an answer
        with pytest.raises(EOFError):
            scene.next()

    with ScriptedServer(script) as server:
        link = Connection.open(server.place)
        began = monotonic()
        link.close(0.1)
        assert monotonic() - began < PATIENCE
        link.close()
