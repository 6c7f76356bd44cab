"""What a scenario hands back: figures with their targets, and the table they are shown in."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """A bound from issue 4, on the value itself or on its ratio to the echo server."""

    text: str
    limit: float
    at_least: bool = False
    """True: the limit or more meets it; False: the limit or less."""
    of_ratio: bool = True

    def met(self, measured: float) -> bool:
        """Whether a measured value, or ratio, meets it."""
        return measured >= self.limit if self.at_least else measured <= self.limit


@dataclass(slots=True)
class Figure:
    """One line of the table: a value for each round, and its ratio to the echo where there is one."""

    name: str
    unit: str
    values: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    target: Target | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """met, missed, or - for a figure without a target."""
        if self.target is None:
            return "-"
        measured = statistics.median(self.ratios if self.target.of_ratio else self.values)
        return "met" if self.target.met(measured) else "missed"

    def as_json(self) -> dict[str, Any]:
        """Everything, for --json."""
        return {
            "name": self.name,
            "unit": self.unit,
            "values": self.values,
            "ratios": self.ratios,
            "target": self.target.text if self.target else None,
            "verdict": self.verdict,
            "note": self.note,
        }


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table."""
    rows = [
        ["figure", "target", "measured: median (min to max)", "ratio to the echo", "verdict"],
        ["---"] * 5,
    ]
    rows += [
        [
            figure.name,
            figure.target.text if figure.target else "-",
            _spread(figure.values, figure.unit),
            _spread(figure.ratios, "") if figure.ratios else "-",
            figure.verdict + (f" ({figure.note})" if figure.note else ""),
        ]
        for figure in figures
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _spread(values: Sequence[float], unit: str) -> str:
    middle = f"{_short(statistics.median(values))} {unit}".rstrip()
    if len(values) == 1:
        return middle
    return f"{middle} ({_short(min(values))} to {_short(max(values))})"


def _short(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
