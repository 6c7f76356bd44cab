"""Each kind of task reaches its worker."""

import pytest
import trio

from spiderwebd.core.outcome import Outcome, complete
from spiderwebd.work.task import PassGate, PlannedTask, Worker
from spiderwebd.work.workers import Workers
from tests.work.workbench import no_pause, planned


def _named(name: str) -> Worker:
    async def worker(task: PlannedTask, pass_gate: PassGate) -> Outcome:
        await trio.lowlevel.checkpoint()
        return complete(name)

    return worker


@pytest.mark.parametrize(
    ("title", "kind"),
    [("find tea", "research"), ("list files", "execution"), ("fly", "execution"), ("status", "status")],
)
async def test_task_goes_to_its_worker(title: str, kind: str) -> None:
    """The kind chosen from the title decides, also when no verb was found."""
    workers = Workers(_named("research"), _named("execution"), _named("status"))
    assert (await workers(planned(title), no_pause)).detail == kind
