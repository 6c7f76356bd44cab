"""One session: order of what is shown, links that come and go, walls, deadlines, a disk that fails."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from spiderwebd.core.codes import Close
from spiderwebd.core.ram import Budget
from spiderwebd.core.state import Rules
from spiderwebd.session.links import Links
from tests.session.household import HeldDesk, LateRunner, Listener, key_of, open_household

HOUR_MS = 3_600_000
GOAL = "search for tea; remember that tea is green; report"


async def test_a_chat_is_accepted_before_it_is_answered(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """session.ack comes first, then session.accepted with the memory's id, then the answer."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.answer("chat.send", "q", content="hello")
        assert [frame["type"] for frame in link.frames] == [
            "session.ack",
            "session.accepted",
            "session.receive",
        ]
        assert link.frames[1] == {
            "type": "session.accepted",
            "request": "q",
            "sessionKey": key_of(link),
            "memoryId": 1,
            "seq": 1,
        }


async def test_every_link_hears_the_story_and_only_the_asker_its_reply(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Journalled frames reach all links of a session alike; replies only the link that asked."""
    async with open_household(tmp_path) as household:
        one = await household.attach()
        two = await household.attach(key_of(one))
        await one.answer("chat.send", "q", content="hello")
        await two.until(lambda frame: frame["type"] == "session.receive")
        one.say("ping")
        one.say("agent.control", action="state")
        await one.until(lambda frame: frame["type"] == "agent.state")
        await trio.testing.wait_all_tasks_blocked()
        story = [frame for frame in one.frames if "seq" in frame and frame["type"] != "session.ack"]
        assert [frame for frame in two.frames[1:] if "seq" in frame] == story
        assert {frame["type"] for frame in two.frames} == {
            "session.ack",
            "agent.progress",  # the reconnect note, to the link that came back alone
            "session.accepted",
            "session.receive",
        }


async def test_a_link_that_goes_cancels_nothing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A goal goes on and ends while nobody listens, and is told to whoever comes back."""
    desk = HeldDesk()
    async with open_household(tmp_path, desk=desk) as household:
        link = await household.attach()
        link.say("chat.send", id="g", content=f"/goal {GOAL}")
        await link.until(lambda frame: frame["type"] == "agent.plan")
        session, seen = link.session, link.seqs[-1]
        assert session is not None
        session.detach(link)
        desk.go.set()
        back = await household.attach(key_of(link), seen)
        answer = await back.until(lambda frame: frame["type"] == "session.receive")
        assert answer["content"].startswith("Done: ")
        assert back.seqs == list(range(seen + 1, back.seqs[-1] + 1))


async def test_a_chat_runs_beside_a_goal(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """While a goal's task waits, chat, ping, state, pause, resume, heartbeat and cancel are answered."""
    desk = HeldDesk()
    async with open_household(tmp_path) as household:
        real = household.house.desk
        desk.answer = real.answer  # type: ignore[method-assign]  # chats are answered, tasks wait
        household.house.desk = desk
        link = await household.attach()
        link.say("chat.send", id="g", content=f"/goal {GOAL}")
        await link.until(lambda frame: frame["type"] == "agent.plan")
        await link.answer("chat.send", "q", content="hello")
        link.say("ping")
        await link.until(lambda frame: frame["type"] == "pong")
        for action in ("state", "pause", "resume", "heartbeat", "cancel"):
            link.say("agent.control", id=action, action=action)
            await link.until(lambda frame, action=action: frame.get("request") == action)  # type: ignore[misc]  # mypy cannot type a default of a lambda
        ended = await link.until(
            lambda frame: frame.get("request") == "g" and frame["type"] == "session.receive"
        )
        assert ended["content"]
        assert household.faults == []


async def test_a_link_that_left_before_its_turn_is_not_attached(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A link that goes while its attaching waits in the inbox hears nothing and keeps nobody awake."""
    async with open_household(tmp_path, hibernate_seconds=0) as household:
        link = await household.attach()
        session, hasty = link.session, Listener()
        assert session is not None
        assert await household.registry.attach("ann", "default", key_of(link), None, hasty) is session
        session.detach(hasty)
        session.detach(link)
        await trio.testing.wait_all_tasks_blocked()
        assert hasty.frames == []
        assert session.quiet


async def test_a_full_inbox_makes_its_links_wait(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Frames beyond the inbox's bound are not taken until the loop has emptied it."""
    async with open_household(tmp_path, inbox_limit=2) as household:
        link = await household.attach()
        assert link.session is not None
        link.session._inbox.put(lambda step: None)  # the loop has something to do
        link.say("ping")
        link.say("ping")
        with pytest.raises(AssertionError):
            link.say("ping")
        await link.session.room()
        link.say("ping")
        await trio.testing.wait_all_tasks_blocked()
        assert len(link.of_type("pong")) == 3


@pytest.mark.parametrize("kind", ["query", "chat", "task"])
async def test_a_bug_in_what_runs_beside_the_loop_costs_that_one_thing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, kind: str
) -> None:
    """A planted bug in a query, an answer or a task is told, counted once, and the session lives on."""
    desk = HeldDesk()
    desk.go.set()
    desk.fault = ZeroDivisionError("planted")
    async with open_household(tmp_path, desk=desk) as household:
        link = await household.attach()
        match kind:
            case "query":
                assert (await link.ask("memory.recall", id="r"))["code"] == "internal"
            case "chat":
                link.say("chat.send", id="r", content="hello")
                failed = await link.until(lambda frame: frame["type"] == "agent.progress")
                assert (failed["request"], failed["status"]) == ("r", "failed")
            case _:
                link.say("chat.send", id="r", content="/goal search for tea")
                status = await link.until(lambda frame: frame["type"] == "agent.status")
                assert (status["status"], status["code"]) == ("failed", "internal")
                await link.until(lambda frame: frame["type"] == "session.receive")
        assert [(where, key) for where, _, key in household.faults] == [(kind, key_of(link))]
        assert household.metrics.faults == {kind: 1}
        desk.fault = None
        await link.answer("chat.send", "again", content="hello")
        numbers = household.metrics
        ended = numbers.requests_answered + numbers.requests_failed
        assert numbers.requests_accepted == ended


async def test_a_bug_in_the_loop_costs_the_session_and_nothing_acknowledged(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted bug ends the session's links with 1011, no other session, and it comes back whole."""
    async with open_household(tmp_path) as household:
        link, waiting, other = await household.attach(), Listener(), await household.attach()
        await link.answer("chat.send", "q", content="hello")
        session, seen = link.session, link.seqs[-1]
        assert session is not None
        session.tick_heartbeat()
        with monkeypatch.context() as planted:
            planted.setattr("spiderwebd.session.session.turn.receive", _break)
            link.say("ping")
            # It comes between the bug and its wall: its attaching is never handled by this life.
            await household.registry.attach("ann", "default", key_of(link), None, waiting)
            assert (await link.until_closed())[0] is Close.INTERNAL
            assert (await waiting.until_closed())[0] is Close.INTERNAL
        assert [where for where, _, _ in household.faults] == ["session"]
        assert isinstance(household.faults[0][1], ZeroDivisionError)
        await other.answer("chat.send", "q", content="still here?")
        back = await household.attach(key_of(link), 0)
        assert back.session is not session
        await back.until_seq(seen)
        assert [frame for frame in back.frames if frame["type"] == "session.receive"] == link.of_type(
            "session.receive"
        )
        await back.answer("chat.send", "next", content="and now?")


async def test_a_bug_while_showing_reaches_the_session_not_the_store(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails in the store's callback ends that session alone; nothing later of it is shown."""
    runner = LateRunner()
    async with open_household(tmp_path, runner=runner) as household:
        link, other = await household.attach(), await household.attach()
        runner.held = True
        link.say("memory.create", id="a", content="first")
        await trio.testing.wait_all_tasks_blocked()
        link.say("memory.create", id="b", content="second")
        await trio.testing.wait_all_tasks_blocked()
        with monkeypatch.context() as planted:
            planted.setattr(Links, "tell", _break)
            runner.release()
        await household.asleep(key_of(link))
        assert [(where, type(error)) for where, error, _ in household.faults] == [
            ("session", ZeroDivisionError)
        ]
        assert link.of_type("session.accepted") == []
        await other.answer("chat.send", "q", content="still here?")
        back = await household.attach(key_of(link), 0)
        await back.until_seq(2)
        assert [frame["request"] for frame in back.of_type("session.accepted")] == ["a", "b"]


def _break(*arguments: object) -> None:
    raise ZeroDivisionError("planted")


async def test_control_is_put_down_with_who_did_it(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pause, resume and cancel are logged with principal, session and request; what was refused is not."""
    lines: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(
        "spiderwebd.session.intake.log.event", lambda name, **fields: lines.append((name, fields))
    )
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.ask("agent.control", id="p", action="pause")
        await link.ask("agent.control", action="state")
        await link.ask("agent.control", id="c", action="cancel", goalId=7)
        await link.ask("agent.control", id="r", action="resume")
        assert [name for name, _ in lines] == ["control", "control"]
        assert [(f["action"], f["request"]) for _, f in lines] == [("pause", "p"), ("resume", "r")]
        assert all(f["principal"] == "ann" and f["session"] == key_of(link) for _, f in lines)


async def test_disconnect_is_a_goodbye(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """disconnect closes the link normally, behind the answers to what it asked before."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        link.say("memory.create", id="a", content="x")
        link.say("disconnect")
        assert await link.until_closed() == (Close.NORMAL, "bye")
        assert link.frames[-1]["request"] == "a"


async def test_a_pruned_log_shows_in_the_next_ack(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """What retention takes from an awake session's log moves firstSeq of session.ack."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        await link.answer("chat.send", "a", content="hello")
        session = link.session
        assert session is not None
        session.note_pruned(1)
        second = await household.attach(key_of(link))
        assert second.of_type("session.ack")[0]["firstSeq"] == 2


async def test_an_event_is_handled_where_it_comes_in_while_the_loop_waits(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Nobody has to wake up for it; a bug in it costs the session, and not whoever brought it."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        session = link.session
        assert session is not None
        await trio.testing.wait_all_tasks_blocked()
        link.say("memory.create", id="a", content="first")
        assert session.state.ram.active_count == 1

        def planted(step: object) -> None:
            # What a step causes here and now waits for the loop: one step follows the other.
            link.say("memory.create", id="b", content="second")
            assert session.state.ram.active_count == 1
            raise ZeroDivisionError("planted")

        session.put(planted)
        assert (await link.until_closed())[0] is Close.INTERNAL
        assert [type(error) for _, error, _ in household.faults] == [ZeroDivisionError]


async def test_a_store_that_does_not_answer_is_said_in_the_state(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A disk that stalls is no error of the disk, and yet the session is degraded until it answers."""
    async with open_household(tmp_path) as household:
        link = await household.attach()
        for stalled, lifecycle in ((True, "degraded"), (False, "idle")):
            household.house.stalled = stalled
            told = await link.ask("agent.control", action="state")
            assert (told["type"], told["lifecycle"]) == ("agent.state", lifecycle)


async def test_the_frames_of_one_step_are_written_together(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """An acceptance and what comes with it cost a link one write."""
    async with open_household(tmp_path, rules=Rules(budget=Budget(max_entries=4))) as household:
        link = await household.attach()
        for number in range(6):
            await link.ask("memory.create", content=f"memory {number}")
        await trio.testing.wait_all_tasks_blocked()
        kinds = [frame["type"] for frame in link.frames]
        assert "memory.event" in kinds
        assert len(link.writes) == len(kinds) - kinds.count("memory.event")
