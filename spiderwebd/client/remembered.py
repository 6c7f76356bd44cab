"""What the client keeps between runs: the session it used last at each daemon, and how far it saw.

One file, sessions.json (0600: a session key is a secret), in the user's state folder. Losing it costs
nothing but convenience: the daemon has the sessions, and `spiderweb restore` finds the newest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VERSION = 1
KEPT = 64
"""Sessions of which the last seen seq is remembered; the one used longest ago is forgotten first."""


def default_path(environment: Mapping[str, str]) -> Path:
    """Return $XDG_STATE_HOME/spiderweb/sessions.json, by default under ~/.local/state."""
    base = environment.get("XDG_STATE_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    folder = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return folder / "spiderweb" / "sessions.json"


class RememberedSessions:
    """The file; each call reads it anew, so that two terminals see each other's sessions."""

    def __init__(self, path: Path) -> None:
        """Take the file's path; it and its folder are made when something is first kept."""
        self.path = path

    def last(self, place: str) -> str | None:
        """Return the key of the session used last at `place` (address and agent)."""
        key = self._read()["last"].get(place)
        return key if isinstance(key, str) else None

    def seq(self, key: str) -> int | None:
        """Return the last seq up to which everything of a session was seen; None when unknown."""
        seq = self._read()["seqs"].get(key)
        return seq if isinstance(seq, int) and seq >= 0 else None

    def keep(self, place: str, key: str, seq: int | None) -> None:
        """Make this the last session at `place`, seen up to `seq`. Raises OSError."""
        document = self._read()
        document["last"][place] = key
        seqs: dict[str, int | None] = document["seqs"]
        seqs.pop(key, None)
        seqs[key] = seq
        while len(seqs) > KEPT:
            del seqs[next(iter(seqs))]
        document["last"] = {each: name for each, name in document["last"].items() if name in seqs}
        self._write(document)

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            document = None
        if not isinstance(document, dict) or document.get("version") != VERSION:
            document = {}
        tables = {name: document.get(name) for name in ("last", "seqs")}
        return {
            "version": VERSION,
            **{name: table if isinstance(table, dict) else {} for name, table in tables.items()},
        }

    def _write(self, document: dict[str, Any]) -> None:
        """Replace the file whole: a reader sees the old text or the new one."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(document, file)
            draft.replace(self.path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
