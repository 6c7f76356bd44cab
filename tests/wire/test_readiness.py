"""One task reads for all links: who is called, how often, and what is left when nobody is read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import trio
import trio.testing

from spiderwebd.wire.readiness import link_readiness


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection; the first never waits."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        yield near, far


def living() -> int:
    """Tasks of this run, trio's own included."""
    return trio.lowlevel.current_statistics().tasks_living


async def test_what_is_left_unread_is_announced_again() -> None:
    """A callback that reads a part is called for the rest, and not again once all is read."""
    parts: list[bytes] = []
    done = trio.Event()

    def readable() -> None:
        parts.append(near.recv(3))
        if parts[-1].endswith(b"."):
            done.set()

    with pair() as (near, far), link_readiness().watching(near.fileno(), readable):
        far.send(b"one two.")
        await done.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert parts == [b"one", b" tw", b"o."]
        done = trio.Event()
        far.send(b"3.")
        await done.wait()
        assert parts[-1] == b"3."


async def test_one_task_reads_for_all_and_ends_with_the_last() -> None:
    """A thousand links cost no task more than one, and no link costs none."""
    await trio.lowlevel.checkpoint()
    before = living()
    readiness = link_readiness()
    with pair() as (one, _), pair() as (two, far):
        with readiness.watching(one.fileno(), lambda: None):
            with readiness.watching(two.fileno(), lambda: None):
                await trio.testing.wait_all_tasks_blocked()
                assert living() - before == 1
            await trio.testing.wait_all_tasks_blocked()
            assert living() - before == 1
        await trio.testing.wait_all_tasks_blocked()
        assert living() - before == 0
        seen = trio.Event()
        with readiness.watching(two.fileno(), seen.set):
            far.send(b"x")
            await seen.wait()


async def test_a_socket_that_is_not_watched_any_more_is_not_called() -> None:
    """Not even when it had something to read at the same moment as another, which is called first."""
    readiness = link_readiness()
    called: list[str] = []
    with pair() as (one, far_one), pair() as (two, far_two):
        first = readiness.watching(one.fileno(), lambda: note("one"))
        second = readiness.watching(two.fileno(), lambda: note("two"))
        open_ones = {"one": first, "two": second}

        def note(name: str) -> None:
            called.append(name)
            for watching in open_ones.values():
                watching.__exit__(None, None, None)
            open_ones.clear()

        first.__enter__()
        second.__enter__()
        far_one.send(b"x")
        far_two.send(b"x")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(called) == 1


async def test_others_run_between_two_passes() -> None:
    """However many sockets have something to read, and never stop, other tasks have their turns."""
    calls = 0

    def readable() -> None:
        nonlocal calls
        calls += 1

    with ExitStack() as stack:
        for _ in range(3):
            near, far = stack.enter_context(pair())
            far.send(b"never read")
            stack.enter_context(link_readiness().watching(near.fileno(), readable))
        most = before = 0
        for _ in range(50):
            await trio.lowlevel.checkpoint()
            most, before = max(most, calls - before), calls
    # Two passes, when one comes late in one turn of the loop and the next early in the following.
    assert 0 < most <= 6
