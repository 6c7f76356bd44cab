"""The execution worker does what the verb says, on a real directory, and nothing without one."""

from pathlib import Path

import pytest

from spiderwebd.core.change import Entry
from spiderwebd.core.codes import Code
from spiderwebd.core.kinds import table
from spiderwebd.core.outcome import NewMemory, Outcome
from spiderwebd.core.records import TaskState
from spiderwebd.core.verbs import Kind
from spiderwebd.work.blocking import run_inline
from spiderwebd.work.execution import ExecutionWorker
from spiderwebd.work.files import SessionFiles
from tests.work.workbench import no_pause, planned

MEMORY = Entry(5, "user", "the door code is 4711", 1)


@pytest.fixture
def files(tmp_path: Path) -> SessionFiles:
    """An empty session directory."""
    return SessionFiles(tmp_path / "files")


async def _memory(memory_id: int) -> Entry | None:
    await no_pause()
    return MEMORY if memory_id == 5 else None


async def _execute(files: SessionFiles, title: str) -> Outcome:
    return await ExecutionWorker(files, _memory, run_inline)(planned(title), no_pause)


async def test_files_from_beginning_to_end(files: SessionFiles) -> None:
    """Each file verb has its real effect and tells it."""
    for title, detail in [
        ("write file a.txt: one two", "wrote 7 bytes to a.txt"),
        ("append three to a.txt", "appended to a.txt, which now has 13 bytes"),
        ("count words in a.txt", "a.txt has 3 words"),
        ("count lines in a.txt", "a.txt has 2 lines"),
        ("make directory old", "made directory old"),
        ("make directory old", "old is there already"),
        ("copy a.txt to old/b.txt", "copied a.txt to old/b.txt, 13 bytes"),
        ("read old/b.txt", "old/b.txt, 13 bytes: one two\nthree"),
        ("rename a.txt to c.txt", "moved a.txt to c.txt"),
        ("create file new.txt", "created new.txt"),
        ("create file new.txt", "new.txt is there already"),
        ("list files", "3 names: c.txt, new.txt, old/"),
        ("delete c.txt", "deleted c.txt"),
        ("list files in old", "1 name: b.txt"),
    ]:
        outcome = await _execute(files, title)
        assert (outcome.state, outcome.detail) == (TaskState.COMPLETE, f"execution: {detail}")
    assert (files.root / "old" / "b.txt").read_text() == "one two\nthree"
    assert not (files.root / "a.txt").exists()


async def test_remember_is_proposed(files: SessionFiles) -> None:
    """A memory is handed to the session, with a place in the detail for the id it will get."""
    outcome = await _execute(files, "remember that tea is hot")
    assert outcome.remember == (NewMemory("user", "tea is hot"),)
    assert outcome.detail == 'execution: remembered #?: "tea is hot"'


@pytest.mark.parametrize(
    ("title", "field", "proposal"),
    [
        ("forget memory 5", "evict", 5),
        ("load memory 5", "load", MEMORY),
        ("summarize memory 5", "summarize", MEMORY),
    ],
)
async def test_memory_verbs_are_proposed(
    files: SessionFiles, title: str, field: str, proposal: object
) -> None:
    """Forget, load and summarize name the memory to the session and quote it."""
    outcome = await _execute(files, title)
    assert outcome.state is TaskState.COMPLETE
    proposed = {name: getattr(outcome, name) for name in ("evict", "load", "summarize")}
    assert proposed == {"evict": (), "load": (), "summarize": ()} | {field: (proposal,)}
    assert "4711" in outcome.detail


@pytest.mark.parametrize("title", ["forget memory 6", "load memory 6", "summarize memory 6"])
async def test_unknown_memory_fails(files: SessionFiles, title: str) -> None:
    """An id the session never gave out is a failure with its own code, and proposes nothing."""
    outcome = await _execute(files, title)
    assert (outcome.state, outcome.code) == (TaskState.FAILED, Code.MEMORY_UNKNOWN)
    assert outcome.detail == "execution: this session has no memory #6"
    assert (outcome.evict, outcome.load, outcome.summarize) == ((), (), ())


@pytest.mark.parametrize(
    ("title", "detail"),
    [
        ("read none.txt", "execution: read: none.txt: no such file or directory"),
        ("write file /etc/passwd: x", "execution: write: Absolute paths are not allowed"),
        ("delete ../x", "execution: delete: Path resolves outside workspace"),
    ],
)
async def test_refused_file_operations_fail(files: SessionFiles, title: str, detail: str) -> None:
    """What the files refuse is a failed task with the reason, never a fault."""
    outcome = await _execute(files, title)
    assert (outcome.state, outcome.code, outcome.detail) == (TaskState.FAILED, Code.TASK_FAILED, detail)


async def test_no_verb_is_blocked(files: SessionFiles) -> None:
    """A task nothing can carry out ends blocked with no_worker, names what can be done, and does nothing."""
    outcome = await _execute(files, "launch the rocket")
    assert (outcome.state, outcome.code) == (TaskState.BLOCKED, Code.NO_WORKER)
    assert '"launch the rocket"' in outcome.detail
    for row in table():
        if row.kind is Kind.EXECUTION:
            assert row.rule in outcome.detail
    assert not files.root.exists()


async def test_a_long_file_is_shown_in_part(files: SessionFiles) -> None:
    """Reading tells the true size and shows the beginning."""
    files.write("long.txt", "x" * 5000)
    outcome = await _execute(files, "read long.txt")
    assert outcome.detail.startswith("execution: long.txt, 5000 bytes: xxx")
    assert outcome.detail.endswith("…")
    assert len(outcome.detail) < 1000


@pytest.mark.parametrize("title", [row.example for row in table() if row.kind is Kind.EXECUTION])
async def test_every_execution_rule_is_carried_out(files: SessionFiles, title: str) -> None:
    """No verb of the table is without an implementation: each ends complete, or failed for a reason."""
    outcome = await _execute(files, title)
    assert outcome.state in (TaskState.COMPLETE, TaskState.FAILED)
