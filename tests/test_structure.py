"""The house keeps its shape: tests mirror modules, packages are listed, nothing is a stub."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "spiderwebd"

TESTED_ELSEWHERE = {
    "__main__.py": "started by every flow test",
    "cli.py": "tests/flows/test_commands.py runs the real command",
    "daemon.py": "tests/flows runs the real daemon",
    "client/__main__.py": "started by tests/client",
    "core/records.py": "plain rows, written and read back by tests/store/test_tables.py",
    "log_events.py": "tests/test_log.py and tests/systemd/test_catalog.py",
    "config_settings.py": "tests/test_config.py",
    "config_sources.py": "tests/test_config.py",
    "client/errors.py": "tests/client/test_request.py and test_connection.py",
    "core/effects.py": "plain data, asked for and checked by every other test of the core",
    "core/story.py": "frames, validated against the schema by tests/core/test_schema.py",
    "core/verbs.py": "two enumerations, used by tests/core/test_rules.py",
    "session/ports.py": "protocols, implemented by tests/session/household.py",
    "work/task.py": "plain data, used by tests/work/test_workers.py",
    "store/salvage_source.py": "tests/store/test_salvage.py, on damaged files",
    "store/salvage_tables.py": "tests/store/test_salvage.py, on damaged files",
    "store/salvage_report.py": "tests/store/test_salvage.py, on damaged files",
    "store/scan.py": "tests/store/test_salvage.py, on damaged files",
    "store/mending.py": "tests/store/test_salvage.py, on damaged files",
    "wire/plain.py": "tests/wire/test_link.py, whose every test runs over both",
    "store/damage.py": "tests/store/test_salvage.py and tests/crash/test_damage.py",
}
"""Modules without a test file of their own name, and where they are tested."""


def modules() -> list[Path]:
    """Return every module of the package, relative to it."""
    return [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]


def test_every_module_has_its_test_file() -> None:
    """tests/ROOM/test_MODULE.py stands for spiderwebd/ROOM/MODULE.py, or a reason why not."""
    missing = [
        str(path)
        for path in modules()
        if str(path) not in TESTED_ELSEWHERE
        and not (ROOT / "tests" / path.parent / f"test_{path.name}").exists()
    ]
    assert not missing


def test_no_exception_is_stale() -> None:
    """A module that got its test file, or went, leaves the list of exceptions."""
    stale = [
        name
        for name in TESTED_ELSEWHERE
        if not (PACKAGE / name).exists()
        or (ROOT / "tests" / Path(name).parent / f"test_{Path(name).name}").exists()
    ]
    assert not stale


def test_every_package_is_installed() -> None:
    """A room that is forgotten in pyproject.toml would be missing from the installed package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert listed == found


def test_nothing_is_left_to_do_later() -> None:
    """No marker of unfinished work stands in the code."""
    pattern = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError|placeholder)\b")
    found = [
        f"{path}:{number}"
        for path in modules()
        for number, line in enumerate((PACKAGE / path).read_text().splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found


def test_every_suppression_says_why() -> None:
    """`noqa` and `type: ignore` name a rule and a reason on their line."""
    bare = re.compile(r"#\s*(noqa|type:\s*ignore)(?P<rest>.*)$")
    found = []
    for path in modules():
        for number, line in enumerate((PACKAGE / path).read_text().splitlines(), start=1):
            match = bare.search(line)
            if match and not re.match(r"(: ?[A-Z0-9, ]+|\[[a-z0-9, -]+\])\s+(-|#)\s*\S+", match["rest"]):
                found.append(f"{path}:{number}: {line.strip()}")
    assert not found
