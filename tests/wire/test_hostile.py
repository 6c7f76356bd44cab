"""Hostile input against a real listener on loopback: the next honest client is always served.

A bare trio-websocket server dies of several of these (non-ASCII bytes in four headers, a malformed
xn-- host, a request followed at once by a reset); the table stays so that no change brings it back.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiderwebd.wire.framing import FrameLimits
from spiderwebd.wire.link import LinkLimits
from tests.wire.loopback import PATIENCE, TEXT, House, Path, RawClient, frame, get, open_house, upgrade

STREAM = "/v1/agents/default/stream"

QUICK = LinkLimits(close_seconds=0.5)
"""For peers that never answer a close; the bound itself is tested on a mock clock."""


@pytest.fixture(params=["fast", "plain"], scope="module", autouse=True)
def path(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run every test over our own codec and over trio-websocket's."""
    Path.fast = request.param == "fast"
    yield
    Path.fast = True


def with_header(line: bytes, *, instead_of: bytes = b"") -> bytes:
    """Write an upgrade with one more header line, in place of an honest one if named."""
    return upgrade(STREAM, line, without=[instead_of])


HEADS: dict[str, tuple[bytes, int]] = {
    "non-ASCII in Host": (with_header(b"Host: caf\xe9", instead_of=b"Host"), 400),
    "non-ASCII in Connection": (with_header(b"Connection: Upgrade, \xff", instead_of=b"Connection"), 400),
    "non-ASCII in Upgrade": (with_header(b"Upgrade: websocket\xe9", instead_of=b"Upgrade"), 400),
    "non-ASCII in Sec-WebSocket-Protocol": (with_header(b"Sec-WebSocket-Protocol: \xe9"), 400),
    "non-ASCII in Sec-WebSocket-Extensions": (with_header(b"Sec-WebSocket-Extensions: \xe9"), 400),
    "non-ASCII in Sec-WebSocket-Key": (
        with_header(b"Sec-WebSocket-Key: \xe9", instead_of=b"Sec-WebSocket-Key"),
        400,
    ),
    "malformed xn-- host": (with_header(b"Host: xn--a", instead_of=b"Host"), 400),
    "non-ASCII in Authorization": (with_header(b"Authorization: Bearer \xe9"), 401),
    "two hosts": (with_header(b"Host: other"), 400),
    "no host": (upgrade(STREAM, without=[b"Host"]), 400),
    "missing key": (upgrade(STREAM, without=[b"Sec-WebSocket-Key"]), 400),
    "wrong version": (
        with_header(b"Sec-WebSocket-Version: 99", instead_of=b"Sec-WebSocket-Version"),
        426,
    ),
    "no upgrade": (get(STREAM), 426),
    "oversize head": (with_header(b"X: " + b"x" * 20_000), 431),
    "a head that is one long line": (b"G" * 20_000, 431),
    "huge header count": (upgrade(STREAM, *[b"X-%d: y" % number for number in range(5_000)]), 431),
    "garbage": (bytes(range(256)) + b"\r\n\r\n", 400),
    "bare LF garbage": (b"GET\n\n", 400),
    "NUL in the target": (b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "TLS on the plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
    "a body on the upgrade": (with_header(b"Content-Length: 10") + b"0123456789", 400),
    "chunked upgrade": (with_header(b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "thousand query fields": (upgrade(STREAM + "?" + "a=b&" * 1000), 400),
    "empty agent": (upgrade("/v1/agents//stream"), 403),
}


@pytest.mark.parametrize("name", HEADS)
async def test_a_hostile_head_is_refused(name: str) -> None:
    """It gets its status and a closed socket, no fault is logged, the next client is served."""
    data, status = HEADS[name]
    async with open_house() as house:
        answer = await house.ask(data)
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
        await honest_after(house)


ODD_BUT_HONEST: dict[str, bytes] = {
    "bare LF": upgrade(STREAM).replace(b"\r\n", b"\n"),
    "many headers": upgrade(STREAM, *[b"X-%d: y" % number for number in range(500)]),
    "upper case": upgrade(
        STREAM, b"UPGRADE: WEBSOCKET", b"CONNECTION: UPGRADE", without=[b"Upgrade", b"Connection"]
    ),
    "subprotocol and extension": with_header(
        b"Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate"
    ),
}


@pytest.mark.parametrize("name", ODD_BUT_HONEST)
async def test_an_odd_but_allowed_head_is_served(name: str) -> None:
    """What the standards allow is no reason to refuse."""
    async with open_house() as house:
        client = await house.open(ODD_BUT_HONEST[name])
        await client.send(frame(TEXT, b"hello"))
        assert await client.read_frame() == (TEXT, b"echo: hello")
        await trio.aclose_forcefully(client.stream)
        await honest_after(house)


async def test_a_pipelined_first_frame_is_not_lost() -> None:
    """A frame in the same packet as the head is answered, in order with the next."""
    async with open_house() as house:
        client = await house.open(upgrade(STREAM) + frame(TEXT, b"first") + frame(TEXT, b"second"))
        assert await client.read_frame() == (TEXT, b"echo: first")
        await client.send(frame(TEXT, b"third"))
        assert await client.read_frame() == (TEXT, b"echo: second")
        assert await client.read_frame() == (TEXT, b"echo: third")


@pytest.mark.parametrize("data", [get(STREAM), upgrade(STREAM), get("/livez"), b"", b"GET / HT"])
async def test_a_reset_right_after_the_request(data: bytes) -> None:
    """A client that resets instead of reading costs nothing but its own connection."""
    async with open_house() as house:
        for _ in range(8):
            await reset_after(house, data)
        await honest_after(house)


async def test_a_reset_at_each_byte_of_head_and_frame() -> None:
    """Wherever the connection breaks, nothing else does."""
    data = upgrade(STREAM) + frame(TEXT, b"a frame") + frame(0x8, b"\x03\xe8")
    async with open_house() as house:
        for length in range(1, len(data) + 1):
            await reset_after(house, data[:length])
        await honest_after(house)


@pytest.mark.parametrize(
    ("data", "status"), [(get("/livez"), 200), (b"GET / HT", 400), (upgrade(STREAM), 101), (b"", 0)]
)
async def test_a_half_close_is_answered(data: bytes, status: int) -> None:
    """A client that ends its side at once still gets the answer to what it sent."""
    async with open_house(limits=QUICK) as house:
        client = await house.connect()
        assert isinstance(client.stream, trio.SocketStream)
        if data:
            await client.send(data)
        await client.stream.send_eof()
        answer = await client.read_to_end()
        assert answer.startswith(b"HTTP/1.1 %d " % status) if status else answer == b""
        await honest_after(house)


async def test_slow_loris(autojump_clock: trio.testing.MockClock) -> None:
    """Heads that trickle are cut at the deadline, and honest clients are served meanwhile."""
    async with open_house() as house:
        clients = [await house.connect() for _ in range(50)]
        start = autojump_clock.current_time()
        for client in clients:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        assert await house.serves_an_honest_client()
        assert trio.current_time() - start < 1
        for client in clients:
            assert (await client.read_to_end()).startswith(b"HTTP/1.1 408 ")
        assert trio.current_time() - start < 6
        await honest_after(house)


FRAMES: dict[str, tuple[bytes, int]] = {
    "length 2**64-1": (b"\x81\xff" + b"\xff" * 8 + b"mask", 1009),
    "binary": (frame(0x2, b"\x00" * 10), 1003),
    "oversize": (frame(TEXT, b"x" * 262_145), 1009),
    "invalid UTF-8": (frame(TEXT, b"\xff\xfe"), 1007),
    "reserved opcode": (frame(0xB, b"x"), 1002),
    "unmasked": (frame(TEXT, b"x", masked=False), 1002),
    "empty continuation flood": (frame(TEXT, final=False) + frame(0x0, final=False) * 20_000, 1008),
    "ping flood": (frame(0x9) * 20_000, 1008),
    "HTTP again": (upgrade(STREAM), 1002),
}


@pytest.mark.parametrize("name", FRAMES)
async def test_hostile_frames_end_the_link_with_a_code(name: str) -> None:
    """The breach is named in the close frame, though more was on its way, and no other link suffers."""
    data, code = FRAMES[name]
    async with open_house(limits=STRICT) as house:
        bystander = await house.open(upgrade(STREAM))
        client = await house.open(upgrade(STREAM))
        codes: list[int] = []

        async def listen() -> None:
            codes.append(await client.read_close())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await send_what_is_taken(client, data)
        assert codes == [code]
        await trio.aclose_forcefully(client.stream)
        await bystander.send(frame(TEXT, b"unharmed"))
        assert await bystander.read_frame() == (TEXT, b"echo: unharmed")
        await honest_after(house)


STRICT = LinkLimits(close_seconds=0.5, frames=FrameLimits(frames_per_second=2_000, burst=4_000))
"""A rate that one peer reaches on either path, however busy the machine."""

FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(
    st.one_of(
        st.binary(max_size=300),
        st.tuples(st.binary(max_size=20), st.integers(0, 150)).map(
            lambda change: upgrade(STREAM)[: change[1]] + change[0] + upgrade(STREAM)[change[1] :]
        ),
    )
)
async def test_any_bytes_as_a_head(data: bytes) -> None:
    """Random bytes, and random bytes inside an honest head, never reach beyond their connection."""
    async with open_house(limits=QUICK) as house:
        client = await house.connect()
        assert isinstance(client.stream, trio.SocketStream)
        await send_what_is_taken(client, data)
        await end_and_drain(client)
        await honest_after(house)


@FUZZ
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.builds(
                frame,
                st.integers(0, 15),
                st.binary(max_size=130),
                final=st.booleans(),
                masked=st.booleans(),
                rsv=st.sampled_from([0, 0, 0, 0x10, 0x40]),
            ),
        ),
        max_size=10,
    )
)
async def test_any_bytes_as_frames(pieces: list[bytes]) -> None:
    """Random frames and random bytes after an honest upgrade end one link at most."""
    async with open_house(limits=QUICK) as house:
        client = await house.open(upgrade(STREAM))
        await send_what_is_taken(client, b"".join(pieces))
        await end_and_drain(client)
        await honest_after(house)


async def honest_after(house: House) -> None:
    """Check that the house is whole: an honest client is served, nothing was counted as a fault."""
    with trio.fail_after(2):
        assert await house.serves_an_honest_client()
    assert house.faults == []


async def reset_after(house: House, data: bytes) -> None:
    """Send bytes and reset the connection, as `SO_LINGER` with zero seconds does."""
    client = await house.connect()
    assert isinstance(client.stream, trio.SocketStream)
    client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if data:
        await client.send(data)
    await trio.aclose_forcefully(client.stream)


async def send_what_is_taken(client: RawClient, data: bytes) -> None:
    """Send, and do not mind a server that has closed meanwhile."""
    await trio.lowlevel.checkpoint()
    try:
        await client.send(data)
    except trio.BrokenResourceError:
        return


async def end_and_drain(client: RawClient) -> None:
    """End our side and read to the end of theirs."""
    await trio.lowlevel.checkpoint()
    assert isinstance(client.stream, trio.SocketStream)
    try:
        await client.stream.send_eof()
    except trio.BrokenResourceError:
        return
    with trio.fail_after(PATIENCE):
        await client.read_to_end()
