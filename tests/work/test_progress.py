"""A task's progress: the latest word, also from a thread, and how many there were."""

from __future__ import annotations

from pathlib import Path

import trio

from spiderwebd.core.kinds import choose
from spiderwebd.work.blocking import InThreads
from spiderwebd.work.documents import DocumentFolders
from spiderwebd.work.progress import Progress
from spiderwebd.work.research import ResearchWorker
from spiderwebd.work.task import PlannedTask


def test_the_latest_word_stands_for_all_before_it() -> None:
    """Nothing is queued: a thousand words take the place of one."""
    progress = Progress()
    assert (progress.word, progress.said) == ("", 0)
    for number in range(1000):
        progress.say(f"{number} done")
    assert (progress.word, progress.said) == ("999 done", 1000)


async def test_a_search_of_documents_says_how_many_files_it_has_seen(tmp_path: Path) -> None:
    """The research worker's search says so for each file, from its thread."""
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("the tea is green\n")

    async def pass_gate() -> None:
        await trio.lowlevel.checkpoint()

    async def no_memories(text: str, limit: int) -> list[object]:
        await trio.lowlevel.checkpoint()
        return []

    title = "find tea in files"
    task = PlannedTask(1, title, choose(title))
    worker = ResearchWorker(no_memories, DocumentFolders([tmp_path]), InThreads(trio.CapacityLimiter(1)))
    outcome = await worker(task, pass_gate)
    assert "3 files" in outcome.detail
    assert (task.progress.word, task.progress.said) == ("research: 3 files searched", 3)
