"""What a Change asks the store to write."""

import pytest

from spiderwebd.core.change import Entry, row_of
from spiderwebd.core.ram import Budget, Ram
from spiderwebd.core.records import EntryKind, EntryRecord, EraseRecord, LeaveRamRecord, VersionRecord


def test_an_append_that_evicts_is_three_records() -> None:
    """The new entry, the tombstone, and the id that left, with the RAM mark each row ends with."""
    ram = Ram(Budget(max_entries=1))
    ram.append("user", "alpha", 1000)
    assert ram.append("assistant", "bravo", 1001, name="note").records(7) == [
        EntryRecord(7, 2, EntryKind.ENTRY, "assistant", "bravo", 1001, name="note"),
        EntryRecord(
            7, 3, EntryKind.TOMBSTONE, "system", "[evicted:1] [evicted context entry]", 1001, related_to=1
        ),
        LeaveRamRecord(7, (1,)),
    ]


def test_a_row_that_is_made_and_leaves_at_once_is_written_once() -> None:
    """An oversize entry is put as not in RAM and not named as leaving besides."""
    change = Ram(Budget(max_bytes=4)).append("user", "alpha", 1000)
    first, second = change.records(7)
    assert first == EntryRecord(7, 1, EntryKind.ENTRY, "user", "alpha", 1000, in_ram=False)
    assert isinstance(second, EntryRecord)
    assert second.kind is EntryKind.TOMBSTONE


def test_an_update_keeps_the_old_version() -> None:
    """The replaced text becomes a version row with its number, the operation and who did it."""
    ram = Ram()
    ram.append("user", "alpha", 1000)
    assert ram.update(1, "bravo", 1001).records(7, actor="client") == [
        EntryRecord(7, 1, EntryKind.ENTRY, "user", "bravo", 1000, version=2),
        VersionRecord(7, 1, 1, "alpha", "update", "client", 1001),
    ]


def test_an_erasure_names_every_id_and_the_reason() -> None:
    """The store is told which texts must go, after the tombstone that stays."""
    ram = Ram()
    ram.append("user", "alpha", 1000)
    stone, leave, erase = ram.erase(1, 1001, "asked").records(7)
    assert isinstance(stone, EntryRecord)
    assert (stone.memory_id, stone.related_to, stone.in_ram) == (2, 1, True)
    assert leave == LeaveRamRecord(7, (1,))
    assert erase == EraseRecord(7, (1,), "asked", 1001)


def test_nothing_done_is_nothing_to_write() -> None:
    """An operation without effect is false and gives no records."""
    change = Ram().evict(1000)
    assert not change
    assert change.records(7) == []


def test_rows_come_back_as_they_were_written() -> None:
    """row_of undoes record for entries, tombstones and summaries."""
    ram = Ram()
    ram.append("user", "alpha", 1000)
    rows = (*ram.summarize("alpha", 1001).rows, Entry(9, "tool", "x", 5, 3, "n"))
    assert [row_of(row.record(7, True)) for row in rows] == list(rows)


def test_a_tombstone_without_a_memory_is_an_error() -> None:
    """A damaged row is reported with its id instead of being taken for something else."""
    with pytest.raises(ValueError, match="tombstone 4"):
        row_of(EntryRecord(7, 4, EntryKind.TOMBSTONE, "system", "x", 1000))
