"""The registry: waking, hibernating, keys, limits, unfinished work, draining."""

from __future__ import annotations

import dataclasses
import gc
import secrets
import sqlite3
import weakref
from collections import Counter
from pathlib import Path

import pytest
import trio
import trio.testing

from spiderwebd.core import goals
from spiderwebd.core.codes import Close, Code, Refused
from spiderwebd.core.ram import Budget
from spiderwebd.core.state import Rules, State
from spiderwebd.session import registry
from spiderwebd.session.registry import KEY_ALPHABET, KEY_CHARACTERS, fresh_id, fresh_key
from spiderwebd.store.retention import Removal
from tests.session.household import (
    HeldDesk,
    Household,
    LateRunner,
    Listener,
    key_of,
    open_household,
)

GOAL = "search for tea; remember that tea is green; report"


def leave(listener: Listener) -> None:
    """Let a listener go."""
    assert listener.session is not None
    listener.session.detach(listener)


async def hibernate(household: Household, listener: Listener) -> None:
    """Send the session of a listener, its only one, to sleep."""
    leave(listener)
    household.registry.hibernate_seconds = 0
    household.registry.hibernate()
    await household.asleep(key_of(listener))


def snapshot(state: State) -> dict[str, object]:
    """Everything a session is, field by field, in a form that compares by value and stays as it is."""
    values: dict[str, object] = {
        field.name: getattr(state, field.name)
        for field in dataclasses.fields(State)
        if field.name not in ("ram", "rules")
    }
    values["requests"] = list(state.requests.items())
    values["chats"] = list(state.chats)
    values["beat"] = dict(state.beat)
    ram = state.ram
    values["ram"] = (
        ram.next_id,
        ram.active_count,
        ram.active_bytes,
        list(ram.entries()),
        list(ram.summaries()),
        list(ram.tombstones()),
    )
    return values


def test_keys_cannot_be_guessed() -> None:
    """Keys are 32, request ids 16 of [A-Za-z0-9], and never the same twice."""
    keys = {fresh_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(len(key) == KEY_CHARACTERS and set(key) <= set(KEY_ALPHABET) for key in keys)
    assert len(fresh_id()) == 16


def test_every_letter_of_a_key_is_as_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that would favour some letters are left out; when too few are left, more are got."""
    answers = [b"\xff" * 40, *(bytes(range(start, start + 64)) for start in range(0, 256, 64))]
    monkeypatch.setattr(secrets, "token_bytes", lambda count: answers.pop(0))
    assert Counter(registry._random_letters(248)) == dict.fromkeys(KEY_ALPHABET, 4)
    assert answers == []


async def test_only_a_session_with_a_past_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that has just been made has nothing to recover; one that is woken is looked at."""
    recovered: list[int] = []
    monkeypatch.setattr(goals, "recover", lambda step: recovered.append(step.state.sid))
    async with open_household(tmp_path) as household:
        listener = await household.attach()
        assert recovered == []
        await hibernate(household, listener)
        again = await household.attach(key_of(listener))
        assert again.session is not None
        assert recovered == [again.session.state.sid]


async def test_an_idle_session_comes_back_identical(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """After hibernation and waking every field is what it was: RAM, counters, requests, heartbeat memory."""
    rules = Rules(budget=Budget(max_entries=8), requests_kept=1024)
    async with open_household(tmp_path, rules=rules) as household:
        link = await household.attach()
        for number in range(300):  # more requests than an image holds unless it is asked for all
            await link.ask("memory.create", id=f"m{number}", content=f"memory number {number}")
        await link.answer("chat.send", "q", content="which number?")
        await link.answer("chat.send", "g", content="/goal search for number; fly to the moon")
        link.say("memory.update", id="u", memoryId=3, content="memory number three")
        await link.until(lambda frame: frame["type"] == "memory.update")
        await link.ask("memory.evict", id="e")
        await link.ask("agent.control", action="pause")
        await link.ask("agent.heartbeat")
        session = link.session
        assert session is not None
        session.state.beat["last_ms"] += 1  # as the timer does, without a record of its own
        before = snapshot(session.state)
        await hibernate(household, link)
        back = await household.attach(key_of(link))
        assert back.session is not session
        assert back.session is not None
        after = snapshot(back.session.state)
        # What is known of revisions guards reads that were under way; none can be after a sleep.
        before["revised"] = after["revised"]
        assert after == before
        ack = back.of_type("session.ack")[0]
        assert (ack["restored"], ack["seq"]) == (True, link.seqs[-1])
        assert (await back.ask("memory.create", id="m0", content="memory number 0"))["memoryId"] == 1


async def test_a_session_sleeps_only_when_it_is_quiet(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A link, an open goal, a heartbeat to give or too short a rest keep a session awake."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk, hibernate_seconds=60) as household:
        registry = household.registry
        link = await household.attach()
        key = key_of(link)
        await trio.sleep(1000)
        registry.hibernate()
        await trio.testing.wait_all_tasks_blocked()
        assert key in registry.awake
        link.say("chat.send", id="g", content=f"/goal {GOAL}")
        await link.until(lambda frame: frame["type"] == "agent.plan")
        leave(link)
        await trio.sleep(1000)
        registry.hibernate()
        await trio.testing.wait_all_tasks_blocked()
        assert key in registry.awake
        desk.go.set()
        await trio.testing.wait_all_tasks_blocked()
        registry.hibernate()
        await trio.testing.wait_all_tasks_blocked()
        assert key in registry.awake
        await trio.sleep(60)
        registry.hibernate()
        await household.asleep(key)
        assert household.metrics.goals_open == 0


async def test_a_session_that_has_to_speak_waits_with_its_sleep(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A proposal that no heartbeat has told yet keeps a session awake until it was due, not for ever."""
    async with open_household(tmp_path, rules=Rules(heartbeat_ms=600_000), hibernate_seconds=0) as household:
        link = await household.attach()
        await link.answer("chat.send", "g", content="/goal fly to the moon")
        leave(link)
        await trio.sleep(300)
        household.registry.hibernate()
        await trio.testing.wait_all_tasks_blocked()
        assert key_of(link) in household.registry.awake
        await trio.sleep(400)
        household.registry.hibernate()
        await household.asleep(key_of(link))


async def test_a_link_that_comes_while_a_session_closes_keeps_it(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Attaching between the order to close and its end leaves the same session awake and serving."""
    runner = LateRunner()
    async with open_household(tmp_path, runner=runner) as household:
        link = await household.attach()
        await link.ask("memory.create", id="a", content="x")
        session = link.session
        assert session is not None
        leave(link)
        session.state.beat["last_ms"] = 7  # something to save, so that closing takes a commit
        runner.held = True
        session.close()
        await trio.testing.wait_all_tasks_blocked()
        back = Listener()
        back.session = await household.registry.attach("ann", "default", key_of(link), None, back)
        runner.release()
        await back.until(lambda frame: frame["type"] == "session.ack")
        assert back.session is session
        await back.answer("chat.send", "q", content="hello")


async def test_a_request_that_comes_while_a_session_closes_is_answered(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A chat from a link that leaves at once is answered before the session sleeps."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk) as household:
        link = await household.attach()
        session = link.session
        assert session is not None
        link.say("chat.send", id="q", content="hello")
        session.close()
        leave(link)
        await trio.testing.wait_all_tasks_blocked()
        assert not session.over
        desk.go.set()
        back = await household.attach(key_of(link), 0)
        assert (await back.until(lambda frame: frame["type"] == "session.receive"))["request"] == "q"


async def test_a_link_that_comes_too_late_wakes_the_next_life(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Attaching to a session whose loop has ended, but not its nursery, waits and wakes it anew."""
    async with open_household(tmp_path, hibernate_seconds=0) as household:
        link = await household.attach()
        await link.ask("memory.create", id="a", content="x")
        session, release = link.session, trio.Event()
        assert session is not None
        assert session._nursery is not None

        async def straggle() -> None:
            with trio.CancelScope(shield=True):
                await release.wait()

        session._nursery.start_soon(straggle)
        leave(link)
        household.registry.hibernate()
        await trio.testing.wait_all_tasks_blocked()
        assert session.over
        assert not session.ended.is_set()
        async with trio.open_nursery() as nursery:
            back = Listener()

            async def come() -> None:
                await household.attach(key_of(link), listener=back)

            nursery.start_soon(come)
            await trio.testing.wait_all_tasks_blocked()
            assert back.frames == []
            release.set()
        assert back.session is not session
        assert (await back.ask("memory.create", id="a", content="x"))["memoryId"] == 1


async def test_many_links_at_once_wake_one_session(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Links that come together for a sleeping session share one life of it."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.ask("memory.create", id="a", content="x")
        await hibernate(household, link)
        links = [Listener() for _ in range(10)]

        async def come(listener: Listener) -> None:
            await household.attach(key_of(link), 0, listener=listener)

        async with trio.open_nursery() as nursery:
            for listener in links:
                nursery.start_soon(come, listener)
        assert len({id(listener.session) for listener in links}) == 1
        assert len(household.registry.awake) == 1
        assert household.registry._waking == {}


@pytest.mark.parametrize("asleep", [True, False])
async def test_a_foreign_key_looks_like_an_unknown_one(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, asleep: bool
) -> None:
    """The key of another principal's or agent's session, awake or not, gets what an invented one gets."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.ask("memory.create", id="a", content="secret")
        key = key_of(link)
        if asleep:
            await hibernate(household, link)
        foreign = await household.attach(key, 0, principal="bob")
        other_agent = await household.attach(key, 0, agent="writer")
        unknown = await household.attach("A" * 32, 0)
        strange = await household.attach("", 0)
        await trio.testing.wait_all_tasks_blocked()
        for got in (foreign, other_agent, unknown, strange):
            assert [frame["type"] for frame in got.frames] == ["session.ack"]
            ack = got.frames[0]
            assert (ack["restored"], ack["seq"], ack["firstSeq"]) == (False, 0, 1)
            assert ack["sessionKey"] not in (key, "A" * 32, "")
        fields = [sorted(got.frames[0]) for got in (foreign, other_agent, strange)]
        assert fields == [sorted(unknown.frames[0])] * 3


async def test_a_full_house_refuses_and_makes_room(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Beyond the limit a link is refused with queue_full, writes nothing, and quiet sessions go to sleep."""
    async with open_household(tmp_path, limit=2, hibernate_seconds=1e6) as household:
        first, second = await household.attach(), await household.attach()
        with pytest.raises(Refused) as refusal:
            await household.attach()
        assert refusal.value.code is Code.QUEUE_FULL
        assert refusal.value.retry_after_ms
        assert await household.store.reader.highest_sid() == 2
        leave(first)
        household.registry.hibernate()
        await household.asleep(key_of(first))
        third = await household.attach()
        with pytest.raises(Refused):
            await household.attach(key_of(first))
        assert await household.attach(key_of(second), principal="ann") is not third


async def test_places_are_counted_while_sessions_are_made(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Sessions that wait for their first commit count against the limit like awake ones."""
    runner = LateRunner()
    async with open_household(tmp_path, runner=runner, limit=3) as household:
        runner.held = True
        outcomes: list[str] = []

        async def come() -> None:
            try:
                await household.attach()
                outcomes.append("attached")
            except Refused as refused:
                outcomes.append(refused.code.value)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(come)
            await trio.testing.wait_all_tasks_blocked()
            assert outcomes == ["queue_full"] * 2
            runner.release()
        assert sorted(outcomes) == ["attached"] * 3 + ["queue_full"] * 2


async def test_a_cancelled_attach_gives_its_place_back(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A link that gives up while its session is made holds neither a place nor a lock."""
    runner = LateRunner()
    async with open_household(tmp_path, runner=runner, limit=1) as household:
        runner.held = True
        with trio.move_on_after(1) as scope:
            await household.attach()
        assert scope.cancelled_caught
        runner.release()
        await household.attach()


async def test_a_session_that_cannot_be_read_costs_its_link_alone(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A row that no code can read is refused with internal and counted; others come and go as ever."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.ask("memory.create", id="a", content="x")
        await hibernate(household, link)

        def damage(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE sessions SET extra = 'no JSON'")

        await household.store.writer.perform(damage)
        with pytest.raises(Refused) as refusal:
            await household.attach(key_of(link))
        assert refusal.value.code is Code.INTERNAL
        assert [where for where, _, _ in household.faults] == ["session"]
        await household.attach()


async def test_unfinished_work_is_taken_up_by_itself(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """After a stop in the middle, chats are answered and goals end without any link, counted once."""
    async with open_household(tmp_path, desk=HeldDesk()) as household:
        link = await household.attach()
        link.say("chat.send", id="q", content="hello")
        link.say("chat.send", id="g", content=f"/goal {GOAL}")
        await link.until(lambda frame: frame["type"] == "agent.plan")
        key, seen = key_of(link), link.seqs[-1]
    async with open_household(tmp_path) as household:
        await trio.testing.wait_all_tasks_blocked()
        numbers = household.metrics
        assert (numbers.requests_accepted, numbers.requests_answered, numbers.goals_open) == (2, 2, 0)
        back = await household.attach(key, seen)
        await back.until(lambda frame: frame["type"] == "session.receive" and frame["request"] == "g")
        assert "interrupted" in [frame["status"] for frame in back.of_type("agent.status")]
        assert back.seqs == list(range(seen + 1, back.seqs[-1] + 1))
        answers = back.of_type("session.receive")
        assert sorted(frame["request"] for frame in answers) == ["g", "q"]


async def test_more_unfinished_sessions_than_places_and_a_broken_one(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """The start does not fail: a broken session is counted, the others take places as they come free."""
    async with open_household(tmp_path, desk=HeldDesk()) as household:
        for number in range(6):
            link = await household.attach()
            link.say("chat.send", id="q", content=f"hello {number}")
            await link.until(lambda frame: frame["type"] == "session.accepted")

        def damage(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE sessions SET extra = 'no JSON' WHERE sid = 2")

        await household.store.writer.perform(damage)
    async with open_household(tmp_path, limit=2, hibernate_seconds=1e6) as household:
        for _ in range(5):
            await trio.testing.wait_all_tasks_blocked()
            household.registry.hibernate()
        await trio.testing.wait_all_tasks_blocked()
        assert household.metrics.requests_answered == 5
        assert household.metrics.faults == {"session": 1}
        assert len(await household.store.reader.unfinished()) == 1


async def test_draining_ends_what_ends_and_leaves_the_rest_open(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A drain waits for what runs, refuses new work and new links, and closes links with going away."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk) as household:
        link = await household.attach()
        link.say("chat.send", id="q1", content="one")
        link.say("chat.send", id="q2", content="two")
        link.say("chat.send", id="g", content=f"/goal {GOAL}")
        await link.until(lambda frame: frame["type"] == "agent.plan")
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(household.registry.drain, start + 100)
            await trio.testing.wait_all_tasks_blocked()
            assert (await link.ask("chat.send", id="late", content="x"))["code"] == "draining"
            with pytest.raises(Refused) as refusal:
                await household.attach()
            assert refusal.value.code is Code.DRAINING
            desk.go.set()
        assert trio.current_time() - start < 1
        assert (await link.until_closed())[0] is Close.GOING_AWAY
        assert [frame["request"] for frame in link.of_type("session.receive")] == ["q1"]
        assert household.faults == []
    async with open_household(tmp_path) as household:
        await trio.testing.wait_all_tasks_blocked()
        assert household.metrics.requests_answered == 2


async def test_a_drain_ends_at_its_deadline(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """What does not end by itself is cancelled when the grace is used up, and stays open in its rows."""
    async with open_household(tmp_path, desk=HeldDesk()) as household:
        link = await household.attach()
        link.say("chat.send", id="q", content="hello")
        await link.until(lambda frame: frame["type"] == "session.accepted")
        start = trio.current_time()
        await household.registry.drain(start + 10)
        assert trio.current_time() - start == pytest.approx(10)
        await link.until_closed()
        assert len(await household.store.reader.unfinished()) == 1


async def test_nobody_sleeps_while_the_disk_fails(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While rows may be older than what was shown, no session hibernates, and one that failed is not read."""
    async with open_household(tmp_path, hibernate_seconds=0) as household:
        link = await household.attach()
        await link.ask("memory.create", id="a", content="x")
        session, writer = link.session, household.store.writer
        assert session is not None
        leave(link)
        monkeypatch.setattr(writer, "_reason", "planted")
        household.registry.hibernate()
        await trio.testing.wait_all_tasks_blocked()
        assert not session.over
        session.put(_break)
        await household.asleep(key_of(link))
        with pytest.raises(Refused) as refusal:
            await household.attach(key_of(link))
        assert refusal.value.code is Code.STORAGE_UNAVAILABLE
        stranger = await household.attach(key_of(link), principal="bob")
        assert stranger.frames[0]["restored"] is False
        monkeypatch.setattr(writer, "_reason", "")
        back = await household.attach(key_of(link), 0)
        await back.until_seq(1)


def _break(step: object) -> None:
    raise ZeroDivisionError("planted")


async def test_a_smaller_budget_is_kept_from_the_first_step(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A session that wakes under a smaller budget gives up what does not fit, and nothing is lost."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        for number in range(10):
            await link.ask("memory.create", id=f"m{number}", content=f"memory number {number}")
        key = key_of(link)
    async with open_household(tmp_path, rules=Rules(budget=Budget(max_entries=4))) as household:
        back = await household.attach(key)
        assert back.session is not None
        assert back.session.state.ram.active_count <= 4
        back.say("memory.load", memoryId=1)
        loaded = await back.until(lambda frame: frame["type"] == "memory.load")
        assert loaded["item"]["content"] == "memory number 0"


async def test_retention_is_noted_by_the_sessions_it_concerns(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """What was pruned of one session's events moves the firstSeq of that one."""
    async with open_household(tmp_path) as household:
        one, two = await household.attach(), await household.attach()
        household.registry.note_removals(
            [
                Removal(1, "event", 2),
                Removal(1, "event", 3),
                Removal(1, "request", 9),
                Removal(2, "archive", 1),
            ]
        )
        await trio.testing.wait_all_tasks_blocked()
        assert one.session is not None
        assert two.session is not None
        assert (one.session.state.first_seq, two.session.state.first_seq) == (6, 1)
        told = [frame for frame in two.frames if frame["type"] == "memory.event"]
        assert [(frame["event"], frame["status"], frame["count"]) for frame in told] == [
            ("prune", "pruned", 1)
        ]
        assert not [frame for frame in one.frames if frame["type"] == "memory.event"]


async def test_a_session_that_fell_asleep_is_freed_without_the_collector(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """The collector comes rarely, by design; what sessions hold must not wait for it."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.ask("agent.control", action="watch")
        await link.ask("memory.create", content="tea is green")
        await link.ask("memory.query", topic="tea")
        await link.answer("chat.send", "q", content="which tea?")
        await link.answer("chat.send", "g", content=f"/goal {GOAL}")
        gc.collect()
        gc.disable()
        try:
            assert link.session is not None
            session = weakref.ref(link.session)
            await hibernate(household, link)
            link.session = None
            await trio.testing.wait_all_tasks_blocked()
            assert session() is None, gc.get_referrers(session())
        finally:
            gc.enable()


async def test_only_sessions_without_a_link_are_looked_at_for_their_sleep(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """However many are attached, the sweep that sends sessions to sleep costs what the others cost."""
    async with open_household(tmp_path) as household:
        unattended = household.registry.house.unattended
        first = await household.attach()
        second = await household.attach()
        also = await household.attach(key_of(second))
        assert unattended == {}
        leave(also)
        assert unattended == {}
        leave(second)
        assert list(unattended) == [key_of(second)]
        back = await household.attach(key_of(second))
        assert unattended == {}
        leave(back)
        household.registry.hibernate_seconds = 0
        household.registry.hibernate()
        await household.asleep(key_of(second))
        assert unattended == {}
        assert list(household.registry.awake) == [key_of(first)]
