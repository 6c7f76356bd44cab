"""Memory operations by id: create, load, update, evict, summarize.

What is not in RAM is fetched from the LTM first (`Fetch`), beside the loop; `fetched` goes on with it.
"""

from __future__ import annotations

from spiderwebd.core.change import Entry, row_of
from spiderwebd.core.codes import Code
from spiderwebd.core.compaction import summarize_text
from spiderwebd.core.frames import MemoryAnswer, MemoryItem
from spiderwebd.core.protocol import (
    MemoryCreate,
    MemoryEvict,
    MemoryLoad,
    MemorySummarize,
    MemoryUpdate,
)
from spiderwebd.core.records import EntryKind, EntryRecord, RequestRecord, RequestState
from spiderwebd.core.state import Fetch, LinkKey, Step, digest
from spiderwebd.core.upkeep import keep_within_budget, memory_event, note_evictions, remember

ByIdFrame = MemoryLoad | MemoryUpdate | MemoryEvict | MemorySummarize


def item_of(record: EntryRecord, source: str) -> MemoryItem:
    """Return a stored row as the item clients see; `source` is ram or ltm."""
    if record.kind is EntryKind.SUMMARY:
        item: MemoryItem = {
            "kind": "summary",
            "source": source,
            "id": record.memory_id,
            "source_id": record.related_to or 0,
            "created_at_ms": record.created_ms,
            "text": record.content,
            "sources": list(record.sources),
        }
        return item
    item = {
        "kind": "entry",
        "source": source,
        "id": record.memory_id,
        "role": record.role,
        "state": "tombstone" if record.kind is EntryKind.TOMBSTONE else "active",
        "related_to": record.related_to,
        "content": record.content,
        "created_at_ms": record.created_ms,
        "version": record.version,
    }
    if record.name is not None:
        item["name"] = record.name
    return item


def create(step: Step, request: str, frame: MemoryCreate, payload: str) -> None:
    """Store a memory on purpose; session.accepted is its whole answer."""
    state = step.state
    memory_id = remember(step, "user", frame.content, name=frame.name)
    seq = step.journal(
        {"type": "session.accepted", "request": request, "sessionKey": state.key, "memoryId": memory_id}
    )
    _done(step, request, frame.type, payload, seq, memory_id)
    keep_within_budget(step, request)


def load(step: Step, link: LinkKey, request: str, frame: MemoryLoad) -> None:
    """Answer with one memory; one that had left RAM comes back into it."""
    entry = step.state.ram.load(frame.memoryId)
    if entry is not None:
        _answer(step, link, request, frame, entry.record(step.state.sid, in_ram=True), "ram")
    else:
        _fetch(step, link, request, frame, frame.memoryId, "")


def update(step: Step, link: LinkKey, request: str, frame: MemoryUpdate, payload: str) -> None:
    """Revise a memory, in RAM or not; the old text is kept as a version."""
    if step.state.ram.load(frame.memoryId) is None:
        _fetch(step, link, request, frame, frame.memoryId, payload)
    else:
        _revise(step, link, request, frame, payload, None)


def evict(step: Step, link: LinkKey, request: str, frame: MemoryEvict, payload: str) -> None:
    """Take a memory out of RAM on request."""
    state, ram = step.state, step.state.ram
    memory_id = frame.memoryId if frame.memoryId is not None else _oldest(step)
    entry = ram.load(memory_id)
    if entry is None:
        _not_in_ram(step, link, request, memory_id)
        return
    step.records.extend(ram.evict(step.now_ms, memory_id).records(state.sid))
    event = memory_event(
        step, request, "evict", "evicted", 1, f"evicted memory {memory_id}; long-term memory has it"
    )
    event["trigger"] = "request"
    event["memoryIds"] = [memory_id]
    _done(step, request, frame.type, payload, step.journal(event), memory_id)
    _answer(step, link, request, frame, entry.record(state.sid, in_ram=False), "ltm")


def summarize(step: Step, link: LinkKey, request: str, frame: MemorySummarize, payload: str) -> None:
    """Put a summary in a memory's place in RAM on request."""
    state, ram = step.state, step.state.ram
    memory_id = frame.memoryId if frame.memoryId is not None else _oldest(step)
    entry = ram.load(memory_id)
    if entry is None:
        _not_in_ram(step, link, request, memory_id)
        return
    text = summarize_text(entry.content, entry.role, state.rules.summary_bytes)
    change = ram.summarize(text, step.now_ms, memory_id)
    step.records.extend(change.records(state.sid))
    summary = change.rows[0].record(state.sid, in_ram=True)
    event = memory_event(step, request, "summarize", "summarized", 1, f"summarized memory {memory_id}")
    event["trigger"] = "request"
    event["memoryIds"] = [memory_id]
    event["summaryIds"] = [summary.memory_id]
    _done(step, request, frame.type, payload, step.journal(event), summary.memory_id)
    _answer(step, link, request, frame, summary, "ram")


def fetched(
    step: Step, link: LinkKey, request: str, frame: ByIdFrame, payload: str, record: EntryRecord | None
) -> None:
    """Go on with an operation whose memory was not in RAM; `record` is None when the LTM has none."""
    memory_id = frame.memoryId
    if record is None or memory_id is None:
        _unknown(step, link, request, memory_id or 0)
        return
    if record.kind is EntryKind.ENTRY and isinstance(frame, MemoryUpdate):
        if request in step.state.requests:
            _answer(step, link, request, frame, record, "ltm")
            return
        row = row_of(record)
        assert isinstance(row, Entry)  # row_of makes an Entry of an ENTRY
        _revise(step, link, request, frame, payload, row)
    elif record.kind is EntryKind.ENTRY and isinstance(frame, MemoryLoad):
        _bring_back(step, link, request, frame, record)
    elif isinstance(frame, MemoryUpdate):
        step.refuse(
            link, request, f"Memory {memory_id} is a {record.kind.value}; only entries are revised.", Code.BAD_FRAME
        )
    else:
        source = "ram" if record.in_ram else "ltm"
        _answer(step, link, request, frame, record, source)


def _bring_back(
    step: Step, link: LinkKey, request: str, frame: MemoryLoad, record: EntryRecord
) -> None:
    row = row_of(record)
    assert isinstance(row, Entry)  # row_of makes an Entry of an ENTRY
    change = step.state.ram.recall(row, step.now_ms)
    if change.memory_id is not None:
        step.records.extend(change.records(step.state.sid))
        note_evictions(step, change)
        event = memory_event(
            step, request, "recall", "recalled", 1, f"memory {row.id} is back in working memory"
        )
        event["trigger"] = "request"
        event["memoryIds"] = [row.id]
        step.journal(event)
        keep_within_budget(step, request)
    in_ram = step.state.ram.load(row.id) is not None
    _answer(step, link, request, frame, record, "ram" if in_ram else "ltm")


def _revise(
    step: Step, link: LinkKey, request: str, frame: MemoryUpdate, payload: str, stored: Entry | None
) -> None:
    state, ram = step.state, step.state.ram
    change = ram.update(frame.memoryId, frame.content, step.now_ms, stored)
    step.records.extend(change.records(state.sid))
    note_evictions(step, change)
    revised = next(row for row in change.rows if isinstance(row, Entry))
    event = memory_event(
        step, request, "update", "updated", 1, f"memory {revised.id} is now version {revised.version}"
    )
    event["trigger"] = "request"
    event["memoryIds"] = [revised.id]
    _done(step, request, frame.type, payload, step.journal(event), revised.id)
    keep_within_budget(step, request)
    in_ram = ram.load(revised.id) is not None
    _answer(step, link, request, frame, revised.record(state.sid, in_ram), "ram" if in_ram else "ltm")


def _done(
    step: Step, request: str, kind: str, payload: str, seq: int, memory_id: int
) -> None:
    step.remember_request(
        RequestRecord(
            step.state.sid,
            request,
            kind,
            digest(kind, payload),
            RequestState.ANSWERED,
            seq,
            memory_id,
            None,
            step.now_ms,
        )
    )


def _answer(
    step: Step, link: LinkKey, request: str, frame: ByIdFrame, record: EntryRecord, source: str
) -> None:
    answer: MemoryAnswer = {
        "type": frame.type,
        "request": request,
        "sessionKey": step.state.key,
        "item": item_of(record, source),
    }
    step.reply(link, answer)


def _fetch(
    step: Step, link: LinkKey, request: str, frame: ByIdFrame, memory_id: int, payload: str
) -> None:
    if memory_id < step.state.ram.next_id:
        step.starts.append(Fetch(link, request, frame, memory_id, payload))
    else:
        _unknown(step, link, request, memory_id)


def _oldest(step: Step) -> int:
    oldest = step.state.ram.oldest
    return 0 if oldest is None else oldest.id


def _unknown(step: Step, link: LinkKey, request: str, memory_id: int) -> None:
    step.refuse(
        link, request, f"This session never gave out memory {memory_id}; check the id.", Code.MEMORY_UNKNOWN
    )


def _not_in_ram(step: Step, link: LinkKey, request: str, memory_id: int) -> None:
    text = (
        f"Memory {memory_id} is not in working memory; memory.load brings it back."
        if memory_id
        else "Working memory is empty; there is nothing to take out."
    )
    step.refuse(link, request, text, Code.MEMORY_UNKNOWN)
