"""What every command works with: the daemon, the session, the output, and what was seen so far."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from time import monotonic

from spiderwebd.client.discovery import Place, Wishes, find
from spiderwebd.client.errors import DeadlineError, Exit, RefusedError
from spiderwebd.client.output import Output
from spiderwebd.client.remembered import RememberedSessions, default_path
from spiderwebd.client.request import Request
from spiderwebd.client.stream import RECONNECT_SECONDS, SessionStream, refusal, seq_of
from spiderwebd.client.transport import Frame
from spiderwebd.core.codes import MEANINGS, Code

ANSWER_SECONDS = 30.0
"""How long an answer is waited for unless --timeout says otherwise."""


class Desk:
    """One run of the command."""

    def __init__(self, arguments: Namespace, environment: Mapping[str, str], output: Output) -> None:
        """Keep what was asked; nothing is read or connected yet."""
        self.arguments = arguments
        self.output = output
        self._environment = environment
        self._shown: int | None = None
        """Last seq up to which the user has seen everything; None: unknown, and stays so."""

    @cached_property
    def place(self) -> Place:
        """Where the daemon is. Raises UsageError."""
        arguments = self.arguments
        wishes = Wishes(
            arguments.url, arguments.socket, arguments.token_file, arguments.ca_file, arguments.insecure
        )
        return find(wishes, self._environment)

    @cached_property
    def remembered(self) -> RememberedSessions:
        """The sessions of earlier runs."""
        return RememberedSessions(default_path(self._environment))

    @property
    def agent(self) -> str:
        """The agent to talk to."""
        return self.arguments.agent or "default"

    @property
    def place_name(self) -> str:
        """What sessions are remembered under."""
        return f"{self.place.address.url} {self.agent}"

    @property
    def answer_seconds(self) -> float:
        """How long to wait for an answer."""
        return self.arguments.timeout if self.arguments.timeout is not None else ANSWER_SECONDS

    @contextmanager
    def open(self, *, resume: bool = False, patient: bool = True) -> Iterator[SessionStream]:
        """Attach to the session that was asked for: --session, --new, else the last one.

        With `resume` what was missed since the last look comes first. A `patient` stream reconnects.
        On leaving, how far the user has seen the session is remembered.
        """
        arguments = self.arguments
        key = None if arguments.new else arguments.session or self.remembered.last(self.place_name)
        seen = None if key is None else self.remembered.seq(key)
        after = arguments.after if getattr(arguments, "after", None) is not None else seen
        stream = SessionStream(
            self.place,
            self.agent,
            reconnect_seconds=RECONNECT_SECONDS if patient else 0,
            tell=self.output.note,
        )
        with stream:
            ack = stream.open(key, after if resume else None, min(self.answer_seconds, ANSWER_SECONDS))
            if stream.key != key:
                if arguments.session:
                    raise RefusedError("no session of yours has this key", Code.SESSION_UNKNOWN)
                if key is not None:
                    self.output.note("the daemon does not know your last session; this is a new one")
                seen = stream.seq
            self._shown = stream.seq if resume else seen
            self._keep(stream.key)
            try:
                if resume:
                    self.output.frame(ack)
                yield stream
            finally:
                self._keep(stream.key)

    def show(self, frame: Frame) -> None:
        """Print a frame, and count it as seen."""
        # In this order: cut off in between, a frame is shown again next time rather than never.
        self.output.frame(frame)
        self.saw(frame)

    def saw(self, frame: Frame) -> None:
        """Count a frame as seen, whether or not there was something to print."""
        if frame["type"] == "session.gap":
            self._shown = min(int(frame["firstSeq"]) - 1, int(frame["seq"]))
        elif self._shown is not None and seq_of(frame) == self._shown + 1:
            self._shown += 1

    def ask(
        self,
        frame: Frame,
        *,
        shows: Callable[[Request, Frame], bool] | None = None,
        detached: bool = False,
        patient: bool = False,
        on_answer: Callable[[Frame], None] = lambda frame: None,
    ) -> Exit:
        """Send one frame, print its answers and return how it ended.

        `shows` chooses what is printed (default: whatever answers this request). Raises
        DeadlineError when the answer does not come in time; a goal may take as long as it takes.
        """
        with self.open(patient=patient) as stream:
            request = Request(frame, stream.send(frame), detached)
            deadline = monotonic() + self.answer_seconds
            while not request.ended:
                goes_on = request.goal_id is not None and self.arguments.timeout is None
                left = math.inf if goes_on else deadline - monotonic()
                if left <= 0:  # also when frames of others keep coming
                    raise DeadlineError(f"no answer within {self.answer_seconds:g} seconds")
                received = stream.receive(left)
                if received is None:
                    continue
                mine = request.take(received)
                check(received)
                if shows(request, received) if shows is not None else mine:
                    self.show(received)
                elif mine:
                    self.saw(received)
                if mine:
                    on_answer(received)
            return request.exit

    def keep(self, key: str) -> None:
        """Make a session the one that is used from now on."""
        self._shown = self.remembered.seq(key)
        self._keep(key)

    def _keep(self, key: str) -> None:
        try:
            self.remembered.keep(self.place_name, key, self._shown)
        except OSError as error:
            self.output.note(f"the session cannot be remembered: {error}")


def check(frame: Frame) -> None:
    """Raise RefusedError for an error frame that answers no request, unless the link ends with it.

    Before a link ends (the daemon drains, or has no room) it says why; the stream then reconnects
    or reports the end itself.
    """
    if frame["type"] != "error" or "request" in frame:
        return
    code = frame.get("code")
    if code not in list(Code) or not MEANINGS[Code(str(code))].retry:
        raise refusal(frame)
