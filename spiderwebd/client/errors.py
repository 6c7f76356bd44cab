"""What can go wrong for a client, and the exit code each of it means to a shell."""

from __future__ import annotations

from enum import IntEnum

from spiderwebd.core.codes import MEANINGS, Code


class Exit(IntEnum):
    """Exit codes of `spiderweb`; 69 and up are those of sysexits.h, 130 a shell's after SIGINT."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    NOT_DONE = 3
    UNREACHABLE = 69
    TEMPORARY = 75
    PROTOCOL = 76
    NOT_AUTHORISED = 77
    INTERRUPTED = 130


EXIT_MEANINGS: dict[Exit, str] = {
    Exit.DONE: "done",
    Exit.REFUSED: "refused by the daemon",
    Exit.USAGE: "usage",
    Exit.NOT_DONE: "the goal ended blocked, failed, cancelled or expired; or a message went unanswered",
    Exit.UNREACHABLE: "daemon not reachable",
    Exit.TEMPORARY: "temporary: draining, queue_full, storage_unavailable, no answer in time",
    Exit.PROTOCOL: "protocol error: what answers is no spiderwebd",
    Exit.NOT_AUTHORISED: "not authorised",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
}


def exit_for(code: str) -> Exit:
    """Return the exit code for the `code` of an error frame; one this client does not know is REFUSED."""
    if code in (Code.UNAUTHORIZED, Code.FORBIDDEN):
        return Exit.NOT_AUTHORISED
    try:
        known = Code(code)
    except ValueError:
        return Exit.REFUSED
    return Exit.TEMPORARY if MEANINGS[known].retry else Exit.REFUSED


class ClientError(Exception):
    """Root of the client's errors; `exit` is what the command ends with."""

    exit: Exit = Exit.REFUSED


class UsageError(ClientError):
    """What was asked for cannot be done as it stands, whatever the daemon says."""

    exit = Exit.USAGE


class UnreachableError(ClientError):
    """Nothing answers at the address."""

    exit = Exit.UNREACHABLE


class LinkLostError(UnreachableError):
    """The link ended before it was closed on purpose; connecting again and resuming may help."""

    def __init__(self, message: str, close_code: int | None = None) -> None:
        super().__init__(message)
        self.close_code = close_code


class DeadlineError(ClientError):
    """No answer came in time; the daemon may still do what it was asked."""

    exit = Exit.TEMPORARY


class RefusedError(ClientError):
    """The daemon said no, with one of its codes (spiderwebd.core.codes)."""

    def __init__(self, message: str, code: str, retry_after_ms: int | None = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.retry_after_ms = retry_after_ms
        self.exit = exit_for(code)


class ProtocolError(ClientError):
    """The other side does not speak the protocol."""

    exit = Exit.PROTOCOL
