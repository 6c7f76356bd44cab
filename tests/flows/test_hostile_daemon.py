"""The tables of tests/wire/test_hostile.py against a daemon process: same process, no fault."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flows.daemon_process import DaemonProcess
from tests.flows.raw_socket import STREAM, RawSocket, serves
from tests.flows.scrape import metrics_of
from tests.fuzz.mutation import ODD_TEXTS
from tests.wire.loopback import CLOSE, TEXT, frame, upgrade
from tests.wire.test_hostile import FRAMES, HEADS, ODD_BUT_HONEST


@pytest.fixture(scope="module", params=[True, False], ids=["fast", "plain"])
def daemon(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaemonProcess]:
    """One daemon for all of it, over our own codec and over trio-websocket's."""
    settings = {
        "limits.fast_links": request.param,
        "limits.frames_per_second": 2_000,
        "limits.head_seconds": 2,
        "heartbeat.enabled": False,
        "log.level": "warning",
    }
    with DaemonProcess(tmp_path_factory.mktemp("hostile"), settings) as daemon:
        pid = daemon.pid
        yield daemon
        assert daemon.pid == pid
        assert not any(value for name, value in metrics_of(daemon).items() if "faults_total" in name)
        assert " error " not in daemon.stderr
        assert daemon.terminate() == 0


@pytest.mark.parametrize("name", HEADS)
def test_a_hostile_head(daemon: DaemonProcess, name: str) -> None:
    """It gets its status, and the next client is served."""
    data, status = HEADS[name]
    with RawSocket(daemon.listen) as client:
        assert client.pour(data).startswith(b"HTTP/1.1 %d " % status)
    serves(daemon.listen, daemon.token)


@pytest.mark.parametrize("name", ODD_BUT_HONEST)
def test_an_odd_but_honest_head(daemon: DaemonProcess, name: str) -> None:
    """It is let in, and asked who it is."""
    with RawSocket(daemon.listen) as client:
        answer = client.pour(ODD_BUT_HONEST[name] + frame(TEXT, b'{"type":"ping"}'), polite=True)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"unauthorized" in answer


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_hostile_frames(daemon: DaemonProcess, name: str, known: bool) -> None:
    """The breach is named in the close frame, whoever commits it; the next client is served."""
    data, code = FRAMES[name]
    lines = [f"Authorization: Bearer {daemon.token}".encode()] if known else []
    with RawSocket(daemon.listen) as client:
        answer = client.pour(upgrade(STREAM, *lines) + data, polite=True)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"\x88" in answer
    assert code.to_bytes(2, "big") in answer[answer.rindex(b"\x88") :]
    serves(daemon.listen, daemon.token)


def test_deep_and_huge_json(daemon: DaemonProcess) -> None:
    """Each odd text is refused by a code, one by one, on a link that goes on."""
    with RawSocket(daemon.listen) as client:
        client.open(daemon.token)
        client.until("session.ack")
        for text in ODD_TEXTS:
            client.socket.sendall(frame(TEXT, text))
            client.say({"type": "ping", "id": "end"})
            codes = []
            while (heard := client.hear())["type"] != "pong" or heard.get("request") != "end":
                codes.append(heard.get("code", heard["type"]))
            assert len(codes) <= 2, (text[:50], codes)
        client.socket.sendall(frame(CLOSE, b"\x03\xe8"))
        assert client.until_closed() == 1000


def test_resets_at_each_byte(daemon: DaemonProcess) -> None:
    """Wherever the connection breaks, with a token or without, nothing else does."""
    for lines in ([], [f"Authorization: Bearer {daemon.token}".encode()]):
        data = (
            upgrade(STREAM, *lines) + frame(TEXT, b'{"type":"memory.create","content":"tea"}') + frame(CLOSE)
        )
        for length in range(len(data) + 1):
            client = RawSocket(daemon.listen)
            client.socket.sendall(data[:length])
            client.reset()
    serves(daemon.listen, daemon.token)


def test_slow_loris(daemon: DaemonProcess) -> None:
    """Heads that never end are answered 408 in the end; honest clients are served meanwhile."""
    slow = [RawSocket(daemon.listen) for _ in range(100)]
    try:
        for number, client in enumerate(slow):
            client.socket.sendall(upgrade(STREAM)[: 20 + number])
        serves(daemon.listen, daemon.token)
        for client in slow:
            assert client.read_head().startswith(b"HTTP/1.1 408 ")
    finally:
        for client in slow:
            client.socket.close()
    serves(daemon.listen, daemon.token)
