"""Ranked search: scope, the unindexed tail, and what updates and erasures do to it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from spiderwebd.core.records import EntryKind, EntryRecord, EraseRecord, LeaveRamRecord, VersionRecord
from spiderwebd.store import committer
from spiderwebd.store.runner import InlineRunner
from spiderwebd.store.search import Scope
from spiderwebd.store.store import Store, open_store
from tests.store.samples import NOW_MS, database, entry, ignore, session

INDEXED = 1
LATE = 10_000
"""Entries that InlineRunner lets wait: everything is indexed at once, or nothing ever is."""

both = pytest.mark.parametrize("every", [INDEXED, LATE], ids=["indexed", "tail"])


@pytest.fixture(params=[256, -1], ids=["rare", "frequent"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of asking the index: by rare words alone, and by the scope's word together with them."""
    monkeypatch.setattr("spiderwebd.store.search.RARE_PLACES", request.param)


async def put(store: Store, *records: Any) -> None:
    """Have records committed."""
    await store.writer.submit(records, ignore)
    await store.writer.settled()


async def found(store: Store, text: str, scope: Scope | None = None, limit: int = 10) -> list[int]:
    """Memory ids of a search, best first."""
    return [hit.memory_id for hit in await store.reader.search(text, scope or Scope.session(1), limit)]


@pytest.mark.usefixtures("way")
@both
async def test_words_are_found_by_the_next_request(tmp_path: Path, every: int) -> None:
    """Stems, case and accents match, rarer words count more, stop words nothing; index or not."""
    async with open_store(database(tmp_path), InlineRunner(every)) as store:
        await put(store, session(), entry(1, "The cats were running through the café"))
        await put(store, entry(2, "A dog and a dog and another dog"), entry(3, "of interest"))
        await put(store, *[entry(number, f"chat {number}") for number in range(4, 7)])
        assert await found(store, "Does the CAT run in a cafe?") == [1, 2, 3]
        assert (await found(store, "dogs"))[0] == 2
        assert await found(store, "elephant") == []
        assert await found(store, "?!") == []
        hit = (await store.reader.search("cats", Scope.session(1), 5))[0]
        assert (hit.session_key, hit.role, hit.kind, hit.version, hit.source) == (
            "key-1",
            "user",
            "entry",
            1,
            "ram",
        )
        assert hit.content == "The cats were running through the café"
        assert hit.score > 0


@both
async def test_text_before_an_entry_helps_to_find_it(tmp_path: Path, every: int) -> None:
    """An answer is found by the words of the question before it, below the question itself."""
    async with open_store(database(tmp_path), InlineRunner(every)) as store:
        await put(store, session(), entry(1, "Where did Caroline move from?"))
        await put(store, entry(2, "Sweden, four years ago", role="assistant"))
        await put(store, *[entry(number, f"chat about item {number}") for number in range(3, 9)])
        assert await found(store, "Caroline") == [1, 2, 3]


@both
async def test_day_and_name_are_searched(tmp_path: Path, every: int) -> None:
    """The date of an entry and the name it was stored under are part of it."""
    async with open_store(database(tmp_path), InlineRunner(every)) as store:
        await put(store, session(), entry(1, "we met", created_ms=NOW_MS - 86_400_000 * 20))
        await put(store, entry(2, "blue", name="favourite colour"))
        assert (await found(store, "what happened in January"))[0] == 1
        assert (await found(store, "favourite colours"))[0] == 2


@pytest.mark.usefixtures("way")
@both
async def test_scope_is_never_left(tmp_path: Path, every: int) -> None:
    """Session, agent and principal scopes find their own and nobody else's, similar names included."""
    async with open_store(database(tmp_path), InlineRunner(every)) as store:
        owners = [
            ("ana", "default"),
            ("ana", "kim"),
            ("ana", "default"),
            ("an", "adefault"),
            ("anaa", "default"),
        ]
        for sid, (principal, agent) in enumerate(owners, 1):
            await put(store, session(sid, principal=principal, agent=agent), entry(sid, "zebra", sid))

        assert await found(store, "zebra", Scope.session(2)) == [2]
        assert sorted(await found(store, "zebra", Scope.of_agent("ana", "default"))) == [1, 3]
        assert sorted(await found(store, "zebra", Scope.of_principal("ana"))) == [1, 2, 3]
        assert await found(store, "zebra", Scope.of_principal("an")) == [4]
        assert await found(store, "zebra", Scope.of_principal("")) == []
        # The words of the scope column cannot be searched for.
        assert await found(store, "s1") == []
        assert await found(store, "zebra", Scope.of_principal("ana"), 2) != []
        assert len(await found(store, "zebra", Scope.of_principal("ana"), 2)) == 2


@pytest.mark.usefixtures("way")
async def test_tail_and_index_rank_as_one_list(tmp_path: Path) -> None:
    """What was indexed and what was not yet are weighed alike: the better text is first, wherever it is."""
    async with open_store(database(tmp_path), InlineRunner(40)) as store:
        await put(store, session(), *[entry(number, f"filler number {number}") for number in range(1, 40)])
        await put(store, entry(40, "zebra zebra zebra"))
        assert store.writer.statistics.unindexed == 0
        await put(store, *[entry(number, f"filler number {number}") for number in range(41, 46)])
        await put(store, entry(46, "a zebra, and much else that has nothing to do with any of it at all"))
        assert store.writer.statistics.unindexed == 6
        ranked = await found(store, "zebra")
        assert ranked[0] == 40
        assert sorted(ranked) == [40, 41, 42, 46]


@pytest.mark.usefixtures("way")
@both
async def test_updated_text_is_found_and_the_old_one_not(tmp_path: Path, every: int) -> None:
    """After an update the new words find the entry at once, the old words no longer."""
    async with open_store(database(tmp_path), InlineRunner(every)) as store:
        await put(store, session(), entry(1, "the old giraffe"))
        for version, text in ((2, "the first zebra"), (3, "the second heron")):
            old = VersionRecord(1, 1, version - 1, "whatever", "update", "ana", NOW_MS)
            await put(store, entry(1, text, version=version), old)
        await put(store, entry(1, "the second heron", version=3, name="a marabou"))
        assert await found(store, "giraffe") == []
        assert await found(store, "zebra") == []
        assert await found(store, "heron") == [1]
        assert await found(store, "marabou") == [1]


@pytest.mark.usefixtures("way")
async def test_update_between_two_steps_of_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the index still has the old text, that text finds nothing and the new one is found."""
    runner = InlineRunner(1)
    async with open_store(database(tmp_path), runner) as store:
        await put(store, session(), entry(1, "giraffe"), entry(2, "giraffe house"))
        await put(store, session(2), entry(1, "heron", 2, name="tapir"), entry(2, "nothing", 2))
        await put(store, entry(3, "nothing", 2), entry(4, "a heron and much else besides it", 2))
        monkeypatch.setattr(runner, "_index_every", LATE)
        await put(store, entry(1, "zebra", version=2))
        assert await found(store, "giraffe") == [2]
        assert await found(store, "zebra") == [1]
        await put(store, entry(1, "heron", 2, name="kudu"))
        other = Scope.session(2)
        assert await found(store, "tapir", other) == []
        assert (await found(store, "kudu", other))[0] == 1
        await put(store, entry(1, "ibex", 2, version=2, name="kudu"))
        assert sorted(await found(store, "heron", other)) == [2, 3, 4]  # 2 and 3 follow the old text
        assert len(await found(store, "heron", other, limit=1)) == 1


@both
async def test_erased_words_are_gone(tmp_path: Path, every: int) -> None:
    """No word of an erased entry finds anything, not even through the entries that followed it."""
    async with open_store(database(tmp_path), InlineRunner(every)) as store:
        await put(store, session(), entry(1, "my secret is giraffe"), entry(2, "I see"), entry(3, "more"))
        await put(store, entry(2, "I see well", version=2))
        assert await found(store, "giraffe") != []
        await put(store, EraseRecord(1, (1,), "asked for", NOW_MS))
        await put(store, entry(4, "something else"))
        assert await found(store, "giraffe") == []
        assert await found(store, "see") != []


async def test_summaries_and_tombstones_are_not_searched(tmp_path: Path) -> None:
    """Only entries are found: a summary's source is kept and found itself."""
    async with open_store(database(tmp_path), InlineRunner(1)) as store:
        summary = EntryRecord(
            1, 2, EntryKind.SUMMARY, "system", "giraffe", NOW_MS, related_to=1, sources=(1,)
        )
        await put(store, session(), entry(1, "a giraffe"), summary, LeaveRamRecord(1, (1,)))
        hits = await store.reader.search("giraffe", Scope.session(1), 5)
        assert [(hit.memory_id, hit.source) for hit in hits] == [(1, "ltm")]


@pytest.mark.usefixtures("way")
async def test_query_syntax_is_only_words(tmp_path: Path) -> None:
    """Quotes, operators, NUL and half characters in a question cannot break or widen the search."""
    async with open_store(database(tmp_path), InlineRunner(1)) as store:
        await put(store, session(), session(2, principal="bob"), entry(1, "plain"), entry(1, "hidden", 2))
        for text in (
            '"',
            'hidden" OR scope:s2 "',
            "scope : s2",
            "hidden NEAR(x)",
            "a\0b",
            "\ud800",
            "*",
            "-",
        ):
            assert await found(store, text) == []


async def test_threads_index_in_a_quiet_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real threads the index catches up by itself, and search stays the same."""
    caught_up = threading.Event()
    known = committer.Committer.index

    def index(self: committer.Committer, limit: int = committer.INDEX_STEP) -> Any:
        trouble = known(self, limit)
        if self.unindexed == 0:
            caught_up.set()
        return trouble

    monkeypatch.setattr(committer.Committer, "index", index)
    async with open_store(database(tmp_path)) as store:
        await put(store, session(), *[entry(number, f"zebra number {number}") for number in range(1, 200)])
        before = await found(store, "zebra 77", limit=1)
        assert await trio.to_thread.run_sync(caught_up.wait, 30)
        assert before == await found(store, "zebra 77", limit=1) == [77]
        assert store.writer.statistics.unindexed == 0


async def test_unindexable_entry_is_left_out(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that the indexer cannot take is reported and holds up neither commits nor the index."""
    faults: list[str] = []
    known = committer.indexing._put_in

    def picky(connection: Any, number: int, row: Any) -> tuple[int, int]:
        if number == 2:
            raise ValueError("cannot index this")
        return known(connection, number, row)

    monkeypatch.setattr(committer.indexing, "_put_in", picky)
    async with open_store(
        database(tmp_path), InlineRunner(1), on_fault=lambda error, about: faults.append(error.__notes__[0])
    ) as store:
        await put(store, session())
        for number in range(1, 8):
            await put(store, entry(number, f"zebra {number}"))
        await store.writer.settled()
        assert faults == ["entry 2 is left out of the search index"]
        assert store.writer.statistics.unindexed == 0
        assert 7 in await found(store, "zebra")
        assert (await store.reader.memory(1, 2)) == entry(2, "zebra 2")


COMMON = [f"project note {number}" + (" zebra" if number % 9 == 0 else "") for number in range(1, 41)]
"""Texts that all hold the same words, and some one that tells."""


@pytest.mark.parametrize("every", [INDEXED, 31, LATE], ids=["indexed", "some", "tail"])
async def test_common_words_are_left_to_the_end(
    tmp_path: Path, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words of more than half of all entries change no place of those that hold a rarer one; entries that
    hold nothing else follow, newest first, as many as are asked for and none twice."""
    async with open_store(database(tmp_path), InlineRunner(every)) as store:
        await put(store, session(), session(2, principal="bob"))
        for number, text in enumerate(COMMON, 1):
            await put(store, entry(number, text), entry(number, text, 2))
        whole = await found(store, "zebra", limit=30)
        monkeypatch.setattr("spiderwebd.core.ranking.FEW_PLACES", 10)
        for scope in (Scope.session(1), Scope.of_principal("ana")):
            pruned = await found(store, "which project notes have a zebra", scope, limit=30)
            if every != LATE:  # nothing is known of how common a word is before anything is indexed
                assert pruned[: len(whole)] == whole
                assert (
                    pruned[len(whole) :]
                    == sorted(set(range(1, 41)) - set(whole), reverse=True)[: 30 - len(whole)]
                )
                assert await found(store, "project notes", scope, 5) == [40, 39, 38, 37, 36]
            assert len(set(pruned)) == 30
            assert len(await found(store, "project", scope, limit=100)) == 40


async def test_every_common_word_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that holds only one of many common words is found when there is room for it."""
    monkeypatch.setattr("spiderwebd.core.ranking.FEW_PLACES", 0)
    monkeypatch.setattr("spiderwebd.store.search.COMMON_TERMS", 1)
    async with open_store(database(tmp_path), InlineRunner(1)) as store:
        await put(store, session(), entry(1, "heron"))
        await put(store, *[entry(number, "zebra heron") for number in range(4, 9)])
        assert await found(store, "zebra heron", limit=3) == [8, 7, 6]
        assert await found(store, "zebra heron") == [8, 7, 6, 5, 4, 1]


async def test_next_request_finds_it_under_load(tmp_path: Path) -> None:
    """With threads, many sessions at once and the index at work, what was acknowledged is found."""
    missed: list[int] = []
    async with open_store(database(tmp_path)) as store:
        await put(store, *[session(sid) for sid in range(1, 9)])

        async def live(sid: int) -> None:
            for number in range(1, 41):
                word = f"w{sid}x{number}"
                done = trio.Event()
                await store.writer.submit(
                    [entry(number, f"the project says {word}", sid)], lambda durable, done=done: done.set()
                )
                await done.wait()
                hits = await store.reader.search(f"project {word}", Scope.of_principal("ana"), 3)
                if (sid, number) not in [(hit.sid, hit.memory_id) for hit in hits]:
                    missed.append(number)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for sid in range(1, 9):
                    nursery.start_soon(live, sid)
    assert missed == []
