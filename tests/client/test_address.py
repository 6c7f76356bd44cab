"""Addresses: what is taken, what is refused, and which may be sent a token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.client.address import Address, parse_address
from spiderwebd.client.errors import UsageError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ws://127.0.0.1:18790", Address("ws", "127.0.0.1", 18790)),
        ("127.0.0.1:5", Address("ws", "127.0.0.1", 5)),
        ("localhost", Address("ws", "localhost", 18790)),
        ("ws://[::1]:7/\n", Address("ws", "::1", 7)),
        ("wss://spider.example", Address("wss", "spider.example", 443)),
        ("wss://spider.example/agents/", Address("wss", "spider.example", 443, "/agents")),
        ("unix:/run/x.sock", Address("unix", "localhost", 0, "/run/x.sock")),
        ("unix:///run/x.sock", Address("unix", "localhost", 0, "/run/x.sock")),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    """Every documented form is read, with its default port."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://127.0.0.1:18790",
        "ws://",
        "ws://host:0",
        "ws://host:65536",
        "ws://host:port",
        "ws://tok@host",
        "ws://host?token=x",
        "ws://host#x",
        "ws://h\u00f6st",
        "unix:relative",
        "unix:/a\0b",
        "ws://[::1",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """A mistake, or a secret in a URL, is a usage error and not a guess."""
    with pytest.raises(UsageError):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("ws://127.0.0.1:1", True),
        ("ws://127.8.9.1:1", True),
        ("ws://[::1]:1", True),
        ("ws://localhost:1", True),
        ("unix:/x", True),
        ("wss://far.example", True),
        ("ws://far.example:1", False),
        ("ws://10.0.0.1:1", False),
    ],
)
def test_private_addresses(text: str, private: bool) -> None:
    """Only a network without TLS is not private."""
    assert parse_address(text).private is private


@given(
    host=st.from_regex(r"\A[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?\Z"),
    port=st.integers(1, 65_535),
    scheme=st.sampled_from(["ws", "wss"]),
)
def test_an_address_reads_back_from_its_url(host: str, port: int, scheme: str) -> None:
    """What `url` says is read as the same address."""
    address = Address(scheme, host, port)
    assert parse_address(address.url) == address
