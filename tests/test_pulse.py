"""The watchdog hears of a living loop and a living store, and of nothing else."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from spiderwebd.clock import SystemClock
from spiderwebd.core.overload import Limits, Overload
from spiderwebd.metrics import Metrics
from spiderwebd.pulse import ANSWER_SECONDS, LAG_PROBE_SECONDS, STALL_SECONDS, Pulse
from spiderwebd.store.writer import Statistics

NO_LIMITS = Limits(0, 0, 0)


class StallingStore:
    """A store that answers while its disk does; a stalled disk cannot be had on demand."""

    def __init__(self) -> None:
        self.stalled = False
        self.statistics = Statistics(0, 0.0, 0, 0, 0, 0.0, 0, 0, 0, 0)

    async def ping(self) -> float:
        """Answer at once, or not at all while stalled."""
        await trio.lowlevel.checkpoint()
        if self.stalled:
            await trio.sleep_forever()
        return 0.0


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """A real notify socket, as systemd opens it."""
    path = tmp_path / "notify"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    manager.bind(str(path))
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    return manager


def messages(manager: socket.socket) -> list[str]:
    """Return what was sent so far."""
    found = []
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


async def test_a_stalled_store_is_said_waited_for_and_at_last_given_up(
    heard: socket.socket, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """The watchdog is fed while the store stalls, until it has been silent for STALL_SECONDS."""
    store, said, shed = StallingStore(), [], []
    pulse = Pulse(
        store,  # type: ignore[arg-type]
        Metrics(),
        status=lambda: "2 sessions awake",
        on_stall=said.append,
        overload=Overload(NO_LIMITS),
        on_overload=lambda *told: shed.append(told),
        clock=SystemClock(),
        on_step=lambda seconds: None,
        waiting=lambda: False,
        watchdog_seconds=30.0,
    )
    nursery.start_soon(pulse.beat)
    await trio.sleep(1)
    assert messages(heard) == ["WATCHDOG=1\nSTATUS=2 sessions awake"]

    store.stalled = True
    await trio.sleep(10 + ANSWER_SECONDS + 1)
    assert said == [True]
    assert pulse.stalled
    assert messages(heard) != []

    await trio.sleep(STALL_SECONDS)
    messages(heard)
    await trio.sleep(60)
    assert messages(heard) == []
    assert not pulse.alive()

    store.stalled = False
    await trio.sleep(30)
    assert said == [True, False]
    assert pulse.alive()
    assert messages(heard) != []
    heard.close()
    nursery.cancel_scope.cancel(reason="test ends")


async def test_the_lag_of_the_loop_is_measured(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """A loop that was held up by 2 s shows it in the histogram."""
    metrics = Metrics()
    shed: list[tuple[str, float, int]] = []
    pulse = Pulse(
        StallingStore(),  # type: ignore[arg-type]
        metrics,
        status=str,
        on_stall=lambda stalled: None,
        overload=Overload(Limits(0.5, 0, 0)),
        on_overload=lambda *told: shed.append(told),
        clock=SystemClock(),
        on_step=lambda seconds: None,
        waiting=lambda: False,
    )
    autojump_clock.autojump_threshold = float("inf")
    nursery.start_soon(pulse.probe_lag)
    await trio.testing.wait_all_tasks_blocked()
    autojump_clock.jump(2.25)
    await trio.testing.wait_all_tasks_blocked()
    assert pulse.lag == pytest.approx(2.0)
    assert metrics.loop_lag_seconds.total == pytest.approx(2.0)
    assert shed == []
    for _ in range(2):
        autojump_clock.jump(2.25)
        await trio.testing.wait_all_tasks_blocked()
    assert shed == [("the loop is 2.00 s late", 0.0, 0)]
    metrics.links_refused["queue_full"] += 3
    for _ in range(6):
        autojump_clock.jump(0.25)
        await trio.testing.wait_all_tasks_blocked()
    assert [reason for reason, _, _ in shed] == ["the loop is 2.00 s late", ""]
    assert shed[1][1:] == (3.5, 3)
    assert pulse.overload.worst.lag_seconds == pytest.approx(2.0)
    nursery.cancel_scope.cancel(reason="test ends")


async def test_a_write_that_does_not_come_back_is_seen_between_two_beats(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """The oldest write says it, three looks in a row: one look may come from a process that was stopped."""
    store, said, metrics = StallingStore(), [], Metrics()
    pulse = Pulse(
        store,  # type: ignore[arg-type]
        metrics,
        status=str,
        on_stall=said.append,
        overload=Overload(NO_LIMITS),
        on_overload=lambda *told: None,
        clock=SystemClock(),
        on_step=lambda seconds: None,
        waiting=lambda: False,
    )
    nursery.start_soon(pulse.probe_lag)
    sound = store.statistics
    await trio.sleep(LAG_PROBE_SECONDS / 2)  # always between two looks, never at the moment of one
    for looks, stalled in ((1, False), (3, True)):
        store.statistics = replace(sound, oldest_seconds=ANSWER_SECONDS + 0.1)
        await trio.sleep(LAG_PROBE_SECONDS * looks)
        store.statistics = sound
        await trio.sleep(LAG_PROBE_SECONDS * 2)
        assert said == [True, False][: 2 * stalled]
    assert metrics.store_lag_seconds.total == pytest.approx(4 * (ANSWER_SECONDS + 0.1))
    nursery.cancel_scope.cancel(reason="test ends")


async def test_a_clock_that_is_set_is_said_once_and_followed_when_nothing_waits(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Each step has its line; what is less than a second is none; while one waits, deadlines keep."""
    system, waiting = 0, True
    clock = SystemClock(lambda: system, lambda: 0)
    steps: list[float] = []
    pulse = Pulse(
        StallingStore(),  # type: ignore[arg-type]
        Metrics(),
        status=str,
        on_stall=lambda stalled: None,
        overload=Overload(NO_LIMITS),
        on_overload=lambda *told: None,
        clock=clock,
        on_step=steps.append,
        waiting=lambda: waiting,
    )
    nursery.start_soon(pulse.probe_lag)
    for seconds in (0.4, 3_600, -60, -59.5):
        system = int(seconds * 1e9)
        await trio.sleep(1)
    assert steps == [3_600, -3_660]
    assert clock.wall_ms() == 0
    waiting = False
    await trio.sleep(1)
    assert clock.wall_ms() == -59_500
    await trio.sleep(1)
    assert steps == [3_600, -3_660]
    nursery.cancel_scope.cancel(reason="test ends")
