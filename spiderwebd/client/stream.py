"""A session's event stream that outlives its links: a lost link is opened again and resumed.

No journalled frame is given twice or left out: `seq` says which were seen, and a reconnect asks for
what comes after them. A request that had no answer yet is sent again with its own id, which the
daemon does once.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from threading import Event
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from spiderwebd.client.discovery import Place
from spiderwebd.client.errors import (
    ClientError,
    DeadlineError,
    LinkLostError,
    ProtocolError,
    RefusedError,
    UnreachableError,
)
from spiderwebd.client.transport import OPEN_SECONDS, Frame
from spiderwebd.core.codes import MEANINGS, Code

if TYPE_CHECKING:
    from spiderwebd.client.connection import Connection

QUIET_SECONDS = 20.0
"""Silence after which the daemon is pinged; the daemon pings in the same rhythm."""
ANSWER_SECONDS = 10.0
"""From that ping to a sign of life, else the link is taken for lost."""
RECONNECT_SECONDS = 60.0
"""For how long a lost daemon is looked for."""
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
FRUITLESS_RECONNECTS = 10
"""Links that may end one after the other without a new journalled frame on any."""

_NOT_JOURNALLED = ("session.ack", "session.gap")
_NEVER_ANSWERED = ("connect", "disconnect", "pong")


def seq_of(frame: Frame) -> int | None:
    """Return a journalled frame's seq; None for a reply, an ack or a gap."""
    seq = frame.get("seq")
    return seq if isinstance(seq, int) and frame["type"] not in _NOT_JOURNALLED else None


class SessionStream:
    """Frames of one session, in order and once; made by `open`."""

    def __init__(
        self,
        place: Place,
        agent: str,
        *,
        reconnect_seconds: float = RECONNECT_SECONDS,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Keep where to connect; `tell` is given a line when a link is lost and one when it is back.

        With `reconnect_seconds` 0 a lost link is an error at once.
        """
        self.place = place
        self.agent = agent
        self.key = ""
        self.seq = 0
        """Last journalled frame that was seen, or where the session stood when it was attached."""
        self.ack: Frame = {}
        self.reconnects = 0
        self._reconnect_seconds = reconnect_seconds
        self._tell = tell
        self._connection: Connection | None = None
        self._unanswered: dict[str, Frame] = {}
        self._fruitless = 0
        self._pinged_since: float | None = None
        """`heard_at` of the link when it was pinged last: the same still means no answer yet."""
        self._pinged_at = 0.0

    def open(self, key: str | None, after: int | None = None, timeout: float = OPEN_SECONDS) -> Frame:
        """Attach to the session with this key, or to a new one, and return session.ack.

        With `after` what was journalled since is received first. When the daemon does not know the
        key, it gives a new session: the ack's sessionKey is then another. Raises as
        `Connection.open`, and RefusedError when the daemon has no room for the session.
        """
        from spiderwebd.client.connection import (
            Connection,
        )  # `status` needs none, and is quicker without its libraries

        deadline = monotonic() + timeout
        connection = Connection.open(self.place, self.agent, session=key, after=after, timeout=timeout)
        try:
            ack = connection.receive(max(deadline - monotonic(), 0))
            if ack is None or ack["type"] == "error":
                raise refusal(ack or {})
            if ack["type"] != "session.ack" or not isinstance(ack.get("sessionKey"), str):
                raise ProtocolError(
                    f"{self.place.address.url} began with {ack['type']} instead of session.ack"
                )
        except BaseException:
            connection.close(0)
            raise
        self._connection, self.ack, self._pinged_since = connection, ack, None
        known = key is not None and ack["sessionKey"] == key
        self.key = ack["sessionKey"]
        self.seq = after if known and after is not None else int(ack.get("seq", 0))
        return ack

    def send(self, frame: Frame) -> str:
        """Send a client frame and return its id, a fresh one when it has none. Raises as receive."""
        if not isinstance(frame.get("id"), str):
            frame = {**frame, "id": fresh_id()}
        request: str = frame["id"]
        if frame.get("type") not in _NEVER_ANSWERED:
            self._unanswered[request] = frame
        try:
            self._link().send(frame)
        except LinkLostError as lost:
            self._reconnect(lost, math.inf)
        return request

    def receive(self, timeout: float = math.inf, also: int | None = None) -> Frame | None:
        """Return the next frame; None when the descriptor `also` can be read instead.

        Waits at most `timeout` seconds. Without a bound it still ends: a daemon that is silent for
        QUIET_SECONDS must answer a ping. Raises DeadlineError, UnreachableError when a lost daemon
        does not come back, RefusedError when it no longer lets this client in.
        """
        deadline = monotonic() + timeout
        while True:
            try:
                frame = self._next(deadline, also)
            except LinkLostError as lost:
                self._reconnect(lost, deadline)
                continue
            if frame is None:
                return None
            if self._is_new(frame):
                self._unanswered.pop(str(frame.get("request")), None)
                return frame

    def close(self) -> None:
        """End the link; the session lives on. Never raises."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _link(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("the stream is not open; call open first")
        return self._connection

    def _next(self, deadline: float, also: int | None) -> Frame | None:
        link = self._link()
        while True:
            now = monotonic()
            pinged = self._pinged_since == link.heard_at
            if now - link.heard_at >= QUIET_SECONDS and not pinged:
                self._pinged_since, self._pinged_at, pinged = link.heard_at, now, True
                link.ping()
            elif pinged and now - self._pinged_at >= ANSWER_SECONDS:
                raise LinkLostError(f"{self.place.address.url} has gone silent")
            # heard_at moves while we wait, so it is looked at again after one round at the latest.
            patience = self._pinged_at + ANSWER_SECONDS if pinged else link.heard_at + QUIET_SECONDS
            left = deadline - monotonic()
            try:
                return link.receive(max(min(left, patience - now, QUIET_SECONDS), 0), also)
            except DeadlineError:
                if monotonic() >= deadline:
                    raise

    def _is_new(self, frame: Frame) -> bool:
        """Keep count of seq; False for what was seen before. Raises LinkLostError when one is missing."""
        if frame["type"] == "session.gap":
            after, last = int(frame["after"]), int(frame["seq"])
            self.seq = last if after > last else int(frame["firstSeq"]) - 1
            return True
        seq = seq_of(frame)
        if seq is None:
            return True
        if seq <= self.seq:
            return False
        if seq > self.seq + 1:
            # Storage was degraded while it was replayed; asking again gives what is missing.
            self._reconnect(LinkLostError(f"frame {self.seq + 1} is missing before {seq}"), math.inf)
            return False
        self.seq = seq
        self._fruitless = 0
        return True

    def _reconnect(self, lost: LinkLostError, deadline: float) -> None:
        key, seq = self.key, self.seq
        self.close()
        self._fruitless += 1
        if self._reconnect_seconds <= 0 or self._fruitless > FRUITLESS_RECONNECTS:
            raise lost
        self._tell(f"lost the daemon ({lost}); reconnecting")
        give_up = min(monotonic() + self._reconnect_seconds, deadline)
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                self.open(key, seq, max(min(OPEN_SECONDS, give_up - monotonic()), 0.1))
                for frame in list(self._unanswered.values()):
                    self._link().send(frame)
                break
            except ClientError as error:
                self.close()
                if not _passes(error) or monotonic() + pause >= give_up:
                    raise
            Event().wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        if self.key != key:
            self.close()
            raise RefusedError("the daemon no longer knows this session", Code.SESSION_UNKNOWN)
        self.reconnects += 1
        self._tell("reconnected")


def fresh_id() -> str:
    """Return a request id that no other client will choose (96 random bits)."""
    return secrets.token_urlsafe(12)


def refusal(frame: Frame) -> RefusedError:
    """Return an error frame as an exception."""
    retry_after = frame.get("retry_after_ms")
    return RefusedError(
        str(frame.get("message", "refused without a message")),
        str(frame.get("code", Code.INTERNAL)),
        retry_after if isinstance(retry_after, int) else None,
    )


def _passes(error: ClientError) -> bool:
    """Whether connecting again can help: a restart, a drain or an overload, not a refusal."""
    if isinstance(error, RefusedError):
        return error.code in list(Code) and MEANINGS[Code(error.code)].retry
    return isinstance(error, UnreachableError | DeadlineError)
