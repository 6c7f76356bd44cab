"""The research worker cites what it found and admits what it did not."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from spiderwebd.core.outcome import Outcome
from spiderwebd.core.records import TaskState
from spiderwebd.work.blocking import run_inline
from spiderwebd.work.documents import DocumentFolders
from spiderwebd.work.research import ResearchWorker
from tests.work.workbench import StoredHit, no_pause, planned


@pytest.fixture
def documents(tmp_path: Path) -> DocumentFolders:
    """One folder with one document."""
    (tmp_path / "guide.md").write_text("intro\nThe backup runs at two.\n")
    return DocumentFolders([tmp_path])


async def _research(
    title: str, hits: Sequence[StoredHit], documents: DocumentFolders
) -> tuple[Outcome, list[str]]:
    asked: list[str] = []

    async def search(text: str, limit: int) -> Sequence[StoredHit]:
        await no_pause()
        asked.append(text)
        return hits[:limit]

    return await ResearchWorker(search, documents, run_inline)(planned(title), no_pause), asked


async def test_cites_memories_and_files(documents: DocumentFolders) -> None:
    """Ids and file lines are named, and the best memory is quoted."""
    outcome, asked = await _research(
        "find out about the backup",
        [StoredHit(3, "backup\nweekly"), StoredHit(17, "x", own=False)],
        documents,
    )
    assert outcome.state is TaskState.COMPLETE
    assert outcome.detail == (
        'research: 2 memories [#3, #17 of another session], 1 file [guide.md:2]: "backup weekly"'
    )
    assert asked == ["the backup"]


async def test_nothing_found_is_a_result(documents: DocumentFolders) -> None:
    """Nothing found is complete, and says what was looked for."""
    outcome, _ = await _research("what is a zebra?", [], documents)
    assert outcome.state is TaskState.COMPLETE
    assert outcome.detail == 'research: nothing found for "what is a zebra"'


async def test_files_only(documents: DocumentFolders) -> None:
    """Asked about files, it leaves memories alone and quotes the line."""
    outcome, asked = await _research("find backup in files", [StoredHit(1, "backup")], documents)
    assert outcome.detail == 'research: 1 file [guide.md:2]: "The backup runs at two."'
    assert not asked


async def test_memories_only(documents: DocumentFolders) -> None:
    """Asked about memories, it leaves files alone."""
    outcome, _ = await _research("search memory for backup", [StoredHit(1, "backup")], documents)
    assert outcome.detail == 'research: 1 memory [#1]: "backup"'


async def test_a_search_cut_short_says_so(documents: DocumentFolders) -> None:
    """When a limit ended the walk, the answer does not pass for the whole truth."""
    bounded = DocumentFolders(documents.folders, files=0)
    outcome, _ = await _research("find backup in files", [], bounded)
    assert outcome.detail == (
        'research: nothing found for "backup" (not every file was searched: a limit was reached)'
    )
