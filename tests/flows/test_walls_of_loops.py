"""Walls of what runs for all: a bug planted in a loop costs one round of it, never the daemon.

What a loop does for many is walled for each: the one link or session it stumbles over ends, the rest is
served. Each costs one line in the log and one count in the metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from spiderwebd import daemon, pulse
from spiderwebd.core.codes import StorageUnavailable
from spiderwebd.core.overload import Overload
from spiderwebd.reporting import Reporter
from spiderwebd.session import sweeps
from spiderwebd.session.session import Session
from spiderwebd.store import indexing, retention, store
from spiderwebd.tokens import TokenFile
from spiderwebd.wire.keepalive import KeepaliveSweep
from spiderwebd.wire.link import Link as WireLink
from tests.flows.planted import SECONDS, Served, plant, served

SOON = 0.05


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loop comes round often, and comes back soon after a fault."""
    monkeypatch.setattr(store, "RETENTION_FIRST_SECONDS", SOON)
    monkeypatch.setattr(store, "RETENTION_SECONDS", SOON)
    monkeypatch.setattr(daemon, "REVOCATION_SECONDS", SOON)
    monkeypatch.setattr(daemon, "LOOP_PAUSE_SECONDS", SOON)
    monkeypatch.setattr(pulse, "LAG_PROBE_SECONDS", SOON)
    monkeypatch.setattr(pulse, "BEAT_SECONDS", SOON)


class Rounds:
    """Counts the calls of a function; the first raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, target: Any, name: str, error: Exception) -> None:
        self.count = 0
        self._changed = trio.Event()
        real: Callable[..., Any] = getattr(target, name)

        def counted(*arguments: Any, **more: Any) -> Any:
            self.count += 1
            token.run_sync_soon(self._tell)  # the store's thread may be here
            if self.count == 1:
                raise error
            return real(*arguments, **more)

        token = trio.lowlevel.current_trio_token()
        monkeypatch.setattr(target, name, counted)

    def _tell(self) -> None:
        self._changed.set()

    async def reach(self, count: int) -> None:
        """Wait until so many calls were made."""
        with trio.fail_after(SECONDS):
            while self.count < count:
                self._changed = trio.Event()
                await self._changed.wait()


async def still_whole(house: Served, *faults: tuple[str, str]) -> None:
    """Check that a new client is served, and that nothing but these faults was told and counted."""
    async with house.link() as link:
        await link.works()
    assert house.faults == list(faults)
    assert house.daemon.metrics.faults == {where: 1 for _, where in faults}


@pytest.mark.parametrize(
    ("target", "name", "where"),
    [
        (retention, "prune_slice", "retention"),
        (KeepaliveSweep, "sweep", "keepalive"),
        (TokenFile, "list", "revocation"),
        (Overload, "observe", "lag probe"),
        (Reporter, "status", "watchdog"),
    ],
)
async def test_a_bug_in_a_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any, name: str, where: str
) -> None:
    """A round that fails is one line; the loop comes back, and the daemon serves all the while."""
    rounds = Rounds(monkeypatch, target, name, ZeroDivisionError("planted"))
    settings = {"keepalive.interval_seconds": "0.2", "keepalive.timeout_seconds": "60"}
    async with served(tmp_path, monkeypatch, settings) as house, house.link() as link:
        await rounds.reach(3)
        await link.works()
        await still_whole(house, ("loop_fault", where))


async def test_a_disk_that_fails_under_retention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no bug: the round is put off, and nothing is counted as a fault."""
    error = StorageUnavailable("the store cannot be written: planted")
    rounds = Rounds(monkeypatch, retention, "prune_slice", error)
    async with served(tmp_path, monkeypatch) as house:
        await rounds.reach(3)
        await still_whole(house)


async def test_a_bug_in_one_link_of_the_keepalive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That link ends with 1011; the one behind it in the sweep is pinged."""
    settings = {"keepalive.interval_seconds": "0.2", "keepalive.timeout_seconds": "60"}
    pinged = trio.Event()
    bad: list[str] = []
    real = WireLink.ping

    def ping(link: WireLink) -> None:
        if link.peer.address in bad:
            raise ZeroDivisionError("planted")
        real(link)
        if bad:
            pinged.set()

    monkeypatch.setattr(WireLink, "ping", ping)
    async with (
        served(tmp_path, monkeypatch, settings) as house,
        house.link() as first,
        house.link() as second,
    ):
        bad.append(first.address)
        for link in (first, second):
            await link.say("ping")  # whoever was pinged before is pinged again once it was heard
        with trio.fail_after(SECONDS):
            assert await first.close_code() == 1011
            await pinged.wait()
        await second.works()
        await still_whole(house, ("link_fault", "link"))


@pytest.mark.parametrize(
    ("target", "name"), [(sweeps, "due"), (Session, "drain"), (Session, "note_storage"), (Session, "close")]
)
async def test_a_bug_in_one_session_of_what_is_done_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any, name: str
) -> None:
    """The memory manager, a stop, a change of the disk, hibernation: the one ends, the others are served."""
    async with served(tmp_path, monkeypatch, {"memory_manager.interval_seconds": "0.05"}) as house:
        async with house.link() as bad, house.link() as good:
            ram = next(session.state.ram for session in house.sessions if session.key == bad.key)
            plant(
                monkeypatch,
                target,
                name,
                lambda subject, *_: subject is ram or getattr(subject, "key", "") == bad.key,
            )
            if name == "close":
                await bad.hang_up()
            elif name == "note_storage":
                house.daemon._on_storage(True, "planted")
            elif name == "drain":
                house.daemon._stop.set()
            with trio.fail_after(SECONDS):
                await house.until_fault()
                if name != "close":
                    assert await bad.close_code() == 1011
                if name == "drain":
                    assert await good.close_code() == 1001
                else:
                    await good.works()
        assert house.faults == [("session_fault", "session")]
        assert house.daemon.metrics.faults == {"session": 1}


async def test_an_entry_that_cannot_be_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left out of the search, in one line; those before and behind it are found."""
    plant(monkeypatch, indexing, "document_of", lambda *arguments: "boom" in arguments[5])
    async with served(tmp_path, monkeypatch) as house, house.link() as link:
        for word in ("apple", "boom", "cherry"):
            await link.say("memory.create", id=word, content=f"{word} of the garden")
            await link.until("session.accepted", request=word)
        await house.until_fault()
        for word in ("apple", "cherry"):
            await link.say("memory.query", id=f"q-{word}", search=word)
            assert (await link.until("memory.query", request=f"q-{word}"))["items"]
        await still_whole(house, ("loop_fault", "store"))


async def test_an_index_that_always_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the index itself is told now and then, not in a storm, and stores nothing less."""
    plant(monkeypatch, indexing, "step", lambda *arguments: True)
    async with served(tmp_path, monkeypatch) as house, house.link() as link:
        await link.say("memory.create", id="a", content="tea")
        await link.until("session.accepted")
        await house.until_fault()
        await link.works()
        assert len(house.faults) < 20
