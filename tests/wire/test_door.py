"""The front door, against real sockets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import trio
import trio.testing

from spiderwebd.core.codes import Code, Refused
from spiderwebd.tokens import Principal, Role
from spiderwebd.wire.door import Admitted, DoorRules
from spiderwebd.wire.listen import Peer, open_tcp, open_unix, with_tls
from tests.wire.certificate import client_context, server_context
from tests.wire.loopback import PATIENCE, TEXT, TOKEN, House, RawClient, frame, get, open_house, upgrade

AUTHORIZATION = f"Authorization: Bearer {TOKEN}".encode()


def status_of(answer: bytes) -> int:
    """Return the status of an HTTP answer."""
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> dict[str, object]:
    """Return the JSON body of a refusal."""
    content = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert isinstance(content, dict)
    return content


async def admitted_by(house: House, request: bytes) -> Admitted:
    """Open a link with this request and return what the door made of it."""
    client = await house.open(request)
    await trio.aclose_forcefully(client.stream)
    return house.admitted[-1]


async def test_health_is_answered_without_a_token() -> None:
    """A supervisor needs no secret; HEAD is answered without a body."""
    async with open_house() as house:
        assert status_of(await house.ask(get("/livez"))) == 200
        assert (await house.ask(get("/readyz"))).endswith(b"\r\n\r\nready\n")
        head_only = await house.ask(get("/readyz", method=b"HEAD"))
        assert head_only.endswith(b"\r\n\r\n")
        assert b"Content-Length: 6\r\n" in head_only
        assert status_of(await house.ask(get("/livez", method=b"POST"))) == 405
        assert house.door.answers == {200: 3, 405: 1}


async def test_readyz_says_why_not() -> None:
    """Alive but not ready: 503 with the reason and when to ask again."""
    trouble = Refused("The disk cannot be written.", Code.STORAGE_UNAVAILABLE)
    async with open_house(readiness=lambda: trouble) as house:
        answer = await house.ask(get("/readyz"))
        assert status_of(answer) == 503
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert body_of(answer)["code"] == "storage_unavailable"
        assert status_of(await house.ask(get("/livez"))) == 200


async def test_metrics_need_a_principal() -> None:
    """Metrics go to whoever has a token, and to nobody else."""
    async with open_house() as house:
        assert status_of(await house.ask(get("/metrics"))) == 401
        assert status_of(await house.ask(get("/metrics", b"Authorization: Bearer wrong"))) == 401
        answer = await house.ask(get("/metrics", AUTHORIZATION))
        assert answer.endswith(b"\r\n\r\nspiderwebd_links 0\n")


@pytest.mark.parametrize(
    ("request_head", "status", "code"),
    [
        (get("/"), 404, "bad_frame"),
        (get("/v1/agents/default/stream"), 426, "bad_frame"),
        (upgrade("/v1/agents/..%2f/stream"), 403, "agent_invalid"),
        (upgrade("/v1/agents/default/stream", b"Origin: https://evil.example"), 403, "forbidden"),
        (upgrade("/v1/agents/default/stream", b"Authorization: Bearer wrong"), 401, "unauthorized"),
        (upgrade("/v1/agents/default/stream?after=x"), 400, "bad_frame"),
        (get("/livez", b"Origin: null"), 403, "forbidden"),
    ],
)
async def test_refusals_say_why_and_close(request_head: bytes, status: int, code: str) -> None:
    """Each refusal is one JSON object with a stable code, and the socket is closed after it."""
    async with open_house() as house:
        answer = await house.ask(request_head)
        assert (status_of(answer), body_of(answer)["code"]) == (status, code)
        assert b"\r\nConnection: close\r\n" in answer
        assert await house.serves_an_honest_client()


async def test_a_link_is_handed_on_with_all_the_url_says() -> None:
    """Agent, session, after and principal reach the link; a token makes the principal."""
    async with open_house() as house:
        admitted = await admitted_by(
            house, upgrade("/v1/agents/kim/stream?sessionKey=S&after=7", AUTHORIZATION)
        )
        assert (admitted.agent, admitted.session_key, admitted.after) == ("kim", "S", 7)
        assert admitted.principal == Principal("ann", Role.USER)
        assert admitted.peer.transport == "tcp"
        anonymous = await admitted_by(house, upgrade())
        assert anonymous.principal is None


async def test_an_allowed_origin_is_admitted() -> None:
    """The operator may let one web page in."""
    rules = DoorRules(allowed_origins=frozenset({"https://app.example"}))
    async with open_house(rules) as house:
        await admitted_by(house, upgrade("/v1/agents/default/stream", b"Origin: https://app.example"))
        assert house.door.answers[101] == 1


async def test_a_unix_peer_is_its_own_principal(tmp_path: Path) -> None:
    """The kernel's word replaces the token; a token given all the same must be valid."""
    async with open_house(endpoint=open_unix(tmp_path / "s.sock")) as house:

        async def ask(request: bytes) -> bytes:
            client = RawClient(await trio.open_unix_socket(house.endpoint.address))
            async with client.stream:
                await client.send(request)
                return await client.read_head()

        assert status_of(await ask(upgrade())) == 101
        role = Role.OPERATOR if os.getuid() == 0 else Role.USER
        assert house.admitted[-1].principal == Principal(f"uid:{os.getuid()}", role)
        assert status_of(await ask(upgrade("/v1/agents/a/stream", AUTHORIZATION))) == 101
        assert house.admitted[-1].principal == Principal("ann", Role.USER)
        assert status_of(await ask(upgrade("/v1/agents/a/stream", b"Authorization: Bearer x"))) == 401
        assert status_of(await ask(get("/metrics"))) == 200


@pytest.mark.parametrize(("uid", "role"), [(0, Role.OPERATOR), (1000, Role.USER)])
async def test_only_root_is_an_operator_by_its_uid(
    uid: int, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uid 0 is an operator, any other uid a user."""
    monkeypatch.setattr(
        "spiderwebd.wire.door.peer_of", lambda _stream: Peer("unix", f"uid:{uid}", 1, uid, uid)
    )
    async with open_house() as house:
        admitted = await admitted_by(house, upgrade())
        assert admitted.principal == Principal(f"uid:{uid}", role)


async def test_draining_refuses_links_and_says_when_to_come_back() -> None:
    """While the daemon stops: alive, not ready, no new links."""
    async with open_house() as house:
        house.door.draining = True
        answer = await house.ask(upgrade())
        assert status_of(answer) == 503
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert body_of(answer) == {
            "code": "draining",
            "message": "The daemon is stopping; connect again.",
            "retry_after_ms": 1000,
        }
        assert status_of(await house.ask(get("/readyz"))) == 503
        assert status_of(await house.ask(get("/livez"))) == 200


async def test_overload_sheds_new_links_and_nothing_else() -> None:
    """While overloaded: 503 with a time to come back for links; health is answered; then all is as before."""
    reasons = ["the loop is 2.00 s late"]
    async with open_house(overload=lambda: reasons[0]) as house:
        answer = await house.ask(upgrade())
        assert status_of(answer) == 503
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert "the loop is 2.00 s late" in body_of(answer)["message"]
        assert status_of(await house.ask(get("/livez"))) == 200
        reasons[0] = ""
        assert status_of(await house.ask(get("/readyz"))) == 200
        assert (await admitted_by(house, upgrade())).agent == "default"


async def test_links_are_bounded_and_their_places_come_back() -> None:
    """One link more than allowed is refused until another has gone."""
    gone = trio.Event()

    async def hold(admitted: Admitted) -> None:
        await admitted.stream.receive_some(1)
        await gone.wait()

    async with open_house(DoorRules(links=1), serve_link=hold) as house:
        first = await house.connect()
        await first.send(upgrade())
        await trio.testing.wait_all_tasks_blocked()
        assert house.door.links == 1
        answer = await house.ask(upgrade())
        assert (status_of(answer), body_of(answer)["code"]) == (503, "queue_full")
        gone.set()
        assert await first.read_to_end() == b""
        assert house.door.links == 0


async def test_a_head_that_takes_too_long_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    """A client that says half a head gets 408 at the deadline, not earlier and not later."""
    async with open_house() as house:
        client = await house.connect()
        async with client.stream:
            await client.send(b"GET / HTTP/1.1\r\nHost:")
            start = trio.current_time()
            answer = await client.read_to_end()
            assert status_of(answer) == 408
            assert trio.current_time() - start == pytest.approx(5.0)
        assert autojump_clock.current_time() > 0


async def test_a_client_that_does_not_take_its_answer_is_cut_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whoever neither reads nor closes keeps a socket for two seconds at most."""
    async with open_house() as house:
        (endpoint,) = await open_tcp("127.0.0.1", 0)
        async with endpoint.listener:
            client = await trio.open_tcp_stream("127.0.0.1", int(endpoint.address.rpartition(":")[2]))
            async with client:
                await client.send_all(get("/livez"))
                start = autojump_clock.current_time()
                await house.door.serve(await endpoint.listener.accept())
                assert trio.current_time() - start == pytest.approx(2.0)


async def test_too_many_handshakes_cost_the_slowest_its_place() -> None:
    """With every place taken by dawdlers an honest client is served at once, the oldest told 503."""
    async with open_house(DoorRules(handshakes=2)) as house:
        dawdlers = [await house.connect() for _ in range(2)]
        for dawdler in dawdlers:
            await dawdler.send(b"GET / HT")
            await trio.testing.wait_all_tasks_blocked()
        assert status_of(await house.ask(get("/livez"))) == 200
        answer = await dawdlers[0].read_to_end()
        assert (status_of(answer), body_of(answer)["code"]) == (503, "rate_limited")
        await dawdlers[1].send(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert status_of(await dawdlers[1].read_to_end()) == 404


async def test_a_fault_of_the_daemon_costs_one_connection() -> None:
    """A bug in what the door asks is answered with 500, reported once, and the door lives."""

    def broken() -> bytes:
        raise RuntimeError("planted")

    async with open_house(metrics=broken) as house:
        answer = await house.ask(get("/metrics", AUTHORIZATION))
        assert (status_of(answer), body_of(answer)["code"]) == (500, "internal")
        assert b"planted" not in answer
        assert [(where, str(fault)) for where, fault in house.faults] == [("door", "planted")]
        assert house.door.faults == 1
        assert await house.serves_an_honest_client()


async def test_a_fault_of_a_link_costs_that_link() -> None:
    """Also a bug that comes out of a nursery ends one link, is reported once, and spares the rest."""
    crashed = 0

    async def crash(admitted: Admitted) -> None:
        nonlocal crashed
        crashed += 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admitted.stream.receive_some, 1)
            raise RuntimeError("planted")

    async with open_house(serve_link=crash) as house:
        assert await house.ask(upgrade()) == b""
        assert await house.ask(upgrade()) == b""
        assert crashed == 2
        assert [(where, str(fault)) for where, fault in house.faults] == [("link", "planted")] * 2
        assert house.door.links == 0
        assert status_of(await house.ask(get("/livez"))) == 200


async def test_tls_serves_links_and_refusals(autojump_clock: trio.testing.MockClock) -> None:
    """Over TLS a link echoes and a refusal arrives whole; a handshake that never comes ends in time."""
    endpoint = with_tls((await open_tcp("127.0.0.1", 0))[0], server_context())
    async with open_house(endpoint=endpoint) as house:

        async def connect() -> RawClient:
            plain = await house.connect()
            assert isinstance(plain.stream, trio.SocketStream)
            return RawClient(trio.SSLStream(plain.stream, client_context(), server_hostname="localhost"))

        client = await connect()
        await client.send(upgrade() + frame(TEXT, b"hello"))
        assert (await client.read_head()).startswith(b"HTTP/1.1 101 ")
        assert await client.read_frame() == (TEXT, b"echo: hello")

        client = await connect()
        await client.send(get("/nothing"))
        assert status_of(await client.read_to_end()) == 404

        silent = await house.connect()
        start = autojump_clock.current_time()
        await silent.read_to_end()
        assert trio.current_time() - start < PATIENCE
        assert house.faults == []


async def test_who_was_accepted_before_a_stop_is_waited_for() -> None:
    """`arrivals_done` returns when every head is answered and every admitted link said it has arrived."""
    attached = trio.Event()

    async def attach_slowly(admitted: Admitted) -> None:
        await attached.wait()
        admitted.arrived()
        admitted.arrived()  # a second word changes nothing
        await admitted.stream.receive_some(1)

    async with open_house(serve_link=attach_slowly) as house, trio.open_nursery() as nursery:
        with trio.fail_after(5):
            await house.door.arrivals_done()
            client = await house.connect()
            await client.send(upgrade())
            done = trio.Event()

            async def wait() -> None:
                await trio.testing.wait_all_tasks_blocked(0.01)
                await house.door.arrivals_done()
                done.set()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert not done.is_set()
            attached.set()
            await done.wait()


async def test_a_peer_that_no_namespace_maps_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The overflow uid stands for many people, so its credentials alone attach nobody."""
    monkeypatch.setattr(
        "spiderwebd.wire.door.peer_of", lambda _stream: Peer("unix", "uid:65534", 1, 65534, 65534)
    )
    async with open_house() as house:
        assert (await admitted_by(house, upgrade())).principal is None
