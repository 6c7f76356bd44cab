"""The certificate that new links are shown, before and after its files changed."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio
import trio.testing

from spiderwebd.config_settings import Listen
from spiderwebd.wire.certificate import Certificate, CertificateError
from tests.wire.certificate import CERTIFICATE, KEY, RENEWED_CERTIFICATE, RENEWED_KEY


@pytest.fixture
def listen(tmp_path: Path) -> Listen:
    """Settings that name a certificate and its key."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_text(CERTIFICATE)
    key.write_text(KEY)
    return Listen(tls_certificate=certificate, tls_key=key)


def write(listen: Listen, certificate: str, key: str) -> None:
    """Put other files in the place of the named ones."""
    assert listen.tls_certificate is not None
    assert listen.tls_key is not None
    listen.tls_certificate.write_text(certificate)
    listen.tls_key.write_text(key)


async def trusted(certificate: Certificate, root: str) -> bool:
    """Whether a client that trusts `root` alone completes a handshake."""
    near, far = trio.testing.memory_stream_pair()
    context = ssl.create_default_context(cadata=root)
    client = trio.SSLStream(near, context, server_hostname="localhost")
    server = trio.SSLStream(far, certificate.context, server_side=True)
    failures: list[Exception] = []

    async def shake(stream: trio.SSLStream[trio.StapledStream]) -> None:
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            failures.append(error)
            await trio.aclose_forcefully(stream)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake, client)
            nursery.start_soon(shake, server)
    return not failures


async def test_renewed_files_are_shown_to_new_links(listen: Listen) -> None:
    """After `renew` the new certificate is shown, and the old one to nobody."""
    certificate = Certificate.of(listen)
    assert certificate is not None
    assert await trusted(certificate, CERTIFICATE)
    assert not await trusted(certificate, RENEWED_CERTIFICATE)
    write(listen, RENEWED_CERTIFICATE, RENEWED_KEY)
    certificate.renew(listen)
    assert await trusted(certificate, RENEWED_CERTIFICATE)
    assert not await trusted(certificate, CERTIFICATE)


async def test_files_that_do_not_fit_leave_the_old_certificate(listen: Listen) -> None:
    """A key of another certificate, or no file at all, is refused by name and changes nothing."""
    certificate = Certificate.of(listen)
    assert certificate is not None
    write(listen, RENEWED_CERTIFICATE, KEY)
    with pytest.raises(CertificateError, match=r"listen\.tls_key"):
        certificate.renew(listen)
    assert listen.tls_certificate is not None
    listen.tls_certificate.unlink()
    with pytest.raises(CertificateError, match=r"listen\.tls_certificate"):
        certificate.renew(listen)
    assert await trusted(certificate, CERTIFICATE)


def test_without_settings_there_is_none() -> None:
    """TLS is spoken only where both files are named."""
    assert Certificate.of(Listen()) is None
