"""The answer to an upgrade is the one that RFC 6455 asks for."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request

from spiderwebd.wire.head import upgrade_head
from spiderwebd.wire.upgrade import upgrade_answer

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def test_the_example_of_the_rfc() -> None:
    """RFC 6455 section 1.3 has a key and its answer."""
    answer = upgrade_answer(upgrade_head(b"dGhlIHNhbXBsZSBub25jZQ=="))
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer


@given(st.binary(min_size=16, max_size=16))
def test_every_key_has_its_answer(nonce: bytes) -> None:
    """The accept token is the one of section 4.2.2 for the key that came."""
    key = base64.b64encode(nonce)
    token = base64.b64encode(hashlib.sha1(key + GUID).digest())
    assert upgrade_answer(upgrade_head(key)).endswith(b"Sec-WebSocket-Accept: " + token + b"\r\n\r\n")


def test_another_implementation_takes_it() -> None:
    """The client of wsproto finds its connection accepted."""
    client = WSConnection(ConnectionType.CLIENT)
    request = client.send(Request(host="example", target="/"))
    client.receive_data(upgrade_answer(request))
    assert [type(event) for event in client.events()] == [AcceptConnection]


def test_a_head_without_a_key_is_a_fault_of_ours() -> None:
    """The door lets no such head pass; if it ever did, nothing is answered."""
    with pytest.raises(ValueError, match="came past the door"):
        upgrade_answer(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
