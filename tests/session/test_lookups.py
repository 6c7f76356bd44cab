"""Queries: recall, query, ranked search, sessions, agents; each changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from spiderwebd.core.ram import Budget
from spiderwebd.core.state import Rules
from tests.session.household import Frame, LateRunner, Listener, key_of, open_household

SMALL = Rules(budget=Budget(max_entries=8))


async def fill(link: Listener, count: int) -> None:
    """Store memories 1 to `count` and more: summaries and tombstones take ids as well."""
    for number in range(count):
        await link.ask("memory.create", id=f"m{number}", content=f"memory number {number}")


def texts(answer: Frame) -> list[str]:
    """The texts of an answer's entries and summaries."""
    return [item.get("content") or item.get("text") or "" for item in answer["items"]]


async def test_recall_lists_summaries_then_entries_newest_first(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Compatibility 3.7: summaries in RAM, entries in RAM, then what only the archive has; nothing twice."""
    async with open_household(tmp_path, rules=SMALL) as household:
        link = await household.attach()
        await fill(link, 20)
        answer = await link.ask("memory.recall", limit=128, include_full=True)
        items = answer["items"]
        sources = [item["source"] for item in items]
        assert sources == sorted(sources, key=("ram", "ltm").index)
        kinds = [item["kind"] for item in items if item["source"] == "ram"]
        assert kinds == sorted(kinds, key=("summary", "entry").index)
        ids = [item["id"] for item in items]
        assert len(ids) == len(set(ids))
        found = [item["content"] for item in items if item.get("state") == "active"]
        assert sorted(found) == sorted(f"memory number {number}" for number in range(20))
        ram = await link.ask("memory.recall", limit=128, include_archived=False)
        assert {item["source"] for item in ram["items"]} == {"ram"}


@pytest.mark.parametrize("limit", [1, 3, 25])
async def test_limits_hold(tmp_path: Path, autojump_clock: trio.testing.MockClock, limit: int) -> None:
    """No answer has more items than were asked for, and each has as many as there are."""
    async with open_household(tmp_path, rules=SMALL) as household:
        link = await household.attach()
        await fill(link, 30)
        for kind, more in (
            ("memory.recall", {"include_full": True}),
            ("memory.query", {}),
            ("memory.query", {"search": "number"}),
        ):
            answer = await link.ask(kind, limit=limit, **more)
            assert len(answer["items"]) == limit


async def test_query_filters_by_kind_id_and_topic(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Compatibility 3.8: kind, ids and a byte substring narrow the answer, in RAM and beyond it."""
    async with open_household(tmp_path, rules=SMALL) as household:
        link = await household.attach()
        await fill(link, 20)
        by_id = await link.ask("memory.query", memoryIds=[1, 2])
        assert sorted(item["id"] for item in by_id["items"]) == [1, 2]
        assert {item["source"] for item in by_id["items"]} == {"ltm"}
        assert by_id["topic"] is None
        by_topic = await link.ask("memory.query", topic="number 19", kind="entry")
        assert (texts(by_topic), by_topic["topic"]) == (["memory number 19"], "number 19")
        archived = await link.ask("memory.query", topic="number 0", kind="entry")
        assert "memory number 0" in texts(archived)
        summaries = await link.ask("memory.query", kind="summary")
        assert {item["kind"] for item in summaries["items"]} == {"summary"}


async def test_what_was_just_acknowledged_is_found(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A query that is sent right behind a memory finds it, though nothing was indexed since."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        for number in range(5):
            link.say("memory.create", id=f"m{number}", content=f"xylophone {number}")
            link.say("memory.query", id=f"q{number}", search="xylophone")
            answer = await link.until(lambda f, number=number: f.get("request") == f"q{number}")  # type: ignore[misc]  # mypy cannot type a default of a lambda
            assert len(answer["items"]) == number + 1


async def test_what_leaves_ram_during_a_recall_is_not_lost_to_it(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A memory whose eviction is not committed when the archive is read is listed all the same."""
    runner = LateRunner()
    async with open_household(tmp_path, runner=runner) as household:
        link = await household.attach()
        await fill(link, 3)
        session, reader = link.session, household.house.reader
        assert session is not None
        memories = reader.memories

        async def before_the_commit(query: object) -> object:
            # As if the read began a moment earlier: the rows say that 1 still is in RAM.
            await household.store.writer.perform(
                lambda connection: connection.execute(
                    "INSERT INTO ram SELECT sid, memory_id FROM entries WHERE memory_id = 1"
                )
            )
            return await memories(query)  # type: ignore[arg-type]  # handed through

        await link.ask("memory.evict", memoryId=1)
        await link.until(lambda frame: frame["type"] == "memory.evict")
        reader.memories = before_the_commit  # type: ignore[method-assign,assignment]  # see above
        answer = await link.ask("memory.recall", include_full=True)
        assert "memory number 0" in texts(answer)


@pytest.mark.parametrize(
    ("scope", "found"),
    [("session", {"own"}), ("agent", {"own", "same agent"}), ("all", {"own", "same agent", "other agent"})],
)
async def test_search_keeps_to_its_scope(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, scope: str, found: set[str]
) -> None:
    """session, agent and all widen a search over the principal's own sessions, never over another's."""
    async with open_household(tmp_path) as household:
        own = await household.attach()
        others = {
            "same agent": await household.attach(),
            "other agent": await household.attach(agent="writer"),
            "stranger": await household.attach(principal="bob"),
        }
        await own.ask("memory.create", content="zebra own")
        for name, link in others.items():
            await link.ask("memory.create", content=f"zebra {name}")
        answer = await own.ask("memory.query", search="zebra", scope=scope)
        assert {text.removeprefix("zebra ") for text in texts(answer)} == found
        foreign = {item.get("session") for item in answer["items"]} - {None}
        assert foreign <= {key_of(link) for link in others.values()}


async def test_sessions_of_a_principal(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """session.list, history and restore know the principal's own sessions, newest first, used ones apart."""
    async with open_household(tmp_path) as household:
        old = await household.attach()
        await old.answer("chat.send", "a", content="hello")
        await trio.sleep(1)
        new = await household.attach()
        await new.answer("chat.send", "a", content="/goal search for tea")
        await trio.sleep(1)
        asker = await household.attach()
        stranger = await household.attach(principal="bob")
        listed = await asker.ask("session.list")
        assert [row["session_key"] for row in listed["sessions"]] == [key_of(asker), key_of(new), key_of(old)]
        assert listed["sessions"][1]["summary"] == "search for tea"
        history = await asker.ask("session.history")
        assert [row["session_key"] for row in history["sessions"]] == [key_of(new), key_of(old)]
        assert "agent_id" not in history["sessions"][0]
        restored = await asker.ask("session.restore")
        assert (restored["found"], restored["session"]["session_key"]) == (True, key_of(new))
        assert (await stranger.ask("session.restore"))["found"] is False
        assert (await asker.ask("session.history", agent_id="writer"))["sessions"] == []


async def test_agents_are_told(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """agent.list and agent.get tell the agents there are; an unknown id is an error with its code."""
    (tmp_path / "agents" / "writer").mkdir(parents=True)
    (tmp_path / "agents" / "writer" / "SOUL.md").write_text("# Quill\nWrites.\n")
    async with open_household(tmp_path) as household:
        link = await household.attach()
        listed = await link.ask("agent.list")
        assert [(agent["id"], agent["name"]) for agent in listed["agents"]] == [("writer", "Quill")]
        assert (await link.ask("agent.get"))["agent"]["id"] == "writer"
        assert (await link.ask("agent.get", agent_id="writer"))["agent"]["identity_loaded"] is True
        unknown = await link.ask("agent.get", id="q", agent_id="nobody")
        assert (unknown["code"], unknown["request"]) == ("agent_unknown", "q")
        assert (await link.ask("agent.get", agent_id="../x"))["code"] == "agent_invalid"
        assert household.metrics.requests_refused == {"agent_unknown": 1, "agent_invalid": 1}


async def test_a_query_changes_nothing(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Whatever is asked, revision, seq and memory stay as they were."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await fill(link, 3)
        assert link.session is not None
        before = link.session.state.record()
        for kind in (
            "memory.recall",
            "memory.query",
            "session.list",
            "session.history",
            "session.restore",
            "agent.list",
        ):
            await link.ask(kind)
        await household.store.writer.settled()
        assert link.session.state.record() == before
