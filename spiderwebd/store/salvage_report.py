"""What a salvage says: to the operator in a file, to the journal in a line. Never a text or a key."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from spiderwebd.store.mending import Mended, ranges
from spiderwebd.store.salvage_tables import Copied

LISTED = 200
"""Lines a table at most; a count says how many more there are."""


@dataclass(slots=True)
class SalvageReport:
    """What was recovered of a damaged database and what was not."""

    path: Path
    reason: str
    now_ms: int
    notes: list[str] = field(default_factory=list)
    tables: list[Copied] = field(default_factory=list)
    mended: Mended = field(default_factory=Mended)
    owners: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Principal and agent of the sessions that lost something."""
    indexes_whole: bool = True
    """Whether the indexes, which name lost rows one by one, could be read whole."""
    seconds: float = 0.0

    @property
    def kept(self) -> Path:
        """Where the damaged file is now."""
        moment = datetime.fromtimestamp(self.now_ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
        return self.path.with_name(f"{self.path.name}.damaged-{moment}")

    @property
    def file(self) -> Path:
        """Where the report is."""
        return self.kept.with_name(f"{self.kept.name}.txt")

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be missing."""
        return bool(self.tables) and all(table.whole for table in self.tables) and not self.notes

    @property
    def rows(self) -> int:
        """Rows that were recovered."""
        return sum(table.rows for table in self.tables)

    @property
    def touched(self) -> list[int]:
        """Sids of the sessions that are known to have lost something."""
        found = {sid for table in self.tables for sid, _ in table.lost}
        found.update(
            key[0]
            for table in self.tables
            if table.key[0] == "sid"
            for key in table.refused
            if isinstance(key[0], int)
        )
        found.update(sid for sid, _ in self.mended.failed_goals)
        return sorted(found)

    @property
    def summary(self) -> str:
        """One line for the journal."""
        lost = ", ".join(f"{len(table.lost)} {table.name}" for table in self.tables if table.lost)
        if self.complete:
            outcome = "nothing was lost"
        else:
            outcome = f"lost: {lost or 'rows that nothing names'}; {len(self.touched)} sessions touched"
        return (
            f"the database was damaged ({self.reason}); {self.rows} rows recovered, {outcome}; "
            f"the damaged file is {self.kept.name}, the report {self.file.name}"
        )

    def text(self) -> str:
        """The whole report."""
        moment = datetime.fromtimestamp(self.now_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines = [
            f"Salvage of {self.path.name}, {moment}",
            f"What was noticed: {self.reason}",
            f"The damaged file is kept as {self.kept.name}; it may be deleted when nobody needs it.",
            *(f"Note: {note}." for note in self.notes),
            "",
            "Nothing is known to be missing." if self.complete else "What was not recovered:",
        ]
        for table in self.tables:
            lines.extend(_lines(table))
        if not self.indexes_whole:
            lines.append("Indexes were damaged too: rows may be missing that are not named here.")
        lines += ["", "Recovered rows:", *(f"  {table.name}: {table.rows}" for table in self.tables)]
        lines += ["", *self._consequences()]
        return "\n".join(lines).rstrip() + "\n"

    def _consequences(self) -> list[str]:
        mended = self.mended
        lines = ["Sessions that lost something:"] if self.touched else []
        for sid in self.touched:
            principal, agent = self.owners.get(sid, ("", ""))
            lines.append(f"  session {sid} (principal {principal or 'unknown'}, agent {agent or 'unknown'})")
        if mended.rebuilt:
            lines.append(f"Rebuilt from indexes and other rows: sessions {_listed(mended.rebuilt)}")
        if mended.ownerless:
            lines.append(f"Kept, but key or owner is lost: sessions {_listed(mended.ownerless)}")
        if mended.buried:
            lines.append(f"{mended.buried} lost memories left a tombstone that says so.")
        if mended.failed_goals:
            goals = ", ".join(f"{goal} of session {sid}" for sid, goal in mended.failed_goals)
            lines.append(f"Ended as failed, their tasks being incomplete: goals {goals}")
        if mended.failed_requests:
            lines.append(f"Ended as failed, their text or goal being lost: {mended.failed_requests} requests")
        lines.append("The search index is built anew from the recovered memories.")
        return lines


def _lines(table: Copied) -> list[str]:
    if table.whole:
        return []
    lines = [f"  {table.name}:"]
    if table.name == "requests":
        # Ids are the clients' own words; the count is what matters: these would be done again.
        counts: dict[int, int] = {}
        for sid, _ in table.lost:
            counts[sid] = counts.get(sid, 0) + 1
        lines += [
            f"    session {sid}: {count} request ids forgotten" for sid, count in sorted(counts.items())
        ]
    elif table.name == "sessions":
        lines += [f"    the row of session {sid}" for sid, _ in table.lost]
    else:
        unit = {"entries": "memory", "events": "seq"}.get(table.name, "id")
        lines += [
            f"    session {sid}: {unit} {first}" + (f" to {last}" if last != first else "")
            for sid, first, last, _ in ranges(table.lost)
        ]
    if not table.placed:
        lines.append("    where it stood is not known: rows may be missing")
    lines += [f"    {gap.text}" for gap in table.gaps]
    lines += [f"    {', '.join(table.key)} {_key(key)}: the row makes no sense" for key in table.refused]
    if len(lines) > LISTED:
        lines = [*lines[:LISTED], f"    and {len(lines) - LISTED} more lines like these"]
    return lines


def _key(key: tuple[object, ...]) -> str:
    """A key in numbers; anything else might be a damaged text."""
    return ", ".join(str(value) if isinstance(value, int) else "?" for value in key)


def _listed(sids: list[int]) -> str:
    return ", ".join(map(str, sorted(set(sids))))
