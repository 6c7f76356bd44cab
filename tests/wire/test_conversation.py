"""A link and its session: who may speak, what a refusal looks like, what one link costs."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from spiderwebd.clock import SystemClock
from spiderwebd.core.codes import Close
from spiderwebd.store.runner import ThreadRunner
from spiderwebd.tokens import Principal
from spiderwebd.wire.conversation import Conversation, Reception
from spiderwebd.wire.keepalive import KeepaliveSweep
from spiderwebd.wire.link import Link, LinkEnd, LinkLimits
from tests.session.household import HeldDesk, Household, LateRunner, open_household
from tests.wire.loopback import (
    CLOSE,
    PATIENCE,
    TEXT,
    TOKEN,
    House,
    RawClient,
    frame,
    open_house,
    upgrade,
    verify,
)

AUTHORIZATION = f"Authorization: Bearer {TOKEN}".encode()


@dataclass
class Front:
    """A door and a reception before a household, and what they reported."""

    house: House
    household: Household
    reception: Reception
    attached: list[tuple[str, str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    ends: list[tuple[int, str]] = field(default_factory=list)
    ended: trio.Event = field(default_factory=trio.Event)
    """Set, and replaced, whenever a link has ended."""

    async def until_ended(self, count: int) -> None:
        """Wait until so many links have ended, and the door has noted how."""
        with trio.fail_after(PATIENCE):
            while len(self.ends) < count:
                await self.ended.wait()
            await trio.testing.wait_all_tasks_blocked()

    async def known(self, query: str = "") -> RawClient:
        """Open a link with a token in its head."""
        return await self.house.open(upgrade(f"/v1/agents/default/stream{query}", AUTHORIZATION))

    async def unknown(self) -> RawClient:
        """Open a link that has to say first who it is."""
        return await self.house.open(upgrade())


@asynccontextmanager
async def open_front(folder: Path, *, hold: bool = False, **options: Any) -> AsyncIterator[Front]:
    """Serve links on loopback; `hold` gives a desk and a store that wait, the rest goes to Reception."""
    household_options: dict[str, Any] = {"clock": SystemClock(), "runner": ThreadRunner()}
    if hold:
        household_options = {"clock": SystemClock(), "runner": LateRunner(), "desk": HeldDesk()}
    household_options.update(options.pop("household", {}))
    async with open_household(folder, **household_options) as household:
        fields: dict[str, Any] = {
            "connect_seconds": PATIENCE,
            "limits": LinkLimits,
            **options,
        }
        front: Front

        def on_attach(principal: Principal, agent: str, key: str, peer: str) -> None:
            front.attached.append((principal.name, agent, key))

        def on_end(end: LinkEnd, key: str) -> None:
            front.ends.append((end.code, key))
            front.ended.set()
            front.ended = trio.Event()

        reception = Reception(
            registry=household.registry,
            keepalive=KeepaliveSweep(),
            verify=verify,
            on_attach=on_attach,
            on_refused=lambda peer: front.refused.append(peer),
            on_end=on_end,
            metrics=household.metrics,
            **fields,
        )
        async with open_house(serve_link=reception.serve_link) as house:
            front = Front(house, household, reception)
            yield front


async def say(link: RawClient, kind: str, **fields: object) -> None:
    """Send one client frame."""
    await link.send(frame(TEXT, json.dumps({"type": kind, **fields}).encode()))


async def hear(client: RawClient) -> dict[str, Any]:
    """Read the next frame, which must be a text."""
    opcode, payload = await client.read_frame()
    assert opcode == TEXT, (opcode, payload)
    parsed: dict[str, Any] = json.loads(payload)
    return parsed


async def until(client: RawClient, kind: str) -> dict[str, Any]:
    """Read frames up to the first of one type."""
    while (heard := await hear(client))["type"] != kind:
        pass
    return heard


async def goodbye(client: RawClient) -> None:
    """Close a link in order."""
    await client.send(frame(CLOSE, b"\x03\xe8"))
    await client.read_close()
    await client.stream.aclose()


async def test_a_link_that_the_door_knows_is_attached_at_once(tmp_path: Path) -> None:
    """session.ack is the first frame, before the client has said a word, and the attach is put down."""
    async with open_front(tmp_path) as front:
        client = await front.known()
        ack = await hear(client)
        assert (ack["type"], ack["restored"], ack["principal"]) == ("session.ack", False, "ann")
        assert front.attached == [("ann", "default", ack["sessionKey"])]
        await say(client, "ping", id="p")
        assert (await hear(client))["request"] == "p"
        await goodbye(client)
        assert front.house.faults == []


async def test_key_and_after_in_the_url_resume(tmp_path: Path) -> None:
    """?session=KEY&after=SEQ replays what was missed behind ack and note."""
    async with open_front(tmp_path) as front:
        client = await front.known()
        key = (await hear(client))["sessionKey"]
        await say(client, "memory.create", id="a", content="x")
        accepted = await hear(client)
        again = await front.known(f"?session={key}&after=0")
        assert (await hear(again))["restored"] is True
        await hear(again)
        assert await hear(again) == accepted


async def test_an_unknown_link_hears_nothing_before_its_token(tmp_path: Path) -> None:
    """Without a header the link is silent until connect, and that may resume a session."""
    async with open_front(tmp_path) as front:
        first = await front.unknown()
        await say(first, "connect", token=TOKEN, client="test", protocol=1)
        key = (await hear(first))["sessionKey"]
        await say(first, "memory.create", id="a", content="x")
        accepted = await hear(first)
        second = await front.unknown()
        assert len(front.attached) == 1
        await say(second, "connect", token=TOKEN, resume={"sessionKey": key, "after": 0})
        assert (await hear(second))["sessionKey"] == key
        await hear(second)
        assert await hear(second) == accepted


@pytest.mark.parametrize(
    ("text", "code", "counted"),
    [
        ('{"type":"connect","token":"sw_wrong"}', "unauthorized", 1),
        ('{"type":"connect"}', "unauthorized", 0),
        ('{"type":"ping"}', "unauthorized", 0),
        ('{"type":"chat.send","content":"let me in"}', "unauthorized", 0),
        ("no JSON", "bad_json", 0),
    ],
)
async def test_whoever_does_not_say_who_it_is_goes(
    tmp_path: Path, text: str, code: str, counted: int
) -> None:
    """Any first frame but connect with a valid token is answered by an error and close 4401."""
    async with open_front(tmp_path) as front:
        client = await front.unknown()
        await client.send(frame(TEXT, text.encode()))
        assert (await hear(client))["code"] == code
        assert await client.read_close() == Close.UNAUTHORIZED
        assert len(front.refused) == counted
        assert front.household.registry.awake == {}
        assert front.household.metrics.requests_refused == {code: 1}


async def test_connect_must_come_in_time(tmp_path: Path) -> None:
    """A link that says nothing is told and closed with 4408 when its time is up."""
    async with open_front(tmp_path, connect_seconds=0.05) as front:
        client = await front.unknown()
        assert (await hear(client))["code"] == "unauthorized"
        assert await client.read_close() == Close.CONNECT_TIMEOUT


async def test_the_deadline_for_connect_ends_when_it_came(tmp_path: Path) -> None:
    """A slow disk behind a connect that came in time is not taken for a missing connect."""
    async with open_front(tmp_path, hold=True, connect_seconds=0.05) as front:
        runner = front.household.store.writer._runner
        assert isinstance(runner, LateRunner)
        runner.held = True
        client = await front.unknown()
        await say(client, "connect", token=TOKEN)
        await trio.testing.wait_all_tasks_blocked(0.1)
        runner.release()
        assert (await hear(client))["type"] == "session.ack"


async def test_a_disk_that_does_not_answer_ends_the_attach(tmp_path: Path) -> None:
    """When the session cannot be opened in time the link is told storage_unavailable and closed with 1013."""
    async with open_front(tmp_path, hold=True, attach_seconds=0.05) as front:
        runner = front.household.store.writer._runner
        assert isinstance(runner, LateRunner)
        runner.held = True
        client = await front.known()
        refusal = await hear(client)
        assert refusal["code"] == "storage_unavailable"
        assert refusal["retry_after_ms"] > 0
        assert await client.read_close() == Close.TRY_AGAIN
        runner.release()
        assert (await hear(await front.known()))["type"] == "session.ack"


async def test_a_bad_frame_costs_itself(tmp_path: Path) -> None:
    """After the ack a frame that cannot be read is answered by an error, and the link goes on."""
    async with open_front(tmp_path) as front:
        client = await front.known()
        await hear(client)
        for text, code in (("{", "bad_json"), ('{"type":"x","id":"q"}', "unknown_type"), ("[]", "bad_json")):
            await client.send(frame(TEXT, text.encode()))
            refusal = await hear(client)
            assert refusal["code"] == code
        await say(client, "ping")
        assert (await hear(client))["type"] == "pong"
        assert front.household.metrics.requests_refused == {"bad_json": 2, "unknown_type": 1}


async def test_one_principal_has_so_many_links(tmp_path: Path) -> None:
    """A link beyond the principal's limit is refused with queue_full and 1013, until one of its has gone."""
    async with open_front(tmp_path, links_per_principal=lambda: 2) as front:
        first, second = await front.known(), await front.unknown()
        await hear(first)
        await say(second, "connect", token=TOKEN)
        await hear(second)
        third = await front.known()
        refusal = await hear(third)
        assert (refusal["code"], await third.read_close()) == ("queue_full", Close.TRY_AGAIN)
        await third.stream.aclose()
        assert refusal["retry_after_ms"] > 0
        await goodbye(first)
        await front.until_ended(2)
        fourth = await front.known()
        assert (await hear(fourth))["type"] == "session.ack"
        await goodbye(second)
        await goodbye(fourth)
        await front.until_ended(4)
        assert front.reception.open_links == {}


async def test_a_full_house_is_told(tmp_path: Path) -> None:
    """A link that finds no place for its session hears queue_full and is closed with 1013."""
    async with open_front(tmp_path, household={"limit": 1}) as front:
        await hear(await front.known())
        second = await front.known()
        assert (await hear(second))["code"] == "queue_full"
        assert await second.read_close() == Close.TRY_AGAIN


async def test_a_link_during_the_drain_is_told(tmp_path: Path) -> None:
    """A link whose attach comes after the stop hears draining and is closed with 1001."""
    async with open_front(tmp_path) as front:
        front.household.registry.draining = True
        client = await front.known()
        assert (await hear(client))["code"] == "draining"
        assert await client.read_close() == Close.GOING_AWAY


@pytest.mark.parametrize("known", [True, False])
async def test_a_bug_while_attaching_costs_that_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """A planted bug closes the link with 1011 and reaches the wall once; the next link is served."""
    async with open_front(tmp_path) as front:
        with monkeypatch.context() as planted:
            planted.setattr("spiderwebd.session.registry.Registry._create", _break)
            if known:
                client = await front.known()
            else:
                client = await front.unknown()
                await say(client, "connect", token=TOKEN)
            assert await client.read_close() == Close.INTERNAL
        await client.stream.aclose()
        await front.until_ended(1)
        assert [where for where, _ in front.house.faults] == ["link"]
        assert (await hear(await front.known()))["type"] == "session.ack"
        assert {name: len(links) for name, links in front.reception.open_links.items()} == {"ann": 1}


async def _break(*arguments: object) -> None:
    await trio.lowlevel.checkpoint()
    raise ZeroDivisionError("planted")


async def test_a_session_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that no code can read is an error internal and close 1011, counted as the session's fault."""
    async with open_front(tmp_path) as front:
        monkeypatch.setattr("spiderwebd.session.registry.Registry._wake", _break)
        client = await front.known("?session=abc")
        assert (await hear(client))["code"] == "internal"
        assert await client.read_close() == Close.INTERNAL
        assert [where for where, _, _ in front.household.faults] == ["session"]
        assert front.house.faults == []


async def test_a_full_inbox_holds_the_link_back_then_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame waits for room in the inbox, and is refused with queue_full when none comes in time."""
    async with open_front(tmp_path, household={"inbox_limit": 1, "inbox_seconds": 0.05}) as front:
        client = await front.known()
        await hear(client)
        (session,) = front.household.registry.awake.values()
        with _stopped(session, monkeypatch):
            for number in range(3):
                await say(client, "memory.create", id=f"m{number}", content="x")
            refused = [await hear(client)]
            while len(refused) < 2 and refused[-1]["request"] != "m2":
                refused.append(await hear(client))
        assert {refusal["code"] for refusal in refused} == {"queue_full"}
        assert all(refusal["retry_after_ms"] > 0 for refusal in refused)


@contextlib.contextmanager
def _stopped(session: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep a session's loop from emptying its inbox while the block runs."""
    go = trio.Event()
    take = session._commits.take

    async def wait_first(step: object) -> bool:
        await go.wait()
        taken: bool = await take(step)
        return taken

    class Commits:
        """Stands in for the session's commits, which cannot be patched in place."""

        def __getattr__(self, name: str) -> Any:
            return wait_first if name == "take" else getattr(real, name)

    real = session._commits
    session._commits = Commits()
    session._inbox.put(lambda step: None)  # past `put`, which would handle it here and now
    yield
    go.set()
    session._commits = real


async def test_a_link_costs_few_tasks(tmp_path: Path) -> None:
    """An attached idle link keeps no more tasks than its reader, its writer and its handler."""
    async with open_front(tmp_path) as front:
        first = await front.known()
        key = (await hear(first))["sessionKey"]
        await trio.testing.wait_all_tasks_blocked(0.05)
        before = trio.lowlevel.current_statistics().tasks_living
        links = [await front.known(f"?session={key}") for _ in range(10)]
        links += [await front.unknown() for _ in range(10)]
        for client in links[10:]:
            await say(client, "connect", token=TOKEN, resume={"sessionKey": key})
        for client in links:
            await hear(client)
            await hear(client)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert trio.lowlevel.current_statistics().tasks_living - before <= 3 * len(links)


async def test_a_link_that_vanishes_while_it_attaches_leaves_nothing(tmp_path: Path) -> None:
    """A peer that goes before its session is there keeps neither a place nor the session awake."""
    async with open_front(tmp_path, hold=True) as front:
        runner = front.household.store.writer._runner
        assert isinstance(runner, LateRunner)
        runner.held = True
        client = await front.unknown()
        await say(client, "connect", token=TOKEN)
        await trio.testing.wait_all_tasks_blocked(0.05)
        await trio.aclose_forcefully(client.stream)
        await trio.testing.wait_all_tasks_blocked(0.05)
        runner.release()
        await front.until_ended(1)
        assert front.reception.open_links == {}
        assert all(session.quiet for session in front.household.registry.awake.values())


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Keep the cycle collector away: what is freed is freed because nothing holds it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("how", ["close", "vanish", "breach", "unknown"])
async def test_an_ended_link_is_freed_without_the_collector(tmp_path: Path, how: str) -> None:
    """The collector comes rarely, by design; thousands of links that were there must not wait for it."""
    async with open_front(tmp_path) as front:
        client = await (front.unknown() if how == "unknown" else front.known())
        await say(client, "ping", id="p")
        assert (await hear(client))["type"] == ("error" if how == "unknown" else "session.ack")
        if how == "close":
            await goodbye(client)
        elif how == "breach":
            await client.send(frame(TEXT, b"unmasked", masked=False))
            assert await client.read_close() == Close.PROTOCOL_ERROR
        await trio.aclose_forcefully(client.stream)
        await front.until_ended(1)
        left = [thing for thing in gc.get_objects() if isinstance(thing, (Link, Conversation))]
        assert not left, [gc.get_referrers(thing) for thing in left]
