"""Who is let in, and what a refusal says: ids that came before, texts too long, queues that are full.

Each function either lets a request pass (False) or answers it (True); what is answered changes nothing.
"""

from __future__ import annotations

from hashlib import blake2b

from spiderwebd.core.codes import Code
from spiderwebd.core.effects import LinkKey, Retell
from spiderwebd.core.records import RequestRecord, RequestState
from spiderwebd.core.state import Step

RETRY_MS = 1000
"""What a client is told to wait when a queue of its session is full."""


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
    """Answer an id that came before: the same request as the first time, another with a refusal."""
    known = step.state.requests.get(request)
    if known is None:
        return False
    if known.digest == digest(kind, payload):
        step.starts.append(Retell(link, known))
    else:
        message = f"The id '{request}' was used in this session for another request; use a new one."
        step.refuse(link, request, message, Code.REQUEST_CONFLICT)
    return True


def too_large(step: Step, link: LinkKey, request: str, text: str) -> bool:
    """Refuse a text of more UTF-8 bytes than a message may have."""
    limit = step.state.rules.message_bytes
    if len(text) <= limit // 4 or len(text.encode()) <= limit:
        return False
    step.refuse(link, request, "Message too large for active context", Code.MESSAGE_TOO_LARGE)
    return True


def chats_full(step: Step, link: LinkKey, request: str) -> bool:
    """Refuse a message while too many wait for their answers."""
    waiting = len(step.state.chats)
    if waiting < step.state.rules.chats_queued:
        return False
    message = f"This session's queue of unanswered messages is full ({waiting}); try again later."
    step.refuse(link, request, message, Code.QUEUE_FULL, RETRY_MS)
    return True


def goals_full(step: Step, link: LinkKey, request: str) -> bool:
    """Refuse a goal while too many have not ended."""
    waiting = len(step.state.goals)
    if waiting < step.state.rules.goals_queued:
        return False
    message = f"This session's queue of goals is full ({waiting}); try again later."
    step.refuse(link, request, message, Code.QUEUE_FULL, RETRY_MS)
    return True
