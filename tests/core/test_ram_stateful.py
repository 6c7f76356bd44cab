"""Any sequence of operations keeps the promises of working memory; hypothesis picks the sequences."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from spiderwebd.core.change import Change, Entry, Tombstone, row_of
from spiderwebd.core.ram import Budget, Ram, utf8_size
from spiderwebd.core.records import EntryKind, EntryRecord, EraseRecord, LeaveRamRecord, VersionRecord

SID = 3
LETTERS = st.characters(exclude_categories=["Cs"])
TEXTS = st.text(LETTERS, max_size=24) | st.text("aé", min_size=8, max_size=24)
BUDGETS = st.builds(
    Budget,
    max_entries=st.integers(1, 6),
    max_bytes=st.integers(8, 80),
    max_tokens=st.just(0) | st.integers(2, 15),
    max_tombstones=st.integers(1, 5),
    max_summaries=st.integers(1, 4),
    max_summary_bytes=st.integers(1, 90),
)


class LongTermMemory:
    """What the store does with records, in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[int, EntryRecord] = {}
        self.versions: dict[tuple[int, int], str] = {}
        self.erased: set[int] = set()

    def commit(self, change: Change) -> None:
        for record in change.records(SID):
            if isinstance(record, EntryRecord):
                self.rows[record.memory_id] = record
            elif isinstance(record, LeaveRamRecord):
                for memory_id in record.memory_ids:
                    self.rows[memory_id] = replace(self.rows[memory_id], in_ram=False)
            elif isinstance(record, VersionRecord):
                self.versions[record.memory_id, record.version] = record.content
            else:
                assert isinstance(record, EraseRecord)
                self.erased.update(record.memory_ids)
                for memory_id in record.memory_ids:
                    self.rows[memory_id] = replace(self.rows[memory_id], content="", in_ram=False)
                for key in [key for key in self.versions if key[0] in record.memory_ids]:
                    del self.versions[key]

    def derived(self, memory_id: int) -> list[int]:
        """Rows that quote a memory: its summaries, and the tombstones of what was summarised."""
        about = [row for row in self.rows.values() if memory_id in row.sources or row.related_to == memory_id]
        return [row.memory_id for row in about if not row.content.startswith("[erased:")]


class WorkingMemory(RuleBasedStateMachine):
    """A Ram, the LTM that its Changes feed, and what the test itself knows of each id."""

    ids = Bundle("ids")

    @initialize(budget=BUDGETS)
    def start(self, budget: Budget) -> None:
        self.ram = Ram(budget)
        self.ltm = LongTermMemory()
        self.texts: dict[int, str] = {}
        self.old: dict[tuple[int, int], str] = {}
        self.given: set[int] = set()
        self.now = 1_000

    def run(self, operation: Callable[[int], Change]) -> Change:
        """Do it, persist it, and check the ids it gave out and the sizes it reports."""
        self.now += 1
        next_id = self.ram.next_id
        size = (self.ram.active_count, self.ram.active_bytes)
        change = operation(self.now)
        made = [row.id for row in change.rows if row.id not in self.given]
        assert made == list(range(next_id, self.ram.next_id))
        self.given.update(made)
        for row in change.rows:
            if not isinstance(row, Entry):
                self.texts[row.id] = row.content if isinstance(row, Tombstone) else row.text
        assert (change.entries_before, change.bytes_before) == size
        assert (change.entries_after, change.bytes_after) == (self.ram.active_count, self.ram.active_bytes)
        assert len(set(change.left)) == len(change.left)
        self.ltm.commit(change)
        return change

    @rule(target=ids, role=st.sampled_from(["user", "assistant", "tool"]), text=TEXTS)
    def append(self, role: str, text: str) -> int:
        change = self.run(lambda now: self.ram.append(role, text, now))
        assert change.memory_id is not None
        self.texts[change.memory_id] = text
        return change.memory_id

    @rule(memory_id=ids)
    def recall(self, memory_id: int) -> None:
        if memory_id in self.ltm.erased:
            return
        entry = row_of(self.ltm.rows[memory_id])
        assert isinstance(entry, Entry)
        self.run(lambda now: self.ram.recall(entry, now))
        fits = utf8_size(entry.content) <= self.ram.budget.byte_limit
        assert (self.ram.load(memory_id) == entry) == fits

    @rule(memory_id=ids, text=TEXTS)
    def update(self, memory_id: int, text: str) -> None:
        if memory_id in self.ltm.erased:
            return
        stored = row_of(self.ltm.rows[memory_id])
        assert isinstance(stored, Entry)
        self.run(lambda now: self.ram.update(memory_id, text, now, stored=stored))
        self.old[memory_id, stored.version] = stored.content
        self.texts[memory_id] = text
        fits = utf8_size(text) <= self.ram.budget.byte_limit
        revised = replace(stored, content=text, version=stored.version + 1)
        assert row_of(self.ltm.rows[memory_id]) == revised
        assert self.ram.load(memory_id) == (revised if fits else None)

    @rule(data=st.data(), by_id=st.booleans())
    def evict(self, data: st.DataObject, by_id: bool) -> None:
        active = [entry.id for entry in self.ram.entries()]
        memory_id = data.draw(st.sampled_from(active)) if by_id and active else None
        change = self.run(lambda now: self.ram.evict(now, memory_id))
        assert bool(change) == bool(active)
        assert change.memory_id == (memory_id or min(active, default=None))

    @rule(text=TEXTS)
    def summarize(self, text: str) -> None:
        oldest = self.ram.oldest
        change = self.run(lambda now: self.ram.summarize(text, now))
        assert change.memory_id == (None if oldest is None else change.rows[0].id)

    @rule(memory_id=ids)
    def erase(self, memory_id: int) -> None:
        if memory_id in self.ltm.erased:
            return
        derived = self.ltm.derived(memory_id)
        change = self.run(lambda now: self.ram.erase(memory_id, now, "asked", derived))
        assert set(change.erased) == {memory_id, *derived}

    @rule()
    def clear(self) -> None:
        self.run(self.ram.clear)
        assert (self.ram.active_count, self.ram.turns()) == (0, [])

    @rule(budget=BUDGETS)
    def reload_budget(self, budget: Budget) -> None:
        self.run(lambda now: self.ram.fit(now, budget))

    @invariant()
    def budgets_hold(self) -> None:
        budget = self.ram.budget
        entries, summaries = list(self.ram.entries()), list(self.ram.summaries())
        size = sum(len(entry.content.encode()) for entry in entries)
        assert self.ram.active_bytes == size <= budget.max_bytes
        assert budget.max_tokens == 0 or -(-size // 4) <= budget.max_tokens
        assert self.ram.active_count == len(entries) <= budget.max_entries
        assert len(list(self.ram.tombstones())) <= budget.max_tombstones
        assert len(summaries) <= budget.max_summaries
        assert sum(len(summary.text.encode()) for summary in summaries) <= budget.max_summary_bytes

    @invariant()
    def list_order_is_memory_id_order(self) -> None:
        for rows in (self.ram.entries(), self.ram.tombstones(), self.ram.summaries()):
            ids = [row.id for row in rows]
            assert ids == sorted(set(ids))

    @invariant()
    def what_was_persisted_is_the_same_ram(self) -> None:
        rows = [row for row in self.ltm.rows.values() if row.in_ram]
        assert Ram.restore(rows, self.ram.next_id, self.ram.budget) == self.ram

    @invariant()
    def every_id_resolves(self) -> None:
        assert set(self.texts) == self.given == set(self.ltm.rows)
        stones = [row for row in self.ltm.rows.values() if row.kind is EntryKind.TOMBSTONE]
        for memory_id, text in self.texts.items():
            if memory_id not in self.ltm.erased:
                assert self.ltm.rows[memory_id].content == text
                entry = self.ram.load(memory_id)
                assert entry is None or entry.content == text
            elif self.ltm.rows[memory_id].kind is EntryKind.ENTRY:
                told = f"[erased:{memory_id}]"
                assert any(
                    stone.related_to == memory_id and stone.content.startswith(told) for stone in stones
                )
        for (memory_id, version), text in self.old.items():
            assert memory_id in self.ltm.erased or self.ltm.versions[memory_id, version] == text


WorkingMemory.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestWorkingMemory = WorkingMemory.TestCase
