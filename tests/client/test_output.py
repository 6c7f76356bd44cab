"""Output: JSON lines, plain lines, colours on a terminal only, errors apart."""

from __future__ import annotations

import io
import json

import pytest
from typing_extensions import override

from spiderwebd.client.output import Output

FRAME = {"type": "session.receive", "content": "Gr\u00fc\u00dfe\nzwei \x1b[2J", "seq": 3}


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    @override
    def isatty(self) -> bool:
        return True


def output(out: io.StringIO, *, as_json: bool = False, **environment: str) -> Output:
    return Output(
        as_json=as_json, environment={"TERM": "xterm-256color", **environment}, out=out, notes=io.StringIO()
    )


@pytest.fixture(autouse=True)
def _terminal_with_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich looks at the process's own environment as well."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def test_json_is_one_line_a_frame() -> None:
    """The frame is given whole, on one line, whatever is in it."""
    out = io.StringIO()
    output(out, as_json=True).frame(FRAME)
    assert out.getvalue().count("\n") == 1
    assert json.loads(out.getvalue()) == FRAME


def test_plain_text_in_a_pipe() -> None:
    """No colours, no control sequences of the daemon's either."""
    out = io.StringIO()
    output(out).frame(FRAME)
    assert out.getvalue() == "Gr\u00fc\u00dfe\nzwei \\x1b[2J\n"


def test_colours_on_a_terminal() -> None:
    """Styled by kind of frame; the text itself still cannot steer the terminal."""
    out = Terminal()
    output(out).frame(FRAME)
    assert out.getvalue().startswith("\x1b[1mGr\u00fc\u00dfe")
    assert "\x1b[2J" not in out.getvalue()
    blocked = Terminal()
    output(blocked).frame({"type": "agent.status", "taskId": 1, "status": "blocked", "message": "no"})
    assert "\x1b[31m" in blocked.getvalue()


@pytest.mark.parametrize(("as_json", "environment"), [(True, {}), (False, {"NO_COLOR": "1"})])
def test_no_colours_when_not_wanted(as_json: bool, environment: dict[str, str]) -> None:
    """--json and NO_COLOR keep a terminal plain."""
    out = Terminal()
    output(out, as_json=as_json, **environment).frame({"type": "pong", "timestamp": 1})
    output(out, as_json=as_json, **environment).frame(FRAME)
    assert "\x1b" not in out.getvalue()


def test_errors_go_to_standard_error() -> None:
    """In plain form a refusal is not mixed with answers; in JSON it is a frame like any other."""
    error = {"type": "error", "code": "queue_full", "message": "Full."}
    out, notes = io.StringIO(), io.StringIO()
    Output(as_json=False, environment={}, out=out, notes=notes).frame(error)
    assert (out.getvalue(), notes.getvalue()) == ("", "spiderweb: refused (queue_full): Full.\n")
    Output(as_json=True, environment={}, out=out, notes=notes).frame(error)
    assert json.loads(out.getvalue()) == error
