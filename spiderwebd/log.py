"""Logging: into the journal with its fields, or one line of text or JSON on standard error.

What is logged goes into a bounded queue; one thread writes it. The loop never waits for a terminal,
a pipe or the journal: when the queue is full a line is dropped and counted (`dropped`). Session keys
and tokens are secrets: the `session` field keeps six characters, and whatever looks like a token or like
a session key is hidden wherever it stands, in the text of an exception too.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from logging_journald import JournaldTransport
from typing_extensions import override

from spiderwebd.log_events import EVENTS, EventName

__all__ = [
    "bound",
    "dropped",
    "event",
    "get_logger",
    "hide",
    "session_label",
    "set_level",
    "setup",
    "shutdown",
]

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
QUEUE_LINES = 4096
MESSAGE_CHARACTERS = 4096
FIELD_CHARACTERS = 1024
EXCEPTION_CHARACTERS = 32_768
SHUTDOWN_SECONDS = 2.0

# The daemon's own loggers stand under this name. Libraries log under theirs, at warning and above:
# their debug lines may quote frames.
ROOT = "spiderwebd"
PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""Journal priorities, as syslog(3) numbers them."""

FIELD_ORDER = ("session", "agent", "request", "goal", "task")
"""The fields that say where a line comes from stand first, in this order."""

_SECRET_NAMES = {"token", "authorization", "password", "secret", "key", "session_key"}
_TOKEN = re.compile(r"sw_[A-Za-z0-9_-]{16,}")
_SESSION_KEY = re.compile(r"(?<![A-Za-z0-9])([A-Za-z0-9]{6})[A-Za-z0-9]{26}(?![A-Za-z0-9])")
_HIDDEN = "[hidden]"
_SHORTEST_SECRET = 19
"""Characters of the shortest text that `hide` may have to change: a token's `sw_` and 16 more."""

_bound: ContextVar[dict[str, object]] = ContextVar("bound", default={})  # noqa: B039  # it is never changed


_EVENT_LOGGER = logging.getLogger(f"{ROOT}.events")


class bound:  # noqa: N801  # reads as the verb of a with statement
    """`with bound(session=..., agent=...):` adds fields to every line of this task and of its children."""

    __slots__ = ("_before", "_fields")

    def __init__(self, **fields: object) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._before = _bound.set({**_bound.get(), **self._fields})

    def __exit__(self, *raised: object) -> None:
        _bound.reset(self._before)


@dataclass(frozen=True, slots=True)
class _Sink:
    """Where lines go."""

    write: Callable[[_Line], None]
    close: Callable[[], None] = lambda: None


@dataclass(slots=True)
class _Line:
    created: float
    level: str
    priority: int
    logger: str
    message: str
    fields: dict[str, str | int | float | bool | None]
    exception: str
    event: EventName | None
    code: tuple[str, int, str] | None = None
    """File, line and function that logged it."""


def session_label(key: str) -> str:
    """Return what may be shown of a session key: its first six characters."""
    return key[:6]


def hide(text: str) -> str:
    """Return a text without what looks like a token, and with six characters of what may be a session key."""
    if len(text) < _SHORTEST_SECRET:
        return text
    return _SESSION_KEY.sub(r"\1...", _TOKEN.sub(_HIDDEN, text))


class Logger:
    """What a module logs by: a message, and fields by name, of which `exc_info` is an exception.

    Of the standard library's loggers, so that levels are theirs; structlog does the same, but a tenth of
    the way from exec to ready was spent on loading it.
    """

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    @property
    def wants_debug(self) -> bool:
        """Whether lines for who looks for a bug are wanted now: to make them all costs more than to ask."""
        return self._logger.isEnabledFor(logging.DEBUG)

    def debug(self, message: str, /, **fields: object) -> None:
        """Log for who looks for a bug."""
        self._log(logging.DEBUG, message, fields)

    def info(self, message: str, /, **fields: object) -> None:
        """Log what happens."""
        self._log(logging.INFO, message, fields)

    def warning(self, message: str, /, **fields: object) -> None:
        """Log what somebody should know."""
        self._log(logging.WARNING, message, fields)

    def error(self, message: str, /, **fields: object) -> None:
        """Log what went wrong."""
        self._log(logging.ERROR, message, fields)

    def critical(self, message: str, /, **fields: object) -> None:
        """Log what ends the daemon."""
        self._log(logging.CRITICAL, message, fields)

    def _log(self, level: int, message: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            _hand_over(self._logger, level, {**fields, "event": message}, sys._getframe(2))


def get_logger(name: str) -> Logger:
    """Return the logger of a module; `name` is its `__name__`."""
    return Logger(name)


def _hand_over(logger: logging.Logger, level: int, fields: dict[str, Any], caller: FrameType) -> None:
    """Pass a line on to the standard library: its fields, those of its task, and where it was logged."""
    line = {**_bound.get(), **fields}
    raised = line.pop("exc_info", None)
    if isinstance(raised, BaseException):
        line["exception"] = logging.Formatter().formatException((type(raised), raised, raised.__traceback__))
    code = caller.f_code
    logger.handle(
        logging.LogRecord(logger.name, level, code.co_filename, caller.f_lineno, line, (), None, code.co_name)
    )


def event(name: EventName, /, **fields: object) -> None:
    """Log an operator event: its fixed text, priority and MESSAGE_ID, with these fields."""
    entry = EVENTS[name]
    level = entry.level
    if not _EVENT_LOGGER.isEnabledFor(level):
        return
    line = {**fields, "event": entry.text, "operator_event": name}
    _hand_over(_EVENT_LOGGER, level, line, sys._getframe(1))


def setup(
    level: str,
    format: str,  # noqa: A002  # the name the configuration uses
    *,
    descriptor: int = 2,
    environment: Mapping[str, str] = os.environ,
    journal_socket: Path = JOURNAL_SOCKET,
) -> None:
    """Start logging to a file descriptor or to the journal; a second call replaces the first.

    level: debug, info, warning or error. format: auto, text, json or journal; auto is journal when
    JOURNAL_STREAM names the descriptor. A journal that cannot be reached is replaced by text with
    `<priority>` prefixes, and said so: logging never keeps the daemon from starting.
    """
    shutdown()
    sink, failure = _sink(format, descriptor, environment, journal_socket)
    handler = _QueueHandler(sink)
    _State.handler = handler
    logging.getLogger().addHandler(handler)
    set_level(level)
    if failure:
        get_logger(ROOT).warning("the journal cannot be reached; logging as text instead", reason=failure)


def set_level(level: str) -> None:
    """Change the level of the daemon's own loggers, at once: debug, info, warning or error."""
    logging.getLogger(ROOT).setLevel(level.upper())


def dropped() -> int:
    """Return how many lines were lost since `setup`, for want of room or because writing failed."""
    return _State.handler.dropped if _State.handler else 0


def shutdown(seconds: float = SHUTDOWN_SECONDS) -> bool:
    """Write what waits, for at most so many seconds, and stop; return whether all was written."""
    handler, _State.handler = _State.handler, None
    if handler is None:
        return True
    logging.getLogger().removeHandler(handler)
    return handler.finish(seconds)


class _State:
    """The process has one log."""

    handler: _QueueHandler | None = None


class _QueueHandler(logging.Handler):
    """Take records from any thread without waiting; one thread of its own writes them."""

    def __init__(self, sink: _Sink) -> None:
        super().__init__()
        # Each number has one writer at a time: the handler's lock, and the thread.
        self._lost = 0
        self._failed = 0
        self._reported = 0
        self._abandoned = False
        self._sink = sink
        # Not queue.Queue: this one is a fifth of its cost, and the handler's lock makes its bound exact.
        self._queue: queue.SimpleQueue[_Line | None] = queue.SimpleQueue()
        # A daemon thread: a terminal that hangs must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that found no room or could not be written."""
        return self._lost + self._failed

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, or count it as dropped."""
        if self._queue.qsize() >= QUEUE_LINES:
            self._lost += 1
            return
        try:
            self._queue.put(_line(record))
        except Exception:
            # A field's own __str__ fails, and must not take down its task.
            self._lost += 1

    def finish(self, seconds: float) -> bool:
        """Let the thread write what waits; return whether it ended in time."""
        self._queue.put(None)
        self._thread.join(seconds)
        self._abandoned = self._thread.is_alive()
        return not self._abandoned

    def _run(self) -> None:
        while (line := self._queue.get()) is not None and not self._abandoned:
            self._put(line)
            self._report_lost()
        self._report_lost()
        self._sink.close()

    def _report_lost(self) -> None:
        if count := self._lost - self._reported:
            self._reported += count
            text = "log lines were dropped: no room, or no text could be made of them"
            self._put(_Line(time.time(), "warning", 4, ROOT, text, {"count": count}, "", None))

    def _put(self, line: _Line) -> None:
        try:
            self._sink.write(line)
        except Exception:
            # There is nowhere left to say so but the counter; whatever it is, the next line comes.
            self._failed += 1


def _line(record: logging.LogRecord) -> _Line:
    """Make a line of a record of ours or of a library; everything in it bounded and cleaned."""
    if isinstance(record.msg, dict):
        fields: dict[str, Any] = dict(record.msg)
        message = str(fields.pop("event", ""))
        exception = str(fields.pop("exception", ""))
    else:
        fields, message, exception = {}, record.getMessage(), ""
        if record.exc_info and record.exc_info[0]:
            exception = logging.Formatter().formatException(record.exc_info)
    name: EventName | None = fields.pop("operator_event", None)
    # Context variables come in no order of their own.
    ordered = dict.fromkeys(known for known in FIELD_ORDER if known in fields) | fields
    return _Line(
        created=record.created,
        level=record.levelname.lower(),
        priority=EVENTS[name].priority if name else PRIORITIES.get(record.levelno, 6),
        logger=record.name,
        message=_clean(message, MESSAGE_CHARACTERS),
        fields={field: _clean_field(field, fields[field]) for field in ordered},
        exception=_clean(exception, EXCEPTION_CHARACTERS),
        event=name,
        code=(record.pathname, record.lineno, record.funcName or ""),
    )


def _clean(text: str, most: int) -> str:
    text = hide(text)
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def _clean_field(name: str, value: object) -> str | int | float | bool | None:
    if name in _SECRET_NAMES:
        return _HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    if name == "session":
        return session_label(str(value))
    return _clean(str(value), FIELD_CHARACTERS)


def _sink(
    format: str,  # noqa: A002  # the name the configuration uses
    descriptor: int,
    environment: Mapping[str, str],
    journal_socket: Path,
) -> tuple[_Sink, str]:
    """Return where lines go, and why the journal was not taken though it was wanted."""
    failure = ""
    if format == "journal" or (format == "auto" and _journal_reads(descriptor, environment)):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                probe.connect(str(journal_socket))
        except OSError as error:
            failure = f"{journal_socket}: {error.strerror or error}"
        else:
            # Addressed anew for each line, so that a restarted journald is found again.
            transport = JournaldTransport(journal_socket, connected=False)
            return _Sink(lambda line: transport.send(journal_fields(line)), transport.socket.close), ""
    render = _json if format == "json" else _prefixed if failure else _text
    return _Sink(lambda line: _write_all(descriptor, render(line).encode())), failure


def _journal_reads(descriptor: int, environment: Mapping[str, str]) -> bool:
    """Whether JOURNAL_STREAM (device:inode, systemd.exec(5)) is this descriptor."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def journal_fields(line: _Line) -> list[tuple[str, Any]]:
    """Return the fields of a line as the journal keeps them: the message, and each field by itself."""
    message = f"{_sentence(line)}\n{line.exception}" if line.exception else _sentence(line)
    pairs: list[tuple[str, Any]] = [
        ("MESSAGE", message),
        ("PRIORITY", line.priority),
        ("SYSLOG_IDENTIFIER", ROOT),
        ("SYSLOG_PID", os.getpid()),
        ("SPIDERWEB_LOGGER", line.logger),
    ]
    if line.code:
        pairs += zip(("CODE_FILE", "CODE_LINE", "CODE_FUNC"), line.code, strict=True)
    if line.event:
        pairs += [("MESSAGE_ID", EVENTS[line.event].message_id), ("SPIDERWEB_EVENT", line.event)]
    pairs += [(f"SPIDERWEB_{_field_name(name)}", value) for name, value in line.fields.items()]
    return pairs


def _field_name(name: str) -> str:
    # The journal takes A-Z, 0-9 and _, 64 characters in all (systemd.journal-fields(7)).
    return re.sub(r"[^A-Z0-9_]", "_", name.upper())[:54]


def _sentence(line: _Line) -> str:
    """Put message and fields on one line; nothing in a value can break it or move a cursor."""
    return " ".join(
        [_plain(line.message), *(f"{name}={_quoted(value)}" for name, value in line.fields.items())]
    )


def _plain(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _quoted(value: object) -> str:
    text = str(value)
    if not text.isprintable():
        return json.dumps(text)
    return json.dumps(text, ensure_ascii=False) if not text or re.search(r'[\s"=]', text) else text


def _time(line: _Line) -> str:
    return datetime.fromtimestamp(line.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(line: _Line) -> str:
    lines = [f"{_time(line)} {line.level:<8} {_sentence(line)}"]
    lines += [f"    {_plain(row)}" for row in line.exception.splitlines()]
    return "\n".join(lines) + "\n"


def _prefixed(line: _Line) -> str:
    """Text for a pipe that the journal reads: `<N>` before each row is its priority (sd-daemon(3))."""
    rows = [_sentence(line), *(f"    {_plain(row)}" for row in line.exception.splitlines())]
    return "".join(f"<{line.priority}>{row}\n" for row in rows)


def _json(line: _Line) -> str:
    document = {"time": _time(line), "level": line.level, "message": line.message, "logger": line.logger}
    if line.event:
        document |= {"event": line.event, "message_id": EVENTS[line.event].message_id}
    if line.exception:
        document["exception"] = line.exception
    # A field that somebody named `time` or `level` does not replace the line's own.
    return json.dumps(line.fields | document) + "\n"


def _write_all(descriptor: int, data: bytes) -> None:
    # Not sys.stderr: its lock, held by a thread that hangs, would hang the end of the process too.
    while data:
        data = data[os.write(descriptor, data) :]
