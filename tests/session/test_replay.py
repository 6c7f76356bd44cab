"""Replay: nothing twice, nothing missing, whatever is committed, pruned or asked for meanwhile."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiderwebd.clock import SystemClock
from spiderwebd.core.codes import Close
from spiderwebd.session.replay import BURST_FRAMES
from spiderwebd.store.runner import ThreadRunner
from tests.session.household import Frame, Household, LateRunner, Listener, key_of, open_household


async def talk(listener: Listener, texts: int, name: str) -> None:
    """Send messages and wait for the answer to each: two journalled frames or more a message."""
    for number in range(texts):
        await listener.answer("chat.send", f"{name}-{number}", content=f"{name} says number {number}")


async def caught_up(household: Household, listener: Listener) -> None:
    """Wait until the listener has been given the last seq of its session."""
    session = listener.session
    assert session is not None
    await household.store.writer.settled()
    if session.committed > (listener.seqs or [0])[-1]:
        await listener.until_seq(session.committed)


def sent(listener: Listener) -> list[Frame]:
    """What came behind session.ack and the reconnect note, without replies."""
    return [frame for frame in listener.frames[2:] if "seq" in frame]


async def test_what_was_missed_comes_once_and_in_order(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A link that names the last seq it saw gets exactly what came after it, the same frames as live ones."""
    async with open_household(tmp_path) as household:
        first = await household.attach()
        await talk(first, 5, "first")
        second = await household.attach(key_of(first), 4)
        await caught_up(household, second)
        await talk(first, 2, "later")
        assert sent(second) == first.frames[1:][4:]
        assert second.seqs == list(range(5, first.seqs[-1] + 1))


async def test_without_after_nothing_is_replayed(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A link that names no seq hears only what is new."""
    async with open_household(tmp_path) as household:
        first = await household.attach()
        await talk(first, 2, "first")
        second = await household.attach(key_of(first))
        seen = first.seqs[-1]
        assert second.of_type("session.ack")[0]["seq"] == seen
        await talk(first, 1, "later")
        assert second.seqs[0] == seen + 1


async def test_what_is_committed_during_a_replay_follows_it(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """While a slow link is told the past, others talk on; it gets their frames after the past."""
    async with open_household(tmp_path) as household:
        first = await household.attach()
        await talk(first, BURST_FRAMES, "first")
        slow = Listener()
        slow.undrained = trio.Event()
        await household.attach(key_of(first), 0, listener=slow)
        await slow.until_seq(BURST_FRAMES)
        await talk(first, 3, "meanwhile")
        assert slow.seqs == list(range(1, BURST_FRAMES + 1))
        slow.undrained.set()
        await caught_up(household, slow)
        await talk(first, 1, "live again")
        assert slow.seqs == first.seqs == list(range(1, first.seqs[-1] + 1))


async def test_a_commit_that_nobody_was_shown_yet_is_not_sent_twice(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay that reads an event between its commit and its showing leaves it to the showing."""
    runner = LateRunner()
    async with open_household(tmp_path, runner=runner) as household:
        first = await household.attach()
        await talk(first, 2, "first")
        session, reader = first.session, household.house.reader
        assert session is not None
        read, ahead = reader.events, []

        async def read_too_early(sid: int, after: int, limit: int) -> list[tuple[int, str]]:
            runner.held = True
            first.say("memory.create", content="a memory")
            await trio.testing.wait_all_tasks_blocked()
            rows = await read(sid, after, limit)
            ahead.append(rows[-1][0] - session.committed)
            trio.lowlevel.current_trio_token().run_sync_soon(runner.release)
            return rows

        monkeypatch.setattr(reader, "events", read_too_early)
        second = await household.attach(key_of(first), 1)
        await caught_up(household, second)
        await talk(first, 1, "later")
        assert ahead[0] > 0  # else the read was not early
        assert second.seqs == list(range(2, first.seqs[-1] + 1))


async def test_a_resume_behind_an_ack_sends_only_what_this_link_has_not(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """connect {resume} after live frames fills in what came before them; asked again, it sends nothing."""
    async with open_household(tmp_path) as household:
        first = await household.attach()
        await talk(first, 3, "before")
        joined = first.seqs[-1]
        second = await household.attach(key_of(first))
        await talk(first, 2, "live")
        now = first.seqs[-1]
        resume = {"sessionKey": key_of(first), "after": 2}
        second.say("connect", resume=resume)
        await second.until_seq(joined)
        assert sorted(second.seqs) == list(range(3, now + 1))
        await talk(first, 1, "after")
        count = len(second.seqs)
        second.say("connect", resume=resume)
        second.say("connect", resume={"sessionKey": key_of(first), "after": now})
        await second.ask("agent.control", action="state")
        await household.store.writer.settled()
        await trio.testing.wait_all_tasks_blocked()  # one replay of a link at a time
        assert len(second.seqs) == count == len(set(second.seqs))
        second.say("connect", resume={"sessionKey": key_of(first), "after": 0})
        await second.until_seq(2)
        assert sorted(second.seqs) == list(range(1, first.seqs[-1] + 1))


async def test_a_second_replay_at_once_is_refused(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """While a replay of a link is under way, another one of it is refused with queue_full."""
    async with open_household(tmp_path) as household:
        first = await household.attach()
        await talk(first, BURST_FRAMES, "first")
        slow = Listener()
        slow.undrained = trio.Event()
        await household.attach(key_of(first), 0, listener=slow)
        slow.say("connect", resume={"sessionKey": key_of(first), "after": 0})
        refusal = await slow.until(lambda frame: frame["type"] == "error")
        assert refusal["code"] == "queue_full"
        slow.undrained.set()
        await caught_up(household, slow)
        assert slow.seqs == first.seqs


async def test_the_resume_of_another_session_is_refused(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """connect {resume} with another key than the link's is an error, whether or not that key exists."""
    async with open_household(tmp_path) as household:
        first, other = await household.attach(), await household.attach()
        for key in (key_of(other), "x" * 32):
            refusal = await first.ask("connect", resume={"sessionKey": key, "after": 0})
            assert refusal["code"] == "session_unknown"


async def test_a_seq_from_the_future_is_a_gap(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """A client that saw more than there is gets session.gap and the state, then everything new."""
    async with open_household(tmp_path) as household:
        first = await household.attach()
        await talk(first, 2, "first")
        seen = first.seqs[-1]
        ahead = await household.attach(key_of(first), seen + 100)
        gap = await ahead.until(lambda frame: frame["type"] == "session.gap")
        assert (gap["after"], gap["seq"]) == (seen + 100, seen)
        await ahead.until(lambda frame: frame["type"] == "agent.state")
        await talk(first, 1, "later")
        assert ahead.seqs == list(range(seen + 1, first.seqs[-1] + 1))


@pytest.mark.parametrize("after", [0, 4, 5, 6])
async def test_a_pruned_log_is_told(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, after: int
) -> None:
    """Where the log no longer reaches back to `after`, a gap says so and all that is kept follows."""
    async with open_household(tmp_path) as household:
        first = await household.attach()
        await talk(first, 4, "first")

        def prune(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM events WHERE seq <= 5")

        await household.store.writer.perform(prune)
        second = await household.attach(key_of(first), after)
        await caught_up(household, second)
        gaps = second.of_type("session.gap")
        assert [(gap["after"], gap["firstSeq"]) for gap in gaps] == ([(after, 6)] if after < 5 else [])
        assert len(second.of_type("agent.state")) == len(gaps)
        assert second.seqs == list(range(max(after, 5) + 1, first.seqs[-1] + 1))


async def test_an_empty_log_is_a_gap_or_nothing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """With every event pruned, whoever was up to date misses nothing, and whoever was not is told."""
    async with open_household(tmp_path) as household:
        first = await household.attach()
        await talk(first, 2, "first")
        seen = first.seqs[-1]

        def prune(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM events")

        await household.store.writer.perform(prune)
        current = await household.attach(key_of(first), seen)
        behind = await household.attach(key_of(first), 1)
        gap = await behind.until(lambda frame: frame["type"] == "session.gap")
        assert (gap["after"], gap["firstSeq"], gap["seq"]) == (1, seen + 1, seen)
        await talk(first, 1, "later")
        assert current.of_type("session.gap") == []
        assert current.seqs == behind.seqs == list(range(seen + 1, first.seqs[-1] + 1))


async def test_a_replay_that_fails_closes_its_link_alone(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in a replay ends that link, so that it resumes, and is counted; the others go on."""
    async with open_household(tmp_path) as household:
        first = await household.attach()
        await talk(first, 2, "first")

        async def broken(sid: int, after: int, limit: int) -> list[tuple[int, str]]:
            await trio.lowlevel.checkpoint()
            raise ZeroDivisionError("planted")

        monkeypatch.setattr(household.house.reader, "events", broken, raising=True)
        second = await household.attach(key_of(first), 0)
        assert (await second.until_closed())[0] is Close.INTERNAL
        assert [where for where, _, _ in household.faults] == ["query"]
        await talk(first, 1, "later")


async def test_a_link_that_leaves_during_its_replay_is_let_go(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A replay whose link takes nothing more ends, and holds the session awake no longer."""
    async with open_household(tmp_path, hibernate_seconds=0) as household:
        first = await household.attach()
        await talk(first, BURST_FRAMES, "first")
        slow = Listener()
        slow.undrained = trio.Event()
        await household.attach(key_of(first), 0, listener=slow)
        await slow.until_seq(BURST_FRAMES)
        slow.deaf = True
        slow.undrained.set()
        session = first.session
        assert session is not None
        session.detach(slow)
        session.detach(first)
        await trio.testing.wait_all_tasks_blocked()
        assert session.quiet


async def test_the_same_request_again_is_answered_the_same(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A request id sent again is done once, and its frames come again with the seqs they had."""
    async with open_household(tmp_path) as household:
        first = await household.attach()
        accepted = await first.ask("memory.create", id="a", content="the key is under the mat")
        again = await first.ask("memory.create", id="a", content="the key is under the mat")
        assert again == accepted
        other = await household.attach(key_of(first))
        assert await other.ask("memory.create", id="a", content="the key is under the mat") == accepted
        conflict = await other.ask("memory.create", id="a", content="something else")
        assert conflict["code"] == "request_conflict"
        chat = await first.answer("chat.send", "b", content="where is the key?")
        assert await other.answer("chat.send", "b", content="where is the key?") == chat
        recalled = await first.ask("memory.recall")
        texts = [item["content"] for item in recalled["items"] if item["kind"] == "entry"]
        assert texts.count("the key is under the mat") == 1


async def test_an_update_again_is_answered_with_the_memory(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """memory.update sent again revises once and gets its event and its answer again."""
    async with open_household(tmp_path) as household:
        first = await household.attach()
        await first.ask("memory.create", id="a", content="old")
        for _ in range(2):
            first.say("memory.update", id="u", memoryId=1, content="new")
            start = len(first.frames)
            answer = await first.until(lambda frame: frame["type"] == "memory.update", start)
            assert (answer["item"]["content"], answer["item"]["version"]) == ("new", 2)


async def test_an_answer_that_was_pruned_is_said_to_be(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A request whose frames are no longer kept is refused, never done twice."""
    async with open_household(tmp_path) as household:
        first = await household.attach()
        await first.ask("memory.create", id="a", content="x")

        def prune(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM events")

        await household.store.writer.perform(prune)
        assert (await first.ask("memory.create", id="a", content="x"))["code"] == "request_conflict"


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plan=st.lists(st.tuples(st.sampled_from("taTrd"), st.integers(0, 60)), min_size=3, max_size=25))
async def test_no_link_ever_hears_a_gap_or_a_repeat(
    tmp_path_factory: pytest.TempPathFactory,
    autojump_clock: trio.testing.MockClock,
    plan: list[tuple[str, int]],
) -> None:
    """Whatever the order of talking, attaching, resuming and leaving, each link hears each seq once."""
    async with open_household(tmp_path_factory.mktemp("house"), synchronous="NORMAL") as household:
        first = await household.attach()
        links: list[tuple[Listener, int]] = []
        for step, (operation, number) in enumerate(plan):
            session = first.session
            assert session is not None
            match operation:
                case "t":
                    first.say("chat.send", id=f"t{step}", content=f"message {step}")
                case "T":
                    await talk(first, 1, f"T{step}")
                case "a":
                    after = min(number, session.committed)
                    links.append((await household.attach(key_of(first), after), after))
                case "r" if links:
                    listener, after = links[number % len(links)]
                    asked = min(max(after, number % 7), session.committed)
                    listener.say("connect", resume={"sessionKey": key_of(first), "after": asked})
                case "d" if links:
                    listener, _ = links.pop(number % len(links))
                    session.detach(listener)
        await talk(first, 1, "last")
        for listener, after in links:
            await caught_up(household, listener)
            assert listener.seqs == list(range(after + 1, first.seqs[-1] + 1))
            assert listener.of_type("session.gap") == []
        assert household.faults == []


async def test_replays_beside_a_busy_writer_in_real_threads(tmp_path: Path) -> None:
    """With the store in its threads, links that attach while others write hear every seq once, in order."""
    async with open_household(tmp_path, clock=SystemClock(), runner=ThreadRunner()) as household:
        first = await household.attach()
        key, done = key_of(first), trio.Event()
        joined: list[tuple[Listener, int]] = []

        async def write() -> None:
            for number in range(150):
                await first.ask("memory.create", id=f"m{number}", content=f"memory {number}")
            done.set()

        async def join() -> None:
            after = 0
            while not done.is_set():
                listener = await household.attach(key, after)
                joined.append((listener, after))
                await caught_up(household, listener)
                after = max(0, (listener.seqs or [0])[-1] - 20)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            nursery.start_soon(join)
        assert len(joined) > 3  # else they did not run beside each other
        for listener, after in joined:
            await caught_up(household, listener)
            assert listener.seqs == list(range(after + 1, first.seqs[-1] + 1))
        assert household.faults == []


async def test_a_repeat_never_tells_ahead_of_what_is_shown(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that is on disk and not shown yet comes in its turn, not with the answer to a repeat."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.ask("memory.create", id="a", content="tea")
        reader = household.house.reader
        asked = reader.request_events

        async def ahead(sid: int, request: str, first: int) -> list[tuple[int, str]]:
            found = await asked(sid, request, first)
            return [*found, (found[-1][0] + 70, '{"type":"agent.status","seq":71}')]

        monkeypatch.setattr(reader, "request_events", ahead)
        seen = len(link.frames)
        link.say("memory.create", id="a", content="tea")
        await trio.testing.wait_all_tasks_blocked()
        assert [frame["seq"] for frame in link.frames[seen:]] == [1]
