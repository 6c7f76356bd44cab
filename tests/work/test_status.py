"""The status worker tells what is, and nothing else."""

from dataclasses import replace

from spiderwebd.core.records import TaskState
from spiderwebd.work.status import Snapshot, StatusWorker, describe
from tests.work.workbench import no_pause, planned

NOW = Snapshot(
    goal="tidy up", mode="running", tasks=6, complete=2, blocked=1, failed=0, running=1, goals_waiting=1,
    ram_entries=12, ram_entries_limit=64, ram_bytes=900, ram_bytes_limit=16384, memories=40,
    store_accepting=True, store_waiting=0,
)  # fmt: skip


def test_describe() -> None:
    """Goal, queue, memory and store are reported with their numbers; what is zero is left out."""
    assert describe(NOW) == (
        'goal "tidy up": 2 of 6 tasks complete, 1 blocked, 1 running, 2 queued; '
        "queue: workers running, 1 more goal waiting; "
        "memory: 12/64 entries and 900/16384 bytes in RAM, 40 ids given out; "
        "store: accepting, 0 writes waiting"
    )


def test_trouble_is_told() -> None:
    """A store that refuses input is reported as such."""
    text = describe(replace(NOW, store_accepting=False, store_waiting=7, goals_waiting=0))
    assert text.endswith("store: not accepting: the disk cannot be written, 7 writes waiting")
    assert "0 more goals waiting" in text


async def test_worker_reads_the_moment_it_runs() -> None:
    """The snapshot is taken when the task runs, not when the worker was made."""
    snapshots = [NOW, replace(NOW, complete=3, running=0)]
    worker = StatusWorker(lambda: snapshots.pop())
    outcome = await worker(planned("report status"), no_pause)
    assert outcome.state is TaskState.COMPLETE
    assert outcome.detail.startswith('status: goal "tidy up": 3 of 6 tasks complete')
