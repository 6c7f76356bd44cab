"""Requests that came before: each id is done once and answered the same, whatever link repeats it."""

from __future__ import annotations

from hashlib import blake2b

from spiderwebd.core.codes import Code
from spiderwebd.core.effects import LinkKey, Retell
from spiderwebd.core.records import RequestRecord, RequestState
from spiderwebd.core.state import Step


def digest(kind: str, payload: str) -> str:
    """Return a short digest of a request's type and payload (16 hex digits of BLAKE2b)."""
    return blake2b(f"{kind}\0{payload}".encode(), digest_size=8).hexdigest()


def request_record(
    step: Step,
    request: str,
    kind: str,
    payload: str,
    state: RequestState,
    seq: int,
    memory_id: int | None = None,
    goal_id: int | None = None,
) -> RequestRecord:
    """Return the row of a request that was just accepted; `seq` is of the frame that said so."""
    sid = step.state.sid
    return RequestRecord(
        sid, request, kind, digest(kind, payload), state, seq, memory_id, goal_id, step.now_ms
    )


def done_before(step: Step, link: LinkKey, request: str, kind: str, payload: str) -> bool:
    """Answer an id that came before: the same request as the first time, another with a refusal.

    False when the id is new, and then nothing was done.
    """
    known = step.state.requests.get(request)
    if known is None:
        return False
    if known.digest == digest(kind, payload):
        step.starts.append(Retell(link, known))
    else:
        message = f"The id '{request}' was used in this session for another request; use a new one."
        step.refuse(link, request, message, Code.REQUEST_CONFLICT)
    return True
