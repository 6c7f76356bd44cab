"""Reading, checking and answering one HTTP request head, without any I/O."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiderwebd.core.codes import Code
from spiderwebd.wire.head import (
    Head,
    HeadReader,
    HttpRefused,
    bearer_token,
    check_method,
    check_origin,
    check_text,
    render_answer,
    render_refusal,
    stream_target,
    upgrade_head,
    websocket_key,
)
from tests.wire.loopback import KEY, frame, get, upgrade


def head_of(data: bytes, limit: int = 16_384) -> Head:
    """Read a complete head."""
    head = HeadReader(limit).feed(data)
    assert head is not None
    return head


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=6))
def test_a_head_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    """Head and the bytes beyond it do not depend on where TCP cuts."""
    data = upgrade() + frame(1, b"first") + frame(1, b"second")
    reader, head, rest = HeadReader(16_384), None, b""
    places = sorted({cut for cut in cuts if 0 < cut < len(data)})
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        if head is None:
            head = reader.feed(data[start:end])
            rest = head.rest if head is not None else b""
        else:
            rest += data[start:end]
    assert head is not None
    assert (head.method, head.path, head.query) == ("GET", "/v1/agents/default/stream", "")
    assert rest == frame(1, b"first") + frame(1, b"second")


def _heads() -> st.SearchStrategy[bytes]:
    """Heads that are ordinary, nearly so, or not at all."""
    names = st.sampled_from(
        [b"Host", b"host", b"Upgrade", b"Content-Length", b"Transfer-Encoding", b"X-1", b"", b"a b", b"x\x00"]
    )
    values = st.one_of(
        st.sampled_from([b"h", b" a  b\t", b"", b" ", b"0", b"chunked", b"\xe9", b"a\x0bb", b"a\x00"]),
        st.binary(max_size=4),
    )
    starts = st.sampled_from(
        [b"GET /a?b HTTP/1.1", b"HEAD / HTTP/1.1", b"POST / HTTP/1.1", b"GET / HTTP/1.0", b"GET  / HTTP/1.1"]
    )
    ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"])
    lines = st.lists(st.builds(lambda n, v, e: n + b":" + v + e, names, values, ends), max_size=4)
    rests = st.sampled_from([b"", b"\x81\x00", b"\r\n"])
    return st.builds(
        lambda start, end, more, rest: start + end + b"Host: h\r\n" + b"".join(more) + b"\r\n" + rest,
        starts, ends, lines, rests,
    )  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(_heads())
def test_a_head_that_comes_whole_is_read_as_h11_reads_it(data: bytes) -> None:
    """What is taken apart here, without h11, is what h11 makes of the same bytes."""

    def read(*portions: bytes) -> object:
        reader = HeadReader(16_384)
        try:
            heads = [reader.feed(portion) for portion in portions]
        except HttpRefused as refused:
            return refused.status, refused.code, refused.message
        return next((head for head in heads if head is not None), None)

    # In two portions it is left to h11.
    assert read(data) == read(data[:1], data[1:])


def test_an_ordinary_head_is_read_in_one_pass() -> None:
    """A value of nothing but spaces that ends badly costs no more than its length."""
    reader = HeadReader(16_384)
    with pytest.raises(HttpRefused):
        reader.feed(b"GET / HTTP/1.1\r\nHost: h\r\nX:" + b" " * 16_000 + b"\x00\r\n\r\n")


def test_a_head_that_never_ends_is_refused_at_the_limit() -> None:
    """No more than the limit is ever read."""
    reader = HeadReader(200)
    assert reader.feed(b"GET / HTTP/1.1\r\nX: ") is None
    with pytest.raises(HttpRefused) as caught:
        reader.feed(b"x" * reader.room)
    assert caught.value.status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


def test_the_end_of_the_stream_within_a_head_is_refused() -> None:
    """Half a head followed by a half close is a bad request, not a wait."""
    reader = HeadReader(200)
    reader.feed(b"GET / HT")
    with pytest.raises(HttpRefused) as caught:
        reader.feed(b"")
    assert caught.value.status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    "name", ["Host", "Connection", "Upgrade", "Sec-WebSocket-Protocol", "sec-websocket-x"]
)
def test_bytes_beyond_ascii_are_refused(name: str) -> None:
    """What would make wsproto raise UnicodeError never gets there."""
    lines = b"GET / HTTP/1.1\r\n" + (b"" if name == "Host" else b"Host: localhost\r\n")
    with pytest.raises(HttpRefused, match="ASCII"):
        check_text(head_of(lines + name.encode() + b": caf\xe9\r\n\r\n"))


@pytest.mark.parametrize("host", [b"xn--a", b"xn--\x7f", b"www.xn--a.example"])
def test_a_malformed_host_is_refused(host: bytes) -> None:
    """A host name that IDNA cannot decode is a bad request."""
    head = Head("GET", "/", "", "1.1", ((b"host", host),), b"")
    with pytest.raises(HttpRefused) as caught:
        check_text(head)
    assert caught.value.status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("host", [b"localhost:18790", b"[::1]:18790", b"127.0.0.1", b"xn--bcher-kva.example"])
def test_ordinary_hosts_pass(host: bytes) -> None:
    """Ports, addresses and well-formed international names are no reason to refuse."""
    head = Head("GET", "/", "", "1.1", ((b"host", host),), b"")
    check_text(head)
    assert head.values(b"host") == [host]


def test_origin_is_refused_unless_allowed() -> None:
    """Any web page is refused; one that the operator allowed is not."""
    head = head_of(upgrade("/", b"Origin: https://app.example"))
    with pytest.raises(HttpRefused) as caught:
        check_origin(head, frozenset())
    assert (caught.value.status, caught.value.code) == (HTTPStatus.FORBIDDEN, Code.FORBIDDEN)
    with pytest.raises(HttpRefused):
        check_origin(head, {"https://app.example.evil"})
    check_origin(head, {"https://app.example"})
    check_origin(head_of(upgrade("/")), frozenset())


@pytest.mark.parametrize(
    ("lines", "token"),
    [
        ((), None),
        ((b"Authorization: Bearer abc",), "abc"),
        ((b"authorization: bearer  abc ",), "abc"),
    ],
)
def test_bearer_token_is_found(lines: tuple[bytes, ...], token: str | None) -> None:
    """The scheme's case and spaces around the token do not matter."""
    assert bearer_token(head_of(get("/", *lines))) == token


@pytest.mark.parametrize(
    "lines",
    [
        (b"Authorization: Basic YTpi",),
        (b"Authorization: Bearer",),
        (b"Authorization: Bearer caf\xe9",),
        (b"Authorization: Bearer a", b"Authorization: Bearer b"),
    ],
)
def test_other_authorization_is_refused(lines: tuple[bytes, ...]) -> None:
    """An Authorization header that is no bearer token is wrong, never ignored."""
    with pytest.raises(HttpRefused) as caught:
        bearer_token(head_of(get("/", *lines)))
    assert caught.value.status == HTTPStatus.UNAUTHORIZED
    assert ("WWW-Authenticate", "Bearer") in caught.value.headers


@pytest.mark.parametrize(
    ("query", "session", "after"),
    [
        ("", None, None),
        ("?session=K", "K", None),
        ("?session=&session_id=B&sessionKey=C", "B", None),
        ("?session-key=D&session=E&after=0", "D", 0),
        ("?sessionId=F&after=9223372036854775807", "F", 9223372036854775807),
        ("?other=1", None, None),
    ],
)
def test_the_url_names_session_and_after(query: str, session: str | None, after: int | None) -> None:
    """The first session name with a value counts, in the order of the URL."""
    target = stream_target(head_of(get("/v1/agents/kim/stream" + query)))
    assert target is not None
    assert (target.agent, target.session_key, target.after) == ("kim", session, after)


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9223372036854775808", "%D9%A1", "1_0"])
def test_a_bad_after_is_refused(after: str) -> None:
    """Only a decimal sequence number that the store can hold is taken."""
    with pytest.raises(HttpRefused, match="after"):
        stream_target(head_of(get(f"/v1/agents/kim/stream?after={after}")))


@pytest.mark.parametrize("agent", ["", "..", "a.b", "%2e%2e%2fx", "a" * 65, "caf%C3%A9", "a%0A"])
def test_an_impossible_agent_id_is_refused(agent: str) -> None:
    """Nothing but the documented characters reaches the folder of agents."""
    with pytest.raises(HttpRefused) as caught:
        stream_target(head_of(get(f"/v1/agents/{agent}/stream")))
    assert (caught.value.status, caught.value.code) == (HTTPStatus.FORBIDDEN, Code.AGENT_INVALID)


@pytest.mark.parametrize("path", ["/", "/v1/agents/a/b/stream", "/v1/agents/a/stream/", "/v1/agents/a"])
def test_other_paths_are_no_stream(path: str) -> None:
    """The path is matched whole."""
    assert stream_target(head_of(get(path))) is None


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (get("/"), 426),
        (upgrade(without=[b"Upgrade"]), 426),
        (upgrade("/", b"Connection: close", without=[b"Connection"]), 426),
        (upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"), 426),
        (upgrade("/", b"Sec-WebSocket-Version: 8", without=[b"Sec-WebSocket-Version"]), 426),
        (upgrade(without=[b"Sec-WebSocket-Version"]), 426),
        (upgrade(without=[b"Sec-WebSocket-Key"]), 400),
        (upgrade("/", b"Sec-WebSocket-Key: short", without=[b"Sec-WebSocket-Key"]), 400),
        (upgrade("/", b"Sec-WebSocket-Key: " + KEY), 400),
        (upgrade("/", b"Content-Length: 5"), 400),
        (upgrade("/", b"Transfer-Encoding: chunked"), 400),
        (upgrade().replace(b"GET", b"POST"), 405),
    ],
)
def test_what_is_no_upgrade_is_refused(request_head: bytes, status: int) -> None:
    """Each rule of RFC 6455 section 4.2.1 has its status; 426 names the version spoken."""
    with pytest.raises(HttpRefused) as caught:
        websocket_key(head_of(request_head))
    assert caught.value.status == status
    if status == 426:
        assert ("Sec-WebSocket-Version", "13") in caught.value.headers


def test_tokens_of_an_upgrade_are_compared_without_case() -> None:
    """`Upgrade: WebSocket` and `keep-alive, Upgrade` are what browsers send."""
    changed = upgrade(
        "/", b"Upgrade: WebSocket", b"Connection: keep-alive, Upgrade", without=[b"Upgrade", b"Connection"]
    )
    assert websocket_key(head_of(changed)) == KEY


def test_the_head_written_for_trio_websocket_passes_the_same_checks() -> None:
    """What stands for the client's head is itself a good upgrade with the client's key."""
    head = head_of(upgrade_head(KEY))
    check_text(head)
    assert websocket_key(head) == KEY


def test_answers_are_whole_and_close() -> None:
    """Length, closing and code are there; HEAD gets everything but the body."""
    refused = HttpRefused(
        HTTPStatus.SERVICE_UNAVAILABLE, Code.DRAINING, "Stopping.", headers=(("X", "y"),), retry_after_ms=1200
    )
    head, _, body = render_refusal(refused).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nConnection: close" in head
    assert b"\r\nRetry-After: 2" in head
    assert b"\r\nX: y" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == {"code": "draining", "message": "Stopping.", "retry_after_ms": 1200}
    assert render_answer(HTTPStatus.OK, b"body", "text/plain", without_body=True).endswith(b"\r\n\r\n")


def test_check_method_names_what_is_allowed() -> None:
    """405 carries Allow."""
    with pytest.raises(HttpRefused) as caught:
        check_method(head_of(get("/livez", method=b"PUT")), "GET", "HEAD")
    assert ("Allow", "GET, HEAD") in caught.value.headers
