"""The memory manager: keeping working memory within its budget, between turns.

The original compacted only after user messages; this runs whenever a turn ends, and by the memory
manager's sweep. What leaves RAM stays whole in the LTM, in the same transaction.
"""

from __future__ import annotations

from spiderwebd.core.change import Summary
from spiderwebd.core.compaction import due, event_text, steps
from spiderwebd.core.memory_events import keep, memory_event, tell_evictions
from spiderwebd.core.records import ArchiveRecord
from spiderwebd.core.state import Step

RETENTION_REQUEST = "retention"
MANAGER_REQUEST = "memory-manager"
"""Request of the events that no client's request caused."""

SNAPSHOT_REASON = "memory-manager auto snapshot"
"""Compatibility 3.5."""


def tell_removal(step: Step, kind: str, count: int) -> None:
    """Journal that retention removed memories or archive markers of this session, as configured."""
    message = f"retention removed {count} {kind} rows past their configured age or number"
    frame = memory_event(step, RETENTION_REQUEST, "prune", "pruned", message, "retention", [])
    frame["count"] = count
    step.journal(frame)


def keep_within_budget(step: Step, request: str, trigger: str = "turn") -> None:
    """Tell what the budget pushed out, and summarize the oldest entries while RAM is above its threshold.

    One run makes at most `Thresholds.batch` summaries; none while a chat's answer is being made.
    """
    state, ram = step.state, step.state.ram
    if ram.budget != state.rules.budget:
        fit_budget(step)
    tell_evictions(step, request)
    if state.answering or not due(ram, state.rules.thresholds):
        return
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
            ram.summary_count,
            cleared=False,
        )
    )
    frame = memory_event(
        step,
        request,
        "summarize",
        "snapshot",
        event_text(len(made), persisted=True),
        trigger,
        [source for summary in made for source in summary.sources],
        [summary.id for summary in made],
    )
    frame["before"] = before
    frame["after"] = {"entries": ram.active_count, "bytes": ram.active_bytes}
    step.journal(frame)


def fit_budget(step: Step) -> None:
    """Live within the configured budget, which may have become smaller by a reload or since a restart."""
    keep(step, step.state.ram.fit(step.now_ms, step.state.rules.budget))
