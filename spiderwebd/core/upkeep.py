"""Keeping working memory within its budget between turns, and telling clients what was done.

The original compacted only after user messages; this runs whenever a turn ends, and by the memory
manager's sweep. What leaves RAM stays whole in the LTM, in the same transaction.
"""

from __future__ import annotations

from spiderwebd.core.change import Change, Summary, Tombstone
from spiderwebd.core.compaction import due, event_text, steps
from spiderwebd.core.frames import MemoryEvent
from spiderwebd.core.records import ArchiveRecord
from spiderwebd.core.state import Step

SNAPSHOT_REASON = "memory-manager auto snapshot"


def remember(step: Step, role: str, content: str, *, name: str | None = None) -> int:
    """Append a memory and return its MemoryID; what the budget pushed out is told later."""
    change = step.state.ram.append(role, content, step.now_ms, name)
    step.records.extend(change.records(step.state.sid))
    note_evictions(step, change)
    assert change.memory_id is not None  # append always makes one
    return change.memory_id


def note_evictions(step: Step, change: Change) -> None:
    """Remember which entries the hard limit took out of RAM, for one memory.event."""
    if len(change.rows) > 1:
        step.evicted.extend(row.related_to for row in change.rows if isinstance(row, Tombstone))


def memory_event(step: Step, request: str, event: str, status: str, count: int, message: str) -> MemoryEvent:
    """Build a memory.event; the caller adds what it knows of ids and sizes, and journals it."""
    return {
        "type": "memory.event",
        "request": request,
        "sessionKey": step.state.key,
        "event": event,
        "status": status,
        "count": count,
        "message": message,
    }


def tell_evictions(step: Step, request: str) -> None:
    """Journal one event for everything the hard limit pushed out since the last one."""
    if not step.evicted:
        return
    count = len(step.evicted)
    frame = memory_event(
        step,
        request,
        "evict",
        "evicted",
        count,
        f"evicted {count} RAM entries over budget; long-term memory has them",
    )
    frame["trigger"] = "budget"
    frame["memoryIds"] = list(step.evicted)
    step.evicted.clear()
    step.journal(frame)


def _apply_budget(step: Step) -> None:
    """Live within the configured budget when a reload changed it."""
    state = step.state
    if state.ram.budget != state.rules.budget:
        change = state.ram.fit(step.now_ms, state.rules.budget)
        step.records.extend(change.records(state.sid))
        note_evictions(step, change)


def compaction_due(step: Step) -> bool:
    """Whether the memory manager has work here and no turn is in flight."""
    return not step.state.chats and due(step.state.ram, step.state.rules.thresholds)


def keep_within_budget(step: Step, request: str, trigger: str = "turn") -> None:
    """Summarize the oldest entries while RAM is above its threshold; never during a turn."""
    _apply_budget(step)
    tell_evictions(step, request)
    if not compaction_due(step):
        return
    state, ram = step.state, step.state.ram
    before = {"entries": ram.active_count, "bytes": ram.active_bytes}
    changes = steps(ram, state.rules.thresholds, step.now_ms, max_bytes=state.rules.summary_bytes)
    for change in changes:
        step.records.extend(change.records(state.sid))
    made = [row for change in changes for row in change.rows if isinstance(row, Summary)]
    step.records.append(
        ArchiveRecord(
            state.sid,
            step.now_ms,
            SNAPSHOT_REASON,
            ram.next_id,
            ram.active_count,
            sum(1 for _ in ram.summaries()),
            cleared=False,
        )
    )
    frame = memory_event(
        step, request, "summarize", "snapshot", len(made), event_text(len(made), persisted=True)
    )
    frame["trigger"] = trigger
    frame["memoryIds"] = [source for summary in made for source in summary.sources]
    frame["summaryIds"] = [summary.id for summary in made]
    frame["before"] = before
    frame["after"] = {"entries": ram.active_count, "bytes": ram.active_bytes}
    step.journal(frame)
