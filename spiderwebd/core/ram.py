"""Working memory of one session: what a model sees, bounded; the long-term memory (LTM) keeps all.

Every operation returns a `Change` that says exactly what must be persisted, so that an entry leaves
RAM only in the transaction in which the LTM has its full text, and `Ram.restore` of the persisted
rows is the same RAM again.

**List order is MemoryID order, everywhere.** Tombstones and summaries get new, larger ids when they
are made, so they stand at the end by themselves; a recalled entry goes back to the place of its own
id. The oldest entry is therefore always the one with the smallest id.

Operations, texts and the order in which ids are given out are those of the original (golden vectors
in tests/core/test_ram.py), with three corrections: only active entries count against
`Budget.max_entries`, so tombstones cannot starve them; ids never start again, not even after a
reset; an entry larger than the whole budget leaves by itself and takes no other with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from spiderwebd.core.change import Change, Draft, Entry, Operation, Summary, Tombstone, row_of
from spiderwebd.core.codes import Code, Refused
from spiderwebd.core.records import EntryRecord

ROLES = frozenset({"user", "assistant", "system", "tool", "tool_result"})

BYTES_PER_TOKEN = 4
"""Estimate for English text with current byte-pair encodings; used for `Budget.max_tokens` only."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much one session may hold in RAM. Raises ValueError for a limit that could hold nothing.

    `max_entries`, `max_bytes` (UTF-8 bytes of their contents) and `max_tokens` bound the active
    entries; tombstones and summaries are bounded apart and never push an entry out.
    """

    max_entries: int = 64
    max_bytes: int = 16_384
    max_tokens: int = 0
    """0: no limit. Tokens are estimated as UTF-8 bytes divided by four, rounded up."""
    max_tombstones: int = 64
    max_summaries: int = 64
    max_summary_bytes: int = 8_192

    def __post_init__(self) -> None:
        for limit in ("max_entries", "max_bytes", "max_tombstones", "max_summaries", "max_summary_bytes"):
            if getattr(self, limit) < 1:
                raise ValueError(f"{limit} must be at least 1")
        if self.max_tokens < 0:
            raise ValueError("max_tokens must be 0 (no limit) or more")

    @property
    def byte_limit(self) -> int:
        """Largest sum of bytes of the active entries that keeps both max_bytes and max_tokens."""
        if self.max_tokens == 0:
            return self.max_bytes
        return min(self.max_bytes, self.max_tokens * BYTES_PER_TOKEN)


@dataclass(slots=True)
class Ram:
    """Working memory of one session; not safe to share, its session's loop alone changes it.

    Times are wall-clock milliseconds. An operation that names an id which is not active in RAM raises
    Refused with memory_unknown and changes nothing; without an id it takes the oldest active entry and
    does nothing when there is none. A text that is not valid Unicode (a lone surrogate) raises
    UnicodeEncodeError before anything changes.
    """

    budget: Budget = field(default_factory=Budget)
    # Python dicts keep insertion order; each of these is kept in MemoryID order.
    _entries: dict[int, Entry] = field(default_factory=dict, init=False)
    _tombstones: dict[int, Tombstone] = field(default_factory=dict, init=False)
    _summaries: dict[int, Summary] = field(default_factory=dict, init=False)
    _next_id: int = field(default=1, init=False)
    _active_bytes: int = field(default=0, init=False)
    _summary_bytes: int = field(default=0, init=False)
    _byte_limit: int = field(init=False)

    def __post_init__(self) -> None:
        self._byte_limit = self.budget.byte_limit

    @classmethod
    def restore(cls, rows: Sequence[EntryRecord], next_id: int, budget: Budget | None = None) -> Ram:
        """The Ram that wrote `rows` (those still in RAM, in any order), giving out `next_id` next.

        Nothing is dropped here: when the budget became smaller since, `fit` must follow.
        """
        ram = cls(budget or Budget())
        for record in sorted(rows, key=lambda record: record.memory_id):
            row = row_of(record)
            if isinstance(row, Entry):
                ram._entries[row.id] = row
                ram._active_bytes += utf8_size(row.content)
            elif isinstance(row, Tombstone):
                ram._tombstones[row.id] = row
            else:
                ram._summaries[row.id] = row
                ram._summary_bytes += utf8_size(row.text)
        # An id once given out must not be given out again, whatever the session's row says.
        ram._next_id = max(next_id, 1 + max((record.memory_id for record in rows), default=0))
        return ram

    @property
    def next_id(self) -> int:
        """The MemoryID that will be given out next; it only ever grows."""
        return self._next_id

    @property
    def active_count(self) -> int:
        """Number of active entries."""
        return len(self._entries)

    @property
    def summary_count(self) -> int:
        """Number of summaries."""
        return len(self._summaries)

    @property
    def active_bytes(self) -> int:
        """UTF-8 bytes of the contents of the active entries."""
        return self._active_bytes

    @property
    def oldest(self) -> Entry | None:
        """The active entry that evict and summarize take when no id is given."""
        return next(iter(self._entries.values()), None)

    def entries(self) -> Iterator[Entry]:
        """Active entries, oldest first; valid until the next operation."""
        return iter(self._entries.values())

    def tombstones(self) -> Iterator[Tombstone]:
        """Tombstones, oldest first; valid until the next operation."""
        return iter(self._tombstones.values())

    def summaries(self) -> Iterator[Summary]:
        """Summaries, oldest first; valid until the next operation."""
        return iter(self._summaries.values())

    def turns(self) -> list[tuple[str, str]]:
        """(role, content) for a model's context: summaries as system texts, then the active entries."""
        turns = [("system", summary.text) for summary in self._summaries.values()]
        turns.extend((entry.role, entry.content) for entry in self._entries.values())
        return turns

    def load(self, memory_id: int) -> Entry | None:
        """The active entry with this id; None when it is not in RAM and the LTM must be asked."""
        return self._entries.get(memory_id)

    def append(self, role: str, content: str, now_ms: int, name: str | None = None) -> Change:
        """Add an entry under a new id; `Change.memory_id` is that id. ValueError for an unknown role."""
        if role not in ROLES:
            raise ValueError(f"unknown role {role!r}; known are {', '.join(sorted(ROLES))}")
        size = utf8_size(content)
        draft = self._draft(now_ms)
        entry = Entry(self._take_id(), role, content, now_ms, 1, name)
        self._admit(draft, entry, size)
        return self._change(draft, Operation.APPEND, entry.id)

    def recall(self, entry: Entry, now_ms: int) -> Change:
        """Bring an entry back from the LTM under its own id; older entries make room for it.

        Its tombstones leave RAM, since it is here again. Nothing changes when it is in RAM already or
        is larger than the whole budget: then it is read from the LTM. ValueError for an id that was
        never given out. Standing at its own place it is among the first to leave again.
        """
        if not 0 < entry.id < self._next_id:
            raise ValueError(f"memory {entry.id} was never given out")
        size = utf8_size(entry.content)
        draft = self._draft(now_ms)
        if entry.id in self._entries or size > self._byte_limit:
            return self._change(draft, Operation.LOAD, None)
        self._forget_tombstones(draft, entry.id)
        self._admit(draft, entry, size)
        return self._change(draft, Operation.LOAD, entry.id)

    def update(self, memory_id: int, content: str, now_ms: int, stored: Entry | None = None) -> Change:
        """Give a memory another text under its own id, version + 1; the old text is in the Change.

        `stored` is the entry as the LTM has it, for a memory that left RAM: it comes back revised.
        """
        size = utf8_size(content)
        old = self._entries.get(memory_id)
        if old is None and stored is not None and stored.id == memory_id < self._next_id:
            old = stored
        if old is None:
            raise _not_in_ram(memory_id)
        draft = self._draft(now_ms)
        draft.replaced = (old,)
        if memory_id in self._entries:
            self._active_bytes -= utf8_size(old.content)
            if size > self._byte_limit:
                del self._entries[memory_id]
        else:
            self._forget_tombstones(draft, memory_id)
        self._admit(draft, replace(old, content=content, version=old.version + 1), size)
        return self._change(draft, Operation.UPDATE, memory_id)

    def evict(self, now_ms: int, memory_id: int | None = None) -> Change:
        """Take an entry out of RAM, leaving a tombstone; its text stays in the LTM."""
        draft = self._draft(now_ms)
        entry = self._choose(memory_id)
        if entry is None:
            return self._change(draft, Operation.EVICT, None)
        self._evict(draft, entry)
        return self._change(draft, Operation.EVICT, entry.id)

    def summarize(self, text: str, now_ms: int, memory_id: int | None = None) -> Change:
        """Put a summary (`text` is made by compaction), then a tombstone, in an entry's place."""
        draft = self._draft(now_ms)
        entry = self._choose(memory_id)
        if entry is None:
            return self._change(draft, Operation.SUMMARIZE, None)
        text = f"[summary:{entry.id}] {text}"
        size = utf8_size(text)
        self._remove(draft, entry)
        summary = Summary(self._take_id(), (entry.id,), text, now_ms)
        self._summaries[summary.id] = summary
        self._summary_bytes += size
        draft.rows.append(summary)
        self._bury(draft, entry.id, f"[summarized:{entry.id}] {text}")
        self._bound_summaries(draft)
        return self._change(draft, Operation.SUMMARIZE, summary.id)

    def erase(self, memory_id: int, now_ms: int, reason: str, derived: Iterable[int] = ()) -> Change:
        """Erase a memory for good, in RAM or not, with the summaries and tombstones that quote it.

        `derived` are the ids of quoting rows which only the LTM still has. A tombstone with the date
        stays. Raises Refused for an id that was never given out and for one that is a tombstone.
        """
        if not 0 < memory_id < self._next_id:
            raise Refused(
                f"Memory {memory_id} was never given out by this session; check the id.", Code.MEMORY_UNKNOWN
            )
        if memory_id in self._tombstones:
            about = self._tombstones[memory_id].related_to
            raise Refused(f"Memory {memory_id} is a tombstone and has no text of its own; erase {about}.")
        draft = self._draft(now_ms)
        quoting = {memory_id, *derived}
        quoting.update(s.id for s in self._summaries.values() if memory_id in s.sources)
        quoted = tuple(self._summaries[i].text for i in quoting if i in self._summaries)
        for stone in self._tombstones.values():
            about = stone.related_to == memory_id and not stone.content.startswith("[erased:")
            if about or (quoted and stone.content.endswith(quoted)):
                quoting.add(stone.id)
        draft.erased = tuple(sorted(quoting))
        for gone in draft.erased:
            self._drop(draft, gone)
        self._bury(draft, memory_id, f"[erased:{memory_id}] [erased on request]")
        return self._change(draft, Operation.ERASE, memory_id, reason)

    def clear(self, now_ms: int, reason: str = "") -> Change:
        """Take everything out of RAM (a reset); ids go on where they stood."""
        draft = self._draft(now_ms)
        draft.left.extend(sorted([*self._entries, *self._tombstones, *self._summaries]))
        self._entries.clear()
        self._tombstones.clear()
        self._summaries.clear()
        self._active_bytes = self._summary_bytes = 0
        return self._change(draft, Operation.CLEAR, None, reason)

    def fit(self, now_ms: int, budget: Budget | None = None) -> Change:
        """Live within `budget` from now on, or within the present one again after `restore`."""
        if budget is not None:
            self.budget = budget
            self._byte_limit = budget.byte_limit
        draft = self._draft(now_ms)
        for entry in list(self._entries.values()):
            if utf8_size(entry.content) > self._byte_limit:
                self._evict(draft, entry)
        self._shrink(draft, None)
        self._bound_tombstones(draft)
        self._bound_summaries(draft)
        return self._change(draft, Operation.FIT, None)

    def _take_id(self) -> int:
        memory_id = self._next_id
        self._next_id = memory_id + 1
        return memory_id

    def _draft(self, now_ms: int) -> Draft:
        return Draft(now_ms, len(self._entries), self._active_bytes)

    def _change(self, draft: Draft, operation: Operation, memory_id: int | None, reason: str = "") -> Change:
        return Change(
            operation,
            draft.now_ms,
            memory_id,
            tuple(draft.rows),
            tuple(draft.left),
            draft.replaced,
            draft.erased,
            reason,
            draft.entries,
            len(self._entries),
            draft.bytes,
            self._active_bytes,
        )

    def _choose(self, memory_id: int | None) -> Entry | None:
        if memory_id is None:
            return self.oldest
        entry = self._entries.get(memory_id)
        if entry is None:
            raise _not_in_ram(memory_id)
        return entry

    def _admit(self, draft: Draft, entry: Entry, size: int) -> None:
        draft.rows.append(entry)
        if size > self._byte_limit:
            draft.left.append(entry.id)
            self._bury(draft, entry.id, _evicted(entry.id))
            return
        newest = next(reversed(self._entries), 0)
        returning = entry.id < newest and entry.id not in self._entries
        self._entries[entry.id] = entry
        self._active_bytes += size
        if returning:
            self._entries = dict(sorted(self._entries.items()))
        self._shrink(draft, entry.id)

    def _shrink(self, draft: Draft, keep: int | None) -> None:
        """Evict the oldest until the budget holds; `keep`, which alone fits, stays."""
        entries = self._entries
        while len(entries) > self.budget.max_entries or self._active_bytes > self._byte_limit:
            self._evict(draft, next(entry for entry in entries.values() if entry.id != keep))

    def _evict(self, draft: Draft, entry: Entry) -> None:
        self._remove(draft, entry)
        self._bury(draft, entry.id, _evicted(entry.id))

    def _remove(self, draft: Draft, entry: Entry) -> None:
        del self._entries[entry.id]
        self._active_bytes -= utf8_size(entry.content)
        draft.left.append(entry.id)

    def _bury(self, draft: Draft, memory_id: int, content: str) -> None:
        stone = Tombstone(self._take_id(), memory_id, content, draft.now_ms)
        self._tombstones[stone.id] = stone
        draft.rows.append(stone)
        self._bound_tombstones(draft)

    def _bound_tombstones(self, draft: Draft) -> None:
        while len(self._tombstones) > self.budget.max_tombstones:
            self._drop(draft, next(iter(self._tombstones)))

    def _bound_summaries(self, draft: Draft) -> None:
        budget = self.budget
        while len(self._summaries) > budget.max_summaries or self._summary_bytes > budget.max_summary_bytes:
            self._drop(draft, next(iter(self._summaries)))

    def _forget_tombstones(self, draft: Draft, memory_id: int) -> None:
        for stone in [s for s in self._tombstones.values() if s.related_to == memory_id]:
            self._drop(draft, stone.id)

    def _drop(self, draft: Draft, memory_id: int) -> None:
        """Take a row of any kind out of RAM without a tombstone; nothing when it is not there."""
        if memory_id in self._entries:
            self._remove(draft, self._entries[memory_id])
        elif (summary := self._summaries.pop(memory_id, None)) is not None:
            self._summary_bytes -= utf8_size(summary.text)
            draft.left.append(memory_id)
        elif self._tombstones.pop(memory_id, None) is not None:
            draft.left.append(memory_id)


def utf8_size(text: str) -> int:
    """Length of `text` in UTF-8 bytes; raises UnicodeEncodeError for a lone surrogate."""
    return len(text) if text.isascii() else len(text.encode())


def _evicted(memory_id: int) -> str:
    return f"[evicted:{memory_id}] [evicted context entry]"


def _not_in_ram(memory_id: int) -> Refused:
    return Refused(
        f"Memory {memory_id} is not in working memory; bring it back with memory.load first.",
        Code.MEMORY_UNKNOWN,
    )
