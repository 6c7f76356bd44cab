"""Two self-signed certificates for localhost, valid for a century, for tests of TLS only."""

from __future__ import annotations

import ssl
import tempfile

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUMLr03aEMZtFvQ2dih6Zcl0B5+eswCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzAxMTE1NVoYDzIxMjYxMDMw
MDExMTU1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARfSLDD8K0vAOiSi3QCopVTpFFp9aW9wjVq2UifP3seOUEGosd57bqa
pdeWSsK+at6t9gwmGrmDY4RN47spkZrko28wbTAdBgNVHQ4EFgQU0+TBAvVncRNq
1XXy0QJ2w3s8bUYwHwYDVR0jBBgwFoAU0+TBAvVncRNq1XXy0QJ2w3s8bUYwGgYD
VR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZI
zj0EAwIDSAAwRQIgFuHOQ+ACp13oWkXxfXhydCBNtaHXq37ETwTe8ShdGKICIQD/
TuiWqMTYHurcpMTTGVl6vC/1W5QFdpui+/ewtWXS3w==
-----END CERTIFICATE-----
"""

KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgM8+EN3VQNk1o7d86
fMg05h8X6hctpUVtXRPAwepexGqhRANCAARfSLDD8K0vAOiSi3QCopVTpFFp9aW9
wjVq2UifP3seOUEGosd57bqapdeWSsK+at6t9gwmGrmDY4RN47spkZrk
-----END PRIVATE KEY-----
"""

RENEWED_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUFxklG1gggQ6PVjjsUVEDwKzotzowCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEzMDAyMjMyNFoYDzIxMjYxMTA2
MDIyMzI0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARaE0Yg2jFGYuO/emTgmxuq+k8oJaKmWLhCNwM+FhuXmRuUjoD2/tNj
w26lRM22LOviuoJtAWzGKM0J7M2NvXCDo28wbTAdBgNVHQ4EFgQUoc09/rhK1KZI
3dOOvhQaf+HJXIUwHwYDVR0jBBgwFoAUoc09/rhK1KZI3dOOvhQaf+HJXIUwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIhAMQ3hAvYcTRVF7d/Xofnk5DeNSbFu35FHrXHxB4J06mVAiAA
v78Osp5j7ywFtD4HudqLqYNaL5h7YawHzQbUUWXLXQ==
-----END CERTIFICATE-----
"""

RENEWED_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgDRVaCe3t6Whm6q14
BqMgEFsfcox6duv+76HLoUFYos+hRANCAARaE0Yg2jFGYuO/emTgmxuq+k8oJaKm
WLhCNwM+FhuXmRuUjoD2/tNjw26lRM22LOviuoJtAWzGKM0J7M2NvXCD
-----END PRIVATE KEY-----
"""


def server_context() -> ssl.SSLContext:
    """Return the daemon's side; OpenSSL reads keys from files only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as chain:
        chain.write(KEY + CERTIFICATE)
        chain.flush()
        context.load_cert_chain(chain.name)
    return context


def client_context() -> ssl.SSLContext:
    """Return the side of a client that trusts this certificate and checks the host name."""
    return ssl.create_default_context(cadata=CERTIFICATE)
