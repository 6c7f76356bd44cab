"""Logging: fields, bounds, secrets, and never waiting for whoever reads."""

from __future__ import annotations

import array
import json
import logging
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from inspect import currentframe
from pathlib import Path
from typing import get_args

import pytest
import trio

from spiderwebd import log
from spiderwebd.log_events import EVENTS, EventName

TOKEN = "sw_" + "a" * 43
KEY = "abcdefghijklmnopqrstuvwxyz012345"


class Pipe:
    """A pipe in the place of standard error."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def finish(self) -> str:
        """Flush the log and return all that was written."""
        assert log.shutdown()
        os.close(self.writing)
        self.writing = -1
        with open(self.reading, encoding="utf-8") as file:
            self.reading = -1
            return file.read()

    def close(self) -> None:
        for descriptor in (self.reading, self.writing):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    log.shutdown(0)
    logging.getLogger(log.ROOT).setLevel(logging.NOTSET)  # what other tests log is not kept for this one
    made.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    """A datagram socket in the place of the journal's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "journal"))
        server.settimeout(10)
        yield server
        log.shutdown(0)


def received(server: socket.socket) -> dict[str, str]:
    """Take one entry of the native journal protocol apart."""
    size = array.array("i").itemsize
    data, ancillary, _, _ = server.recvmsg(1 << 20, socket.CMSG_LEN(size))
    if ancillary:
        with open(array.array("i", ancillary[0][2])[0], "rb") as file:
            file.seek(0)
            data = file.read()
    fields: dict[str, str] = {}
    while data:
        head, _, data = data.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            length = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + length], data[9 + length :]
        fields[name.decode()] = value.decode()
    return fields


def test_text_is_one_readable_line(pipe: Pipe) -> None:
    """Time, level, message and fields stand on one line that no value can break."""
    log.setup("info", "text", descriptor=pipe.writing)
    log.get_logger("spiderwebd.test").info("hello", links=3, reason='two words\n\x1b[2J "quoted"', none="")
    line = pipe.finish()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info     hello .*\n", line)
    assert line.endswith('links=3 reason="two words\\n\\u001b[2J \\"quoted\\"" none=""\n')


def test_json_has_the_same_as_an_object(pipe: Pipe) -> None:
    """Each line is a JSON object with message, level, fields and the event's name and id."""
    log.setup("info", "json", descriptor=pipe.writing)
    with log.bound(session=KEY, agent="default"):
        log.event("attach", request="r1", level="own", length=2)
    (document,) = map(json.loads, pipe.finish().splitlines())
    assert document.pop("time").endswith("Z")
    assert document == {
        "level": "info",
        "message": EVENTS["attach"].text,
        "logger": "spiderwebd.events",
        "event": "attach",
        "message_id": EVENTS["attach"].message_id,
        "session": "abcdef",
        "agent": "default",
        "request": "r1",
        "length": 2,
    }


def test_the_journal_gets_fields(journal: socket.socket, tmp_path: Path) -> None:
    """An operator event reaches the journal natively: id, priority and every field by itself."""
    log.setup("info", "journal", journal_socket=tmp_path / "journal")
    with log.bound(session=KEY, agent="default", goal=4, task=2, request="r"):
        line = currentframe().f_lineno + 1
        log.event("session_fault", **{"odd näme": "two\nlines"})
    fields = received(journal)
    assert fields.pop("MESSAGE").startswith(EVENTS["session_fault"].text + " session=abcdef agent=default")
    assert fields.pop("SYSLOG_PID") == str(os.getpid())
    assert fields == {
        "MESSAGE_ID": EVENTS["session_fault"].message_id,
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "spiderwebd",
        "SPIDERWEB_LOGGER": "spiderwebd.events",
        "SPIDERWEB_EVENT": "session_fault",
        "SPIDERWEB_SESSION": "abcdef",
        "SPIDERWEB_AGENT": "default",
        "SPIDERWEB_GOAL": "4",
        "SPIDERWEB_TASK": "2",
        "SPIDERWEB_REQUEST": "r",
        "SPIDERWEB_ODD_N_ME": "two\nlines",
        "CODE_FILE": __file__,
        "CODE_LINE": str(line),
        "CODE_FUNC": "test_the_journal_gets_fields",
    }


def test_auto_takes_the_journal_only_if_it_reads_the_descriptor(
    journal: socket.socket, pipe: Pipe, tmp_path: Path
) -> None:
    """JOURNAL_STREAM must name the very descriptor: a redirected daemon logs where it was sent."""
    status = os.fstat(pipe.writing)
    place = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    arguments = {"descriptor": pipe.writing, "journal_socket": tmp_path / "journal"}
    log.setup("info", "auto", environment=place, **arguments)
    log.event("ready")
    assert received(journal)["PRIORITY"] == "5"
    log.setup("info", "auto", environment={"JOURNAL_STREAM": f"{status.st_dev}:1"}, **arguments)
    log.event("stopped")
    assert EVENTS["stopped"].text in pipe.finish()


def test_a_journal_that_comes_back_is_found_again(tmp_path: Path) -> None:
    """After journald's socket was replaced, the next lines reach the new one; lost lines are counted."""
    place = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as first:
        first.bind(str(place))
        log.setup("info", "journal", journal_socket=place)
        log.event("started")
        assert received(first)["SPIDERWEB_EVENT"] == "started"
    place.unlink()
    log.event("ready")
    handler = log._State.handler
    assert handler is not None
    while not handler._failed:
        handler._thread.join(0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        second.bind(str(place))
        second.settimeout(10)
        log.event("stopping")
        assert received(second)["SPIDERWEB_EVENT"] == "stopping"
    assert log.dropped() == 1
    assert log.shutdown()


def test_without_a_journal_text_with_priorities_takes_its_place(pipe: Pipe, tmp_path: Path) -> None:
    """A missing journal socket does not stop the daemon: it says so and prefixes lines for journald."""
    log.setup("info", "journal", descriptor=pipe.writing, journal_socket=tmp_path / "none")
    log.event("ready")
    first, second = pipe.finish().splitlines()
    assert first.startswith("<4>the journal cannot be reached")
    assert second == f"<5>{EVENTS['ready'].text}"


@pytest.mark.parametrize("format_name", ["text", "json", "journal"])
def test_secrets_are_hidden_everywhere(
    pipe: Pipe, journal: socket.socket, tmp_path: Path, format_name: str
) -> None:
    """Tokens and session keys appear in no message, field, exception or library record."""
    log.setup("info", format_name, descriptor=pipe.writing, journal_socket=tmp_path / "journal")
    logger = log.get_logger("spiderwebd.test")
    message = f"took {TOKEN}"
    logger.info(message, head=f"Bearer {TOKEN}", token="plain", authorization="x", session=KEY)
    try:
        raise ValueError(f"bad {TOKEN}")
    except ValueError as error:
        logger.error("failed", exc_info=error, key=KEY)
    try:
        raise KeyError(KEY)
    except KeyError as error:
        logger.error("no session", exc_info=error, about=f"key={KEY}")
        logging.getLogger("library").exception("failed too with %s", TOKEN)
    text = pipe.finish()
    if format_name == "journal":
        text = "".join(map(repr, (received(journal) for _ in range(4))))
    assert "ValueError" in text
    assert "abcdef" in text
    for secret in (TOKEN, TOKEN[3:], KEY, "plain"):
        assert secret not in text


def test_exceptions_are_shown_without_local_variables(pipe: Pipe) -> None:
    """A traceback stands under its line, indented, and shows code, not values."""
    hidden = "the value"
    log.setup("info", "text", descriptor=pipe.writing)
    try:
        raise ExceptionGroup("several", [KeyError(len(hidden))])
    except ExceptionGroup as group:
        log.get_logger("spiderwebd.test").error("failed", exc_info=group)
    head, *rows = pipe.finish().splitlines()
    assert head.endswith("error    failed")
    assert all(row.startswith("    ") for row in rows)
    assert any("KeyError: 9" in row for row in rows)
    assert not any("the value" in row for row in rows if "hidden =" not in row)


def test_levels_change_at_run_time(pipe: Pipe) -> None:
    """`set_level` holds at once, also for a logger that was used before."""
    log.setup("warning", "text", descriptor=pipe.writing)
    logger = log.get_logger("spiderwebd.test")
    logger.info("one")
    log.event("ready")
    log.set_level("debug")
    logger.debug("two")
    log.set_level("error")
    logger.warning("three")
    log.event("session_fault")
    lines = pipe.finish().splitlines()
    assert [line.split(maxsplit=2)[2] for line in lines] == ["two", EVENTS["session_fault"].text]


def test_libraries_log_at_warning_and_above(pipe: Pipe) -> None:
    """A library's debug line may quote a frame; it is not written even at level debug."""
    log.setup("debug", "text", descriptor=pipe.writing)
    logging.getLogger("trio_websocket").debug("frame %s", KEY)
    logging.getLogger("trio_websocket").warning("odd %d", 1)
    (line,) = pipe.finish().splitlines()
    assert line.endswith("warning  odd 1")


def test_a_line_that_cannot_be_written_costs_itself(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong with one line, the thread lives on and writes the next; the loss is counted."""
    real = log._text

    def broken(line: log._Line) -> str:
        if "boom" in line.message:
            raise ZeroDivisionError("planted")
        return real(line)

    monkeypatch.setattr(log, "_text", broken)
    log.setup("info", "text", descriptor=pipe.writing)
    for message in ("before", "boom", "after"):
        log.get_logger("spiderwebd.test").info(message)
    handler = log._State.handler
    assert handler is not None
    text = pipe.finish()
    assert "before" in text
    assert "after" in text
    assert "boom" not in text
    assert handler.dropped == 1


def test_lines_are_bounded(pipe: Pipe) -> None:
    """A message, a field or an exception of any length takes bounded room."""
    log.setup("info", "json", descriptor=pipe.writing)
    log.get_logger("spiderwebd.test").error("m" * 9000, field="f" * 9000, exception="e" * 90_000)
    document = json.loads(pipe.finish())
    assert document["message"].endswith("mm... (9000 characters)")
    assert len(document["field"]) < log.FIELD_CHARACTERS + 40
    assert len(document["exception"]) < log.EXCEPTION_CHARACTERS + 40


def test_lone_surrogates_and_failing_fields_do_no_harm(pipe: Pipe) -> None:
    """What cannot be encoded is escaped; a field whose text fails is counted, and its task goes on."""

    class Failing:
        def __str__(self) -> str:
            raise RuntimeError

    log.setup("info", "text", descriptor=pipe.writing)
    logger = log.get_logger("spiderwebd.test")
    logger.info("odd", text="\ud800")
    logger.info("bad", text=Failing())
    assert log.dropped() == 1
    first, second = pipe.finish().splitlines()
    assert first.endswith("odd text=\\ud800")
    assert second.endswith("count=1")


def test_a_reader_that_hangs_costs_lines_and_no_time(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a full pipe and a full queue, logging returns; lines are counted, the end is not held up."""
    os.set_blocking(pipe.writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe.writing, b"." * 4096)
    os.set_blocking(pipe.writing, True)
    monkeypatch.setattr(log, "QUEUE_LINES", 8)
    log.setup("info", "text", descriptor=pipe.writing)
    for number in range(100):
        log.get_logger("spiderwebd.test").info("line", number=number)
    assert log.dropped() in (91, 92)  # the thread holds one line, or has not taken it yet
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "log"]
    assert log.shutdown(0.05) is False
    os.set_blocking(pipe.reading, False)
    while thread.is_alive():
        with suppress(BlockingIOError):
            os.read(pipe.reading, 65_536)
        thread.join(0.01)


def test_nothing_is_printed_before_setup(capfd: pytest.CaptureFixture[str]) -> None:
    """A module that logs before `setup` leaves standard output alone, and nothing counts as dropped."""
    assert log.shutdown()
    log.event("ready")
    assert capfd.readouterr().out == ""
    assert log.dropped() == 0


async def test_fields_reach_child_tasks(pipe: Pipe) -> None:
    """What is bound around a nursery stands in the lines of the tasks it starts, and nowhere else."""
    log.setup("info", "text", descriptor=pipe.writing)
    logger = log.get_logger("spiderwebd.test")

    async def child() -> None:
        await trio.lowlevel.checkpoint()
        logger.info("child")

    async with trio.open_nursery() as nursery:
        with log.bound(agent="one"):
            nursery.start_soon(child)
    logger.info("outside")
    first, second = pipe.finish().splitlines()
    assert first.endswith("child agent=one")
    assert second.endswith("outside")


def test_fields_last_as_long_as_their_block(pipe: Pipe) -> None:
    """Inner fields are added to outer ones, take their place, and leave with their block."""
    log.setup("info", "json", descriptor=pipe.writing)
    with log.bound(agent="a", goal=1):
        with log.bound(goal=2, task=3):
            log.event("ready")
        log.event("ready", agent="b")
    log.event("ready")
    lines = [json.loads(line) for line in pipe.finish().splitlines()]
    found = [{name: line[name] for name in ("agent", "goal", "task") if name in line} for line in lines]
    assert found == [{"agent": "a", "goal": 2, "task": 3}, {"agent": "b", "goal": 1}, {}]


def test_an_event_below_the_level_is_not_logged(pipe: Pipe) -> None:
    """Events are filtered as every other line is."""
    log.setup("error", "json", descriptor=pipe.writing)
    log.event("attach", agent="a")
    log.event("session_fault")
    (line,) = map(json.loads, pipe.finish().splitlines())
    assert line["event"] == "session_fault"


def test_every_operator_event_has_an_id_of_its_own() -> None:
    """The table covers every name; ids are 128 bits, different, priorities are syslog's."""
    assert set(EVENTS) == set(get_args(EventName))
    identifiers = [entry.message_id for entry in EVENTS.values()]
    assert len(set(identifiers)) == len(identifiers)
    assert all(re.fullmatch("[0-9a-f]{32}", identifier) for identifier in identifiers)
    assert all(2 <= entry.priority <= 6 for entry in EVENTS.values())
    assert {entry.level for entry in EVENTS.values()} == {20, 30, 40, 50}


def test_a_session_is_named_by_six_characters() -> None:
    """Enough to find a session in the log, too little to take it over."""
    assert log.session_label(KEY) == "abcdef"
