"""Health over HTTP: what the door says, and that a silent or foreign port is told apart."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from spiderwebd.client.address import Address
from spiderwebd.client.discovery import Place
from spiderwebd.client.errors import DeadlineError, LinkLostError, ProtocolError, UnreachableError
from spiderwebd.client.health import probe
from tests.client.scripted_server import PATIENCE


@contextmanager
def answering(data: bytes, *, and_wait: bool = False) -> Iterator[tuple[Place, list[bytes]]]:
    """A port that reads one request and answers with these bytes."""
    requests: list[bytes] = []
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)

        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(PATIENCE)
                requests.append(accepted.recv(4096))
                accepted.sendall(data)
                if and_wait:
                    done.wait(PATIENCE)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield Place(Address("ws", "127.0.0.1", listener.getsockname()[1])), requests
        finally:
            done.set()
            thread.join(PATIENCE)


def answer(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def test_ready() -> None:
    """Status and text, without the line feed; no token is sent."""
    with answering(answer(b"200 OK", b"ready\n")) as (place, requests):
        assert probe(place, "/readyz", PATIENCE) == (200, "ready")
    assert requests[0].startswith(b"GET /readyz HTTP/1.1\r\n")
    assert b"uthorization" not in requests[0]


def test_not_ready() -> None:
    """A refusal is given as a sentence with its code."""
    body = b'{"code":"draining","message":"Stopping."}'
    with answering(answer(b"503 Service Unavailable", body)) as (place, _):
        assert probe(place, "/readyz", PATIENCE) == (503, "Stopping. (draining)")


def test_no_http() -> None:
    """Another protocol is a protocol error."""
    with answering(b"220 smtp.example\r\n\r\n") as (place, _), pytest.raises(ProtocolError):
        probe(place, "/livez", PATIENCE)


def test_silence() -> None:
    """A port that accepts and says nothing is bounded by the deadline."""
    with answering(b"", and_wait=True) as (place, _), pytest.raises(DeadlineError):
        probe(place, "/livez", 0.1)


def test_an_answer_broken_off() -> None:
    """Half an answer is not taken for a whole one."""
    with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") as (place, _),
        pytest.raises((ProtocolError, LinkLostError)),
    ):
        probe(place, "/livez", PATIENCE)


def test_nobody_there() -> None:
    """A closed port is an unreachable daemon."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnreachableError):
        probe(Place(Address("ws", "127.0.0.1", port)), "/livez", PATIENCE)
