"""Write spiderwebd.toml.5 from the settings themselves; `tests/systemd/test_man_pages.py` compares.

python packaging/man/configuration_page.py > packaging/man/spiderwebd.toml.5
"""

from __future__ import annotations

import sys
from typing import Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from spiderwebd.config import toml_value
from spiderwebd.config_settings import SECTIONS

HEAD = r"""\" Made by packaging/man/configuration_page.py; do not edit.
.Dd November 23, 2026
.Dt SPIDERWEBD.TOML 5
.Os
.Sh NAME
.Nm spiderwebd.toml
.Nd configuration of spiderwebd
.Sh SYNOPSIS
.Bl -item -compact
.It
.Pa /etc/spiderwebd/spiderwebd.toml
.It
.Pa /etc/spiderwebd/conf.d/*.toml
.El
.Sh DESCRIPTION
The configuration is TOML.
The files of
.Pa conf.d
are read after
.Pa spiderwebd.toml ,
in the order of their names; what comes later wins key by key, lists are replaced as a whole.
Stronger than any file are environment variables
.Ev SPIDERWEBD_SECTION__KEY ,
and stronger than these the options of
.Xr spiderwebd 8 .
.Pp
.Ic spiderwebd check-config
names every mistake at once;
.Ic spiderwebd config
prints what holds, and where each value is from.
.Pp
Secrets never stand here: see
.Sx Secrets
in
.Xr spiderwebd 8 .
"""

FOOT = r""".Sh SEE ALSO
.Xr spiderwebd 8
"""


def page() -> str:
    """Return the whole page as mdoc(7)."""
    lines = [".\\" + HEAD.removeprefix("\\")]
    for section, model in SECTIONS.items():
        lines.append(f".Sh [{section}]\n{_text((model.__doc__ or '').strip())}\n.Bl -tag -width Ds\n")
        lines += [_entry(name, field) for name, field in model.model_fields.items()]
        lines.append(".El\n")
    return "".join([*lines, FOOT])


def _entry(name: str, field: FieldInfo) -> str:
    default = toml_value(field.get_default())
    return f".It Sy {_text(name)} = {_text(default)}\n{_text(field.description or '')}\n{_range(field)}"


def _range(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return f"One of {', '.join(_text(toml_value(value)) for value in get_args(field.annotation))}.\n"
    low = next((toml_value(each.ge) for each in field.metadata if isinstance(each, Ge)), None)
    high = next((toml_value(each.le) for each in field.metadata if isinstance(each, Le)), None)
    return f"From {low} to {high}.\n" if low is not None and high is not None else ""


def _text(text: str) -> str:
    """Quote what roff would take for its own: backslashes, straight quotes, a leading point or quote."""
    escaped = text.replace("\\", r"\e").replace('"', r"\(dq").replace("'", r"\(aq").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", r"\(aq")) else escaped


if __name__ == "__main__":
    sys.stdout.write(page())
