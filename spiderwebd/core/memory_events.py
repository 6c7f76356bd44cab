"""Operations on working memory inside a step: their records, and the memory.event that tells of each.

What leaves RAM stays whole in the LTM, in the same transaction. Entries that a growing RAM pushes
out are collected in the step and told by one event (`tell_evictions`).
"""

from __future__ import annotations

from collections.abc import Sequence

from spiderwebd.core.change import Change, Entry, Summary, Tombstone
from spiderwebd.core.compaction import summarize_text
from spiderwebd.core.state import Step
from spiderwebd.core.story import MemoryEvent


def remember(step: Step, role: str, content: str, *, name: str | None = None) -> int:
    """Append a memory and return its MemoryID; what the budget pushed out is told later."""
    memory_id = step.state.ram.next_id
    keep(step, step.state.ram.append(role, content, step.now_ms, name))
    return memory_id


def evict(step: Step, request: str, entry: Entry, trigger: str) -> int:
    """Take an entry out of RAM; return the seq of the event that says so."""
    step.records.extend(step.state.ram.evict(step.now_ms, entry.id).records(step.state.sid))
    message = f"evicted memory {entry.id}; long-term memory has it"
    return step.journal(memory_event(step, request, "evict", "evicted", message, trigger, [entry.id]))


def summarize(step: Step, request: str, entry: Entry, trigger: str) -> tuple[Summary, int]:
    """Put a summary in an entry's place in RAM; return it and the seq of the event that says so."""
    state = step.state
    text = summarize_text(entry.content, entry.role, state.rules.summary_bytes)
    change = state.ram.summarize(text, step.now_ms, entry.id)
    step.records.extend(change.records(state.sid))
    summary = next(row for row in change.rows if isinstance(row, Summary))
    message = f"summarized memory {entry.id}"
    seq = step.journal(
        memory_event(step, request, "summarize", "summarized", message, trigger, [entry.id], [summary.id])
    )
    return summary, seq


def bring_back(step: Step, request: str, entry: Entry, trigger: str) -> None:
    """Bring an entry, as the LTM has it, back into RAM, unless it is larger than the whole budget."""
    change = step.state.ram.recall(entry, step.now_ms)
    if change.memory_id is not None:
        keep(step, change)
        message = f"memory {entry.id} is back in working memory"
        step.journal(memory_event(step, request, "recall", "recalled", message, trigger, [entry.id]))


def revise(
    step: Step, request: str, memory_id: int, content: str, stored: Entry | None, trigger: str
) -> tuple[Entry, int]:
    """Give a memory another text; `stored` is the entry as the LTM has it when it is not in RAM.

    Returns the entry as it is now, and the seq of the event that says so.
    """
    state = step.state
    change = state.ram.update(memory_id, content, step.now_ms, stored)
    keep(step, change)
    revised = next(row for row in change.rows if isinstance(row, Entry))
    state.note_revision(revised.id, revised.version)
    message = f"memory {revised.id} is now version {revised.version}"
    return revised, step.journal(
        memory_event(step, request, "update", "updated", message, trigger, [revised.id])
    )


def keep(step: Step, change: Change) -> None:
    """Have a change persisted, and note which entries the hard limit took out of RAM with it."""
    step.records.extend(change.records(step.state.sid))
    step.evicted.extend(row.related_to for row in change.rows if isinstance(row, Tombstone))


def tell_evictions(step: Step, request: str) -> None:
    """Journal one event for everything the hard limit pushed out since the last one."""
    if step.evicted:
        count = len(step.evicted)
        message = f"evicted {count} RAM entries over budget; long-term memory has them"
        step.journal(memory_event(step, request, "evict", "evicted", message, "budget", step.evicted))
        step.evicted.clear()


def memory_event(
    step: Step,
    request: str,
    event: str,
    status: str,
    message: str,
    trigger: str,
    memory_ids: Sequence[int],
    summary_ids: Sequence[int] = (),
) -> MemoryEvent:
    """Build a memory.event about these memories; `trigger` is request, worker, turn, sweep or budget."""
    frame: MemoryEvent = {
        "type": "memory.event",
        "request": request,
        "sessionKey": step.state.key,
        "event": event,
        "status": status,
        "count": len(summary_ids or memory_ids),
        "message": message,
        "trigger": trigger,
        "memoryIds": list(memory_ids),
    }
    if summary_ids:
        frame["summaryIds"] = list(summary_ids)
    return frame
