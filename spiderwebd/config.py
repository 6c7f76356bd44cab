"""Configuration: defaults, /etc/spiderwebd/spiderwebd.toml, conf.d, environment and command line.

Weakest first: defaults, the file, conf.d/*.toml beside it in the order of their names, environment
variables SPIDERWEBD_SECTION__KEY, `--set section.key=value`, and the options with a name of their
own. Tables are merged, lists are replaced. Every value keeps its origin, and every mistake of every
source is reported in one go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spiderwebd.config_settings import KEYS, Settings, contradictions
from spiderwebd.config_sources import (
    Layer,
    Problem,
    environment_layer,
    merged,
    nearest,
    option_layer,
    read_file,
    read_folder,
)

__all__ = ["ConfigError", "Loaded", "Problem", "Settings", "assignment", "describe", "load"]

DEFAULT_FILE = Path("/etc/spiderwebd/spiderwebd.toml")

OPTIONS = {"listen.address": "--listen", "state.directory": "--state-dir"}
"""Keys with a command-line option of their own."""


class ConfigError(Exception):
    """The configuration is refused; `problems` holds every mistake, the text one of them a line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Checked settings, and where each came from."""

    settings: Settings
    origins: Mapping[str, str]
    """`section.key` to `file:line`, variable name, command-line option or `default`; every key."""
    files: tuple[Path, ...]
    """Files that were read, weakest first."""


def load(
    config_file: Path | None,
    overrides: Mapping[str, object],
    environment: Mapping[str, str],
    options: Mapping[str, object] | None = None,
    *,
    default_file: Path = DEFAULT_FILE,
) -> Loaded:
    """Read, merge and check all sources.

    config_file is what --config named and must exist; None reads `default_file` if there is one.
    overrides are the --set pairs, options those of OPTIONS, both by `section.key`; text is read as a
    TOML value, or taken as it is where it is none. Raises ConfigError with every mistake.
    """
    layers, files, problems = _files(config_file, default_file)
    unreadable = bool(problems)
    from_environment, misnamed = environment_layer(environment)
    problems += misnamed
    layers += [
        from_environment,
        option_layer((key, value, "--set") for key, value in overrides.items()),
        option_layer((key, value, OPTIONS.get(key, key)) for key, value in (options or {}).items()),
    ]
    for layer in layers:
        problems += layer.check()
    settings = Settings(**merged(layers))
    origins = {
        key: next((layer.origins[key] for layer in reversed(layers) if key in layer.origins), "default")
        for key in KEYS
    }
    if not unreadable:
        problems += _contradictions(settings, origins, problems)
    if problems:
        raise ConfigError(problems)
    return Loaded(settings, origins, tuple(files))


def _files(config_file: Path | None, default_file: Path) -> tuple[list[Layer], list[Path], list[Problem]]:
    main = config_file or default_file
    drop_ins, problem = read_folder(main.parent / "conf.d")
    problems = [problem] if problem else []
    try:
        main.stat()
        missing = False
    except FileNotFoundError:
        missing = True
    except OSError:
        missing = False  # read_file says why
    files = drop_ins if missing and config_file is None else [main, *drop_ins]
    layers = []
    for file in files:
        layer, problem = read_file(file)
        if layer:
            layers.append(layer)
        if problem:
            problems.append(problem)
    return layers, files, problems


def _contradictions(
    settings: Settings, origins: Mapping[str, str], problems: Sequence[Problem]
) -> list[Problem]:
    """Name what does not go together, at the first of its keys that somebody set.

    A section that already has a mistake is left out: its values are not what was meant.
    """
    spoilt = {problem.key.partition(".")[0] for problem in problems}
    found = []
    for keys, reason in contradictions(settings):
        if not any(key.partition(".")[0] in spoilt for key in keys):
            culprit = next((key for key in keys if origins[key] != "default"), keys[0])
            found.append(Problem(origins[culprit], keys[0], reason))
    return found


def assignment(text: str) -> tuple[str, str]:
    """Split `section.key=value` of --set; for argparse. Raises ValueError naming what is wrong."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or "." not in key:
        raise ValueError(f"{text!r} is not section.key=value")
    if key not in KEYS:
        near = nearest(key)
        raise ValueError(f"unknown key {key!r}" + (f"; did you mean {near}?" if near else ""))
    return key, value.strip()


def describe(loaded: Loaded) -> str:
    """Return the merged configuration as TOML, each line with the origin of its value."""
    lines: list[str] = []
    for section, model in loaded.settings:
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        lines += [
            f"{name} = {toml_value(value)}  # {loaded.origins[f'{section}.{name}']}" for name, value in model
        ]
    return "\n".join(lines) + "\n"


def toml_value(value: object) -> str:
    """Write one setting as TOML; None is the empty text, whole seconds have no point."""
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped and JSON does not.
    return json.dumps("" if value is None else str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
