"""The manual pages tell what the programs are."""

from __future__ import annotations

import argparse
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from spiderwebd import cli
from spiderwebd.client import arguments
from spiderwebd.client.errors import EXIT_MEANINGS

PAGES = Path(__file__).parents[2] / "packaging" / "man"
NAMES = ("spiderweb.1", "spiderwebd.toml.5", "spiderwebd.8")


def _subcommands(parser: argparse.ArgumentParser) -> set[str]:
    (group,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return set(group.choices)


def _options(parser: argparse.ArgumentParser) -> set[str]:
    """Return every long option of a parser and of the commands below it."""
    found: set[str] = set()
    for action in parser._actions:
        found |= {option for option in action.option_strings if option.startswith("--")}
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                found |= _options(sub)
    return found - {"--help"}


def _text(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")


def test_configuration_page_is_that_of_the_settings() -> None:
    """spiderwebd.toml.5 is what configuration_page.py makes of config_settings."""
    page = runpy.run_path(str(PAGES / "configuration_page.py"))["page"]
    assert _text("spiderwebd.toml.5") == page()


@pytest.mark.parametrize(
    ("name", "parser"), [("spiderwebd.8", cli._parser()), ("spiderweb.1", arguments.parser())]
)
def test_commands_are_those_of_the_program(name: str, parser: argparse.ArgumentParser) -> None:
    """Each command has an entry, and no entry is of a command that is gone."""
    commands = _text(name).split(".Sh COMMANDS", 1)[1].split(".Sh ", 1)[0]
    entries = "\n".join(line for line in commands.splitlines() if line.startswith(".It"))
    documented = set(re.findall(r"(?:\.It |, )(?:Cm )([a-z-]+)", entries))
    assert documented == _subcommands(parser)


@pytest.mark.parametrize("name", ["spiderweb.1"])
def test_options_of_the_client_are_all_known(name: str) -> None:
    """No option on the page is one the client does not take."""
    documented = {f"--{option}" for option in re.findall(r"Fl -([a-z-]+)", _text(name))}
    assert documented
    assert documented <= _options(arguments.parser())


def test_client_page_has_every_exit_status() -> None:
    """The page's exit statuses are those of client/errors.py."""
    listed = _text("spiderweb.1").split(".Sh EXIT STATUS", 1)[1].split(".El", 1)[0]
    assert {int(code) for code in re.findall(r"\.It (\d+)", listed)} == {int(code) for code in EXIT_MEANINGS}


@pytest.mark.parametrize("name", NAMES)
def test_pages_are_good_roff(name: str) -> None:
    """groff has nothing to warn about."""
    if shutil.which("groff") is None:
        pytest.skip("groff is missing: apt install groff")
    command = ["groff", "-mandoc", "-Tutf8", "-ww", "-z", PAGES / name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
