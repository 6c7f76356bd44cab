"""What the documents say is what the code does, as far as a test can tell."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import spiderwebd
from spiderwebd.core.codes import CLOSE_MEANINGS, MEANINGS
from spiderwebd.core.kinds import table
from spiderwebd.core.protocol import CLIENT_FRAMES, parse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the README table under a heading, without its two head lines."""
    section = README.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_of_error_codes_is_the_code() -> None:
    """Every code stands in the README with its meaning and whether to retry, and no other."""
    said = {cells[0].strip("`"): (cells[1], cells[2]) for cells in rows("### Codes in error frames")}
    meant = {code.value: (m.text, "yes" if m.retry else "no") for code, m in MEANINGS.items()}
    assert said == meant


def test_the_table_of_close_codes_is_the_code() -> None:
    """Every close code the daemon sends stands in the README with its meaning, and no other."""
    said = {int(cells[0]): cells[1] for cells in rows("### Close codes")}
    assert said == {int(code): text for code, text in CLOSE_MEANINGS.items()}


def test_the_table_of_tasks_is_the_code() -> None:
    """The rules by which a task finds its worker are listed in the order in which they are tried."""
    said = [(int(cells[0]), cells[1], cells[3], cells[4]) for cells in rows("## What the workers can do")]
    meant = [(row.order, row.kind.value, row.example, "yes" if row.writes else "no") for row in table()]
    assert said == meant


def test_every_json_example_of_the_readme_is_a_frame() -> None:
    """Each example is JSON; those that a client sends parse, the others have a type the schema knows."""
    schema = json.loads((ROOT / "spiderwebd/core/protocol.schema.json").read_text())
    server = json.dumps(schema["$defs"]["ServerFrame"]) + json.dumps(
        {name: body for name, body in schema["$defs"].items() if name.startswith("server.")}
    )
    client = set(CLIENT_FRAMES.json_schema()["discriminator"]["mapping"])
    examples = [
        line
        for block in re.findall(r"```(?:json|text)\n(.*?)```", README, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("{")
    ]
    assert len(examples) >= 10
    for line in examples:
        kind = json.loads(line)["type"]
        if kind in client:
            parse(line)
        else:
            assert f'"{kind}"' in server, line


def test_the_version_is_said_once() -> None:
    """The package's version is the one the changelog knows, or an unreleased one above it."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## Unreleased" in changelog or f"## {spiderwebd.__version__}" in changelog
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "spiderwebd.__version__"}


def test_the_architecture_names_every_module() -> None:
    """No module is left out of the picture of the rooms."""
    text = (ROOT / "spiderwebd/ARCHITECTURE.md").read_text()
    missing = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "spiderwebd").rglob("*.py"))
        if path.stem not in ("__init__", "__main__")
        and f"`{path.stem}`" not in text
        and f"`{path.name}`" not in text
    ]
    missing = [path for path in missing if "/client/" not in path]
    assert not missing


def test_the_requirements_are_pinned_by_hash_and_name_no_address() -> None:
    """Every requirement has a version and hashes; no file of them holds a URL."""
    for name in ("run", "dev"):
        text = (ROOT / f"requirements/{name}.txt").read_text()
        assert "://" not in text
        for entry in re.split(r"\n(?=[a-z])", text.strip()):
            assert re.match(r"^[a-z0-9-]+==\S+", entry), entry[:60]
            assert "--hash=sha256:" in entry, entry[:60]
