"""The desk: answers quote what memory holds, tasks get their worker, and the report tells the truth."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import trio
import trio.testing

from spiderwebd.core.records import TaskState
from spiderwebd.core.state import Rules
from spiderwebd.session.desk import HouseDesk
from spiderwebd.work.answer import NOTHING
from tests.session.household import Household, Listener, open_household


def desk_of(household: Household) -> HouseDesk:
    """Return the real desk."""
    desk = household.house.desk
    assert isinstance(desk, HouseDesk)
    return desk


async def statuses(link: Listener, request: str) -> dict[int, tuple[str, str]]:
    """Wait for the end of a goal and return (status, message) of each task."""
    await link.until(lambda frame: frame["type"] == "session.receive" and frame["request"] == request)
    return {
        frame["taskId"]: (frame["status"], frame["message"])
        for frame in link.of_type("agent.status")
        if frame["request"] == request
    }


async def test_documents_are_searched_one_task_at_a_time(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A search holds the interpreter lock: two at once would only keep the loop waiting for longer."""
    async with open_household(tmp_path, rules=Rules(parallel_tasks=4)) as household:
        desk, at_once = desk_of(household), []
        plain, under_way = desk.blocking, 0

        async def counted(function: Any) -> Any:
            nonlocal under_way
            under_way += 1
            at_once.append(under_way)
            await trio.sleep(1)
            found = await plain(function)
            under_way -= 1
            return found

        desk.blocking = counted
        link = await household.attach()
        text = "/goal " + "; ".join(f"find tea {number} in files" for number in range(4))
        start = trio.current_time()
        await link.answer("chat.send", "g", content=text)
        assert at_once == [1, 1, 1, 1]
        assert trio.current_time() - start >= 4


async def test_an_answer_quotes_what_was_said_before(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A chat is answered with matching memories and their ids, never with its own words; else it says so."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        nothing = await link.answer("chat.send", "a", content="where is the lighthouse key?")
        assert nothing["content"] == NOTHING
        await link.ask("memory.create", content="The lighthouse key hangs behind the clock")
        found = await link.answer("chat.send", "b", content="where is the lighthouse key?")
        assert "#3" in found["content"]
        assert "behind the clock" in found["content"]
        assert found["content"].count("where is") == 0


async def test_an_answer_comes_from_the_agents_other_sessions_of_the_same_principal_only(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """What one session of an agent was told, another of the same principal can be asked; nobody else's."""
    async with open_household(tmp_path) as household:
        first = await household.attach()
        await first.ask("memory.create", content="The lighthouse key hangs behind the clock")
        second = await household.attach()
        assert "clock" in (await second.answer("chat.send", "q", content="lighthouse key?"))["content"]
        for stranger in (await household.attach(principal="bob"), await household.attach(agent="writer")):
            answer = await stranger.answer("chat.send", "q", content="lighthouse key?")
            assert answer["content"] == NOTHING


async def test_tasks_get_the_worker_their_words_ask_for(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Files land in the session's own folder, memories in its memory, and what nobody can do is blocked."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        files = "write tea is green to notes.txt; read notes.txt"
        goal = f"{files}; remember that tea is green; fly to the moon; report"
        link.say("chat.send", id="g", content=f"/goal {goal}")
        got = await statuses(link, "g")
        assert [got[number][0] for number in range(1, 6)] == [
            "complete",
            "complete",
            "complete",
            "blocked",
            "complete",
        ]
        assert (tmp_path / "files" / "1" / "notes.txt").read_text() == "tea is green"
        assert "tea is green" in got[2][1]
        recalled = await link.ask("memory.recall")
        assert "tea is green" in [item.get("content") for item in recalled["items"]]


async def test_research_leaves_the_goals_own_words_out(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A search finds what was known, not the goal that asks for it nor its plan."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        link.say("chat.send", id="a", content="/goal search memories for the lighthouse key")
        assert "nothing found" in (await statuses(link, "a"))[1][1]
        await link.ask("memory.create", content="The lighthouse key hangs behind the clock")
        link.say("chat.send", id="b", content="/goal search memories for the lighthouse key")
        assert "behind the clock" in (await statuses(link, "b"))[1][1]


async def test_an_erased_memory_is_not_handed_to_a_worker(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A task about a memory that is no text any more does not complete."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.ask("memory.create", content="the secret")
        await link.ask("memory.evict", memoryId=1)

        def erase(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE entries SET kind = 'tombstone', related_to = memory_id, content = '[erased:1]' "
                "WHERE memory_id = 1"
            )

        await household.store.writer.perform(erase)
        link.say("chat.send", id="g", content="/goal load memory #1")
        status, message = (await statuses(link, "g"))[1]
        assert status != "complete"
        assert "the secret" not in message


async def test_the_report_counts_what_is(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """A status task reports the goal's tasks, the queue, the memory and the store as they are."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        link.say("chat.send", id="g", content="/goal remember that tea is green; fly to the moon; report")
        got = await statuses(link, "g")
        assert got[3][0] == "complete"
        assert "1 of 3 tasks complete" in got[3][1]
        assert "1 blocked" in got[3][1]


async def test_a_report_on_a_goal_that_ended_is_no_fault(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A status task whose goal is cancelled while it looks ends quietly, not as a bug in the log."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        desk = desk_of(household)
        real = desk._snapshot

        def late(state: object, goal_id: int) -> object:
            assert link.session is not None
            link.session.state.goals.clear()
            return real(link.session.state, goal_id)

        desk_type = type(desk)
        original = desk_type._snapshot
        desk_type._snapshot = lambda self, state, goal_id: late(state, goal_id)  # type: ignore[method-assign,assignment,return-value]  # the class has slots
        try:
            link.say("chat.send", id="g", content="/goal report")
            await trio.testing.wait_all_tasks_blocked()
        finally:
            desk_type._snapshot = original  # type: ignore[method-assign]  # put back
        assert household.faults == []


async def test_slots_are_given_back(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """After goals that completed, failed and were cancelled no slot of the daemon is held."""
    async with open_household(tmp_path, task_seconds=1) as household:
        link = await household.attach()
        desk = desk_of(household)
        free = desk.slots.free  # type: ignore[attr-defined]  # of the real slots
        link.say("chat.send", id="a", content="/goal search for tea; fly to the moon")
        await statuses(link, "a")

        async def never(function: object) -> None:
            await trio.sleep_forever()

        desk.blocking = never  # type: ignore[assignment]  # a disk that does not answer
        link.say("chat.send", id="b", content="/goal read notes.txt")
        assert (await statuses(link, "b"))[1][0] == TaskState.FAILED.value
        link.say("chat.send", id="c", content="/goal read notes.txt")
        await trio.testing.wait_all_tasks_blocked()
        assert desk.slots.free == free - 1  # type: ignore[attr-defined]  # of the real slots
        link.say("agent.control", action="cancel")
        await statuses(link, "c")
        await trio.testing.wait_all_tasks_blocked()
        assert desk.slots.free == free  # type: ignore[attr-defined]  # of the real slots


async def test_a_chat_quotes_only_what_says_it(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """An entry found by the turns before it alone is not quoted; one with a word of the question is."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        for number, text in enumerate(["the spare key is under the stone", "milk is in the fridge"]):
            await link.ask("memory.create", id=f"m{number}", content=text)
        await link.ask("chat.send", id="c", content="where is the key?")
        await trio.testing.wait_all_tasks_blocked()
        answers = [frame["content"] for frame in link.frames if frame["type"] == "session.receive"]
        assert len(answers) == 1
        assert "spare key" in answers[0]
        assert "milk" not in answers[0]
