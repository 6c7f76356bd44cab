"""Asking the daemon's door for its health, by one plain HTTP request."""

from __future__ import annotations

import json
from time import monotonic

import h11

from spiderwebd.client.accounting import Accounts
from spiderwebd.client.discovery import Place
from spiderwebd.client.errors import DeadlineError, LinkLostError, ProtocolError
from spiderwebd.client.transport import open_socket

BODY_BYTES = 262_144
"""More than any answer of the door; /metrics takes some ten thousand."""


def probe(place: Place, path: str, timeout: float) -> tuple[int, str]:
    """Return status and what was said in answer to GET `path` (/livez, /readyz).

    A refusal's JSON body is given as `message (code)`. Raises UnreachableError, DeadlineError, or
    ProtocolError when the answer is no HTTP.
    """
    status, body = _get(place, path, timeout, [])
    return status, _said(body)


def accounts(place: Place, timeout: float) -> Accounts | None:
    """Return what became of the daemon's requests, or None when it does not show that to this token.

    Raises as `probe` does.
    """
    text = metrics(place, timeout)
    return Accounts.read(text) if text is not None else None


def metrics(place: Place, timeout: float) -> str | None:
    """Return the daemon's metrics as Prometheus reads them, or None when it does not show them to this token.

    Raises as `probe` does.
    """
    headers = [("Authorization", f"Bearer {place.token}")] if place.token else []
    status, body = _get(place, "/metrics", timeout, headers)
    return body.decode("utf-8", "replace") if status == 200 else None


def _get(place: Place, path: str, timeout: float, headers: list[tuple[str, str]]) -> tuple[int, bytes]:
    deadline = monotonic() + timeout
    connection = h11.Connection(h11.CLIENT)
    request = h11.Request(
        method="GET",
        target=place.address.path_prefix + path,
        headers=[("Host", place.address.authority), *headers],
    )
    head = (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")
    status, body = 0, b""
    with open_socket(place.address, timeout, place.ca_file) as connected:
        try:
            connected.sendall(head)
            while len(body) <= BODY_BYTES:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connected.settimeout(max(deadline - monotonic(), 0.001))
                    connection.receive_data(connected.recv(BODY_BYTES))
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                else:
                    break
        except h11.RemoteProtocolError as error:
            raise ProtocolError(f"{place.address.url} does not answer in HTTP: {error}") from None
        except TimeoutError:
            raise DeadlineError(
                f"{place.address.url} took the request, but did not answer {path} in time"
            ) from None
        except OSError as error:
            raise LinkLostError(f"{place.address.url} broke the connection off: {error}") from None
    return status, body


def _said(body: bytes) -> str:
    text = body.decode("utf-8", "replace").strip()
    try:
        refusal = json.loads(text)
    except ValueError:
        return text
    if isinstance(refusal, dict) and "message" in refusal:
        return f"{refusal['message']} ({refusal.get('code')})"
    return text
