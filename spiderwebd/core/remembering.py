"""Memory operations that clients ask for by id: create, load, update, evict, summarize.

What is not in RAM is fetched from the LTM first (`Fetch`), beside the loop; `fetched` goes on with it.
What asks for a memory that is being fetched goes the same way, so that requests for one memory are done
in the order in which they came.
"""

from __future__ import annotations

from spiderwebd.core.admission import RETRY_MS
from spiderwebd.core.change import Entry, row_of
from spiderwebd.core.codes import Code
from spiderwebd.core.effects import Fetch, LinkKey
from spiderwebd.core.frames import MemoryAnswer, MemoryItem
from spiderwebd.core.memory_events import bring_back, evict, remember, revise, summarize
from spiderwebd.core.protocol import (
    MemoryCreate,
    MemoryEvict,
    MemoryLoad,
    MemorySummarize,
    MemoryUpdate,
)
from spiderwebd.core.records import EntryKind, EntryRecord, RequestState
from spiderwebd.core.requests import done_before, request_record
from spiderwebd.core.state import Step
from spiderwebd.core.upkeep import keep_within_budget

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
    memory_id = remember(step, "user", frame.content, name=frame.name)
    seq = step.journal(
        {
            "type": "session.accepted",
            "request": request,
            "sessionKey": step.state.key,
            "memoryId": memory_id,
        }
    )
    _done(step, request, frame.type, payload, seq, memory_id)
    keep_within_budget(step, request)


def load(step: Step, link: LinkKey, request: str, frame: MemoryLoad) -> None:
    """Answer with one memory; one that had left RAM comes back into it."""
    entry = _settled(step, frame.memoryId)
    if entry is not None:
        _answer(step, link, request, frame, entry.record(step.state.sid, in_ram=True))
    else:
        _fetch(step, link, request, frame, frame.memoryId, "")


def update(step: Step, link: LinkKey, request: str, frame: MemoryUpdate, payload: str) -> None:
    """Revise a memory, in RAM or not; the old text is kept as a version."""
    if _settled(step, frame.memoryId) is None:
        _fetch(step, link, request, frame, frame.memoryId, payload)
    else:
        _revise(step, link, request, frame, payload, None)


def evict_asked(step: Step, link: LinkKey, request: str, frame: MemoryEvict, payload: str) -> None:
    """Take a memory out of RAM on request."""
    entry = _in_ram(step, link, request, frame.memoryId)
    if entry is not None:
        seq = evict(step, request, entry, "request")
        _done(step, request, frame.type, payload, seq, entry.id)
        _answer(step, link, request, frame, entry.record(step.state.sid, in_ram=False))


def summarize_asked(step: Step, link: LinkKey, request: str, frame: MemorySummarize, payload: str) -> None:
    """Put a summary in a memory's place in RAM on request."""
    entry = _in_ram(step, link, request, frame.memoryId)
    if entry is not None:
        summary, seq = summarize(step, request, entry, "request")
        _done(step, request, frame.type, payload, seq, summary.id)
        _answer(step, link, request, frame, summary.record(step.state.sid, in_ram=True))


def fetched(
    step: Step, link: LinkKey, request: str, frame: ByIdFrame, payload: str, record: EntryRecord | None
) -> None:
    """Go on with an operation whose memory was not in RAM; `record` is None when the LTM has none.

    Other events were handled since the read began: what they did to the same memory or request stands.
    """
    memory_id = frame.memoryId
    if memory_id is not None:
        step.state.fetched(memory_id)
    if record is None or memory_id is None:
        message = f"The long-term memory has no memory {memory_id} of this session."
        step.refuse(link, request, message, Code.MEMORY_UNKNOWN)
    elif isinstance(frame, MemoryUpdate) and done_before(step, link, request, frame.type, payload):
        pass
    elif record.kind is EntryKind.TOMBSTONE and record.related_to == memory_id:
        step.refuse(link, request, f"Memory {memory_id} is gone: {record.content}", Code.MEMORY_FORGOTTEN)
    elif step.state.outdated(memory_id, record.version) and step.state.ram.load(memory_id) is None:
        message = f"Memory {memory_id} was revised while it was read; try again."
        step.refuse(link, request, message, Code.STORAGE_UNAVAILABLE, RETRY_MS)
    elif isinstance(frame, MemoryUpdate):
        _revise_fetched(step, link, request, frame, payload, record)
    else:
        _bring_back(step, link, request, frame, record)


def _bring_back(step: Step, link: LinkKey, request: str, frame: ByIdFrame, record: EntryRecord) -> None:
    row, state = row_of(record), step.state
    if isinstance(row, Entry):
        bring_back(step, request, row, "request")
        keep_within_budget(step, request)
        found = state.ram.load(row.id)
        record = (
            row.record(state.sid, in_ram=False) if found is None else found.record(state.sid, in_ram=True)
        )
    _answer(step, link, request, frame, record)


def _revise_fetched(
    step: Step, link: LinkKey, request: str, frame: MemoryUpdate, payload: str, record: EntryRecord
) -> None:
    row = row_of(record)
    if isinstance(row, Entry):
        _revise(step, link, request, frame, payload, row)
    else:
        message = f"Memory {record.memory_id} is a {record.kind.value}; only entries are revised."
        step.refuse(link, request, message, Code.BAD_FRAME)


def _revise(
    step: Step, link: LinkKey, request: str, frame: MemoryUpdate, payload: str, stored: Entry | None
) -> None:
    state = step.state
    revised, seq = revise(step, request, frame.memoryId, frame.content, stored, "request")
    _done(step, request, frame.type, payload, seq, revised.id)
    keep_within_budget(step, request)
    in_ram = state.ram.load(revised.id) is not None
    _answer(step, link, request, frame, revised.record(state.sid, in_ram))


def _done(step: Step, request: str, kind: str, payload: str, seq: int, memory_id: int) -> None:
    step.remember_request(request_record(step, request, kind, payload, RequestState.ANSWERED, seq, memory_id))


def _answer(step: Step, link: LinkKey, request: str, frame: ByIdFrame, record: EntryRecord) -> None:
    answer: MemoryAnswer = {
        "type": frame.type,
        "request": request,
        "sessionKey": step.state.key,
        "item": item_of(record, "ram" if record.in_ram else "ltm"),
    }
    step.reply(link, answer)


def _fetch(step: Step, link: LinkKey, request: str, frame: ByIdFrame, memory_id: int, payload: str) -> None:
    if memory_id < step.state.ram.next_id:
        step.state.fetching[memory_id] += 1
        step.starts.append(Fetch(link, request, frame, memory_id, payload))
    else:
        _unknown(step, link, request, memory_id)


def _settled(step: Step, memory_id: int) -> Entry | None:
    """Return an entry of RAM that nobody waits for; None: it has to be fetched, behind those who wait."""
    return None if step.state.fetching[memory_id] else step.state.ram.load(memory_id)


def _in_ram(step: Step, link: LinkKey, request: str, memory_id: int | None) -> Entry | None:
    """Return the entry with this id, or the oldest; None when there is none and the link was told."""
    ram = step.state.ram
    entry = ram.oldest if memory_id is None else ram.load(memory_id)
    if entry is None and memory_id is None:
        message = "Working memory is empty; there is nothing to take out."
        step.refuse(link, request, message, Code.MEMORY_UNKNOWN)
    elif entry is None and memory_id is not None and memory_id >= ram.next_id:
        _unknown(step, link, request, memory_id)
    elif entry is None:
        message = f"Memory {memory_id} is no active entry of working memory; memory.load brings it back."
        step.refuse(link, request, message, Code.MEMORY_UNKNOWN)
    return entry


def _unknown(step: Step, link: LinkKey, request: str, memory_id: int) -> None:
    message = f"This session never gave out memory {memory_id}; check the id."
    step.refuse(link, request, message, Code.MEMORY_UNKNOWN)
