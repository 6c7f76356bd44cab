"""Where settings come from: files, environment and command line, each a layer that knows its origins.

Each layer is checked by itself, and `config.load` puts them on top of each other. TOML lines are found
by a scan, because tomllib keeps none; a key the scan does not see is named by its file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import override

from spiderwebd.config_settings import KEYS, SECTIONS, Settings

ENVIRONMENT_PREFIX = "SPIDERWEBD_"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it stands, which key, why it is refused, and the valid key it resembles."""

    where: str
    """`file:line`, the name of an environment variable, or the command-line option."""
    key: str
    reason: str
    nearest: str | None = None

    @override
    def __str__(self) -> str:
        """One line for a person."""
        hint = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.where}: {f'{self.key}: ' if self.key else ''}{self.reason}{hint}"


@dataclass(slots=True)
class Layer:
    """What one source says: nested values, and the origin of each `section.key`."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def put(self, key: str, value: object, origin: str) -> None:
        """Set `section.key` (or a lone name, which validation will refuse) to a value."""
        section, _, name = key.partition(".")
        self.origins[key] = origin
        if name:
            self.values.setdefault(section, {})[name] = value
        else:
            self.values[section] = value

    def where(self, key: str) -> str:
        """Return the origin of a key, else of its section, else the layer's name."""
        return self.origins.get(key) or self.origins.get(key.partition(".")[0]) or self.name

    def check(self) -> list[Problem]:
        """Validate this layer by itself and take out of it what is wrong."""
        try:
            Settings(**self.values)
        except ValidationError as error:
            details = error.errors(include_url=False)
        else:
            return []
        problems = []
        for detail in details:
            path = [str(part) for part in detail["loc"]]
            key = ".".join(path[:2])
            problems.append(Problem(self.where(key), key, *_reason(key, detail)))
            section = self.values.get(path[0])
            if len(path) > 1 and isinstance(section, dict):
                section.pop(path[1], None)
            else:
                self.values.pop(path[0], None)
        return problems


def merged(layers: Iterable[Layer]) -> dict[str, Any]:
    """Put checked layers on top of each other, weakest first: tables are merged, all else is replaced."""
    values: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, table in layer.values.items():
            values.setdefault(section, {}).update(table)
    return values


def _reason(key: str, detail: ErrorDetails) -> tuple[str, str | None]:
    """Put pydantic's message into the words of this file; with the nearest key where a key is unknown."""
    if detail["type"] == "extra_forbidden":
        return ("unknown key" if "." in key else "unknown section"), nearest(key)
    if detail["type"] == "model_type":
        return "must be a table of keys", None
    text = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    value = repr(detail["input"])
    return f"{text.replace('tuple', 'list')}, not {value if len(value) <= 60 else value[:57] + '...'}", None


def nearest(key: str) -> str | None:
    """Return the valid key or section that a person most likely meant, if any is near."""
    section, _, name = key.rpartition(".")
    own = get_close_matches(name, SECTIONS[section].model_fields, n=1) if section in SECTIONS else []
    if own:
        return f"{section}.{own[0]}"
    elsewhere = [known for known in KEYS if known.partition(".")[2] == name]
    candidates = KEYS if section else (*SECTIONS, *KEYS)
    return _first(elsewhere) or _first(get_close_matches(key, candidates, n=1))


def _first(names: list[str]) -> str | None:
    return names[0] if names else None


def read_file(path: Path) -> tuple[Layer | None, Problem | None]:
    """Read one TOML file; return its layer, or the reason why it cannot be read."""
    try:
        text = path.read_bytes().decode("utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        return None, Problem(str(path), "", f"cannot be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        return None, Problem(str(path), "", f"is not UTF-8 at byte {error.start}")
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else str(path)
        return None, Problem(where, "", f"is not TOML: {error}")
    lines = _lines(text)
    layer = Layer(str(path), values)
    for section, table in values.items():
        names = [section, *(f"{section}.{name}" for name in table)] if isinstance(table, dict) else [section]
        for name in names:
            line_number = lines.get(name) or lines.get(section)
            layer.origins[name] = f"{path}:{line_number}" if line_number else str(path)
    return layer, None


def _lines(text: str) -> dict[str, int]:
    """Return the line of each `[section]` and `key =`, first come; tables and dotted keys alike."""
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\[?\s*([\w.\"' -]+?)\s*\]", line)
        pair = re.match(r"\s*([\w.\"' -]+?)\s*=", line)
        if header:
            table = _bare(header[1])
            found.setdefault(table, number)
        elif pair:
            found.setdefault(f"{table}.{_bare(pair[1])}" if table else _bare(pair[1]), number)
    return found


def _bare(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))


def read_folder(folder: Path) -> tuple[list[Path], Problem | None]:
    """Return the *.toml files of a folder in the order of their names; a missing folder has none."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".toml") and name[0] != ".")
    except FileNotFoundError:
        return [], None
    except OSError as error:
        return [], Problem(str(folder), "", f"cannot be read: {error.strerror or error}")
    return [folder / name for name in names], None


def environment_layer(environment: Mapping[str, str]) -> tuple[Layer, list[Problem]]:
    """Read SPIDERWEBD_SECTION__KEY; the whole prefix is the daemon's, so a misspelt name is reported."""
    valid = {ENVIRONMENT_PREFIX + key.upper().replace(".", "__"): key for key in KEYS}
    layer, problems = Layer("environment"), []
    for name in sorted(environment):
        if name in valid:
            layer.put(valid[name], read_value(valid[name], environment[name]), name)
        elif name.startswith(ENVIRONMENT_PREFIX):
            near = _first(get_close_matches(name, valid, n=1))
            problems.append(Problem(name, "", "is no setting", near))
    return layer, problems


def option_layer(options: Iterable[tuple[str, object, str]]) -> Layer:
    """Make a layer of (section.key, value or its text, option that said so)."""
    layer = Layer("command line")
    for key, value, option in options:
        layer.put(key, read_value(key, value) if isinstance(value, str) else value, option)
    return layer


def read_value(key: str, text: str) -> object:
    """Read a value written outside a file: TOML, or the bare text where that is no TOML or text is due."""
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = document["value"]
    if len(document) > 1 or (_takes_text(key) and not isinstance(value, str)):
        return text
    return value


def _takes_text(key: str) -> bool:
    section, _, name = key.partition(".")
    known = SECTIONS[section].model_fields.get(name) if section in SECTIONS else None
    return known is not None and isinstance(known.default, str | Path | None)
