"""The message catalog says something true about every operator event."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from spiderwebd.log_events import EVENTS

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / "packaging" / "spiderwebd.catalog"


def _entries() -> dict[str, str]:
    parts = re.split(r"^-- ([0-9a-f]{32})$", CATALOG.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ids = parts[1::2]
    assert len(ids) == len(set(ids)), "a MESSAGE_ID has two entries"
    return dict(zip(ids, parts[2::2], strict=True))


def _fields_of_calls() -> dict[str, list[set[str]]]:
    """Return, by event name, the journal fields of each call of `log.event("name", field=...)`."""
    calls: dict[str, list[set[str]]] = {}
    for file in (ROOT / "spiderwebd").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in ("log.event", "_audit"):
                continue
            fields = {f"SPIDERWEB_{keyword.arg.upper()}" for keyword in node.keywords if keyword.arg}
            if isinstance(node.args[0], ast.Constant):
                calls.setdefault(str(node.args[0].value), []).append(fields)
            elif file.name == "reporting.py":  # the walls choose among their four events
                for event in ("session_fault", "work_fault", "link_fault", "loop_fault"):
                    calls.setdefault(event, []).append(fields)
    return calls


def test_every_event_has_an_entry_and_no_entry_is_stale() -> None:
    """The catalog has exactly the MESSAGE_IDs of log_events, each one once."""
    assert set(_entries()) == {event.message_id for event in EVENTS.values()}


def test_every_event_is_logged_somewhere() -> None:
    """No MESSAGE_ID is announced that the daemon never writes."""
    assert set(_fields_of_calls()) == set(EVENTS)


def test_every_entry_has_its_headers_and_a_text() -> None:
    """Each entry has subject, origin, a page to read on and at least a sentence."""
    for message_id, entry in _entries().items():
        header, _, text = entry.strip().partition("\n\n")
        keys = [line.partition(": ")[0] for line in header.splitlines()]
        assert keys == ["Subject", "Defined-By", "Support"], message_id
        assert len(text.split()) >= 5, message_id


def test_entries_name_only_fields_that_the_event_carries() -> None:
    """A @FIELD@ of the catalog is given by every call that logs the event, so it is never left empty."""
    calls = _fields_of_calls()
    for name, event in EVENTS.items():
        wanted = set(re.findall(r"@([A-Z_]+)@", _entries()[event.message_id]))
        for given in calls.get(name, [set()]):
            assert wanted <= given, f"{name}: {wanted - given} is not logged"
