"""The daemon's TLS certificate: read at the start, read again by a reload."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from spiderwebd.config_settings import Listen
from spiderwebd.core.codes import SpiderwebError


class CertificateError(SpiderwebError):
    """A certificate or key cannot be used; the text names both keys and both files."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Certificate chain and key, for every link that is opened from now on."""

    context: ssl.SSLContext

    @classmethod
    def of(cls, listen: Listen) -> Certificate | None:
        """Return the certificate that the settings name, or None.

        Raises CertificateError for files that cannot be read or do not fit together.
        """
        if listen.tls_certificate is None or listen.tls_key is None:
            return None
        return cls(_context(listen.tls_certificate, listen.tls_key))

    def renew(self, listen: Listen) -> None:
        """Take the files as they are now; links that are open keep what they have.

        Raises as `of`, and then the old certificate stays. Settings that name none change nothing: to
        stop or begin speaking TLS is for a restart.
        """
        if listen.tls_certificate is None or listen.tls_key is None:
            return
        # Tried on a context of its own first: a key that does not fit must not half replace the old.
        _context(listen.tls_certificate, listen.tls_key)
        self.context.load_cert_chain(listen.tls_certificate, listen.tls_key)


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise CertificateError(
            f"listen.tls_certificate {certificate} with listen.tls_key {key}: {error}"
        ) from error
    return context
