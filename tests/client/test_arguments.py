"""The command line: options anywhere, mistakes found, help complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from spiderwebd.client.arguments import parser
from spiderwebd.client.errors import EXIT_MEANINGS, Exit

COMMANDS = (
    "chat", "goal", "attach", "sessions", "history", "restore", "state", "pause", "resume", "cancel",
    "memory", "heartbeat", "agents", "agent", "status", "reset", "raw",
)  # fmt: skip


@pytest.mark.parametrize(
    "argv",
    [
        ["--json", "--agent", "kim", "--socket", "/s", "state"],
        ["state", "--json", "--agent", "kim", "--socket", "/s"],
        ["--agent", "bob", "--json", "state", "--agent", "kim", "--socket", "/s"],
    ],
)
def test_options_before_and_after_the_command(argv: list[str]) -> None:
    """Both places mean the same, and what stands later wins."""
    arguments = parser().parse_args(argv)
    assert (arguments.json, arguments.agent, arguments.socket) == (True, "kim", Path("/s"))
    assert (arguments.new, arguments.timeout, arguments.url) == (False, None, None)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["dance"],
        ["goal"],
        ["memory"],
        ["memory", "load"],
        ["memory", "load", "0"],
        ["memory", "load", "x"],
        ["state", "--agent", "../x"],
        ["state", "--agent", ""],
        ["state", "--timeout", "0"],
        ["state", "--timeout", "nan"],
        ["state", "--timeout", "inf"],
        ["attach", "--after", "-1"],
        ["goal", "--pause-before", "0", "x"],
        ["state", "--token", "secret"],
    ],
)
def test_mistakes(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each is a usage error on standard error; there is no option that takes a token itself."""
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(argv)
    assert caught.value.code == Exit.USAGE
    assert "usage: spiderweb" in capsys.readouterr().err


def test_help_names_every_command_and_exit_code() -> None:
    """--help is the reference: what can be done, and what each exit code means."""
    text = parser().format_help()
    for name in COMMANDS:
        assert f"\n    {name} " in text
    assert set(EXIT_MEANINGS) == set(Exit)
    for code, meaning in EXIT_MEANINGS.items():
        assert f"{code.value:>3}  {meaning}" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each explains itself in a sentence."""
    with pytest.raises(SystemExit) as caught:
        parser().parse_args([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: spiderweb {command}" in capsys.readouterr().out
