"""Every request that comes over a link is accounted for: accepted, served or refused, exactly once."""

from __future__ import annotations

import json
from pathlib import Path

import trio
import trio.testing

from spiderwebd.core.codes import Close
from spiderwebd.metrics import Metrics
from spiderwebd.wire.framing import TEXT
from spiderwebd.wire.quotas import PrincipalRates
from tests.session.household import PATIENCE
from tests.wire.loopback import RawClient, frame
from tests.wire.test_conversation import TOKEN, goodbye, hear, open_front, say, until


def settled(numbers: Metrics) -> bool:
    """Whether no request waits to be decided: received = accepted + served + refused."""
    decided = numbers.requests_accepted + numbers.requests_served + numbers.requests_refused.total()
    assert decided <= numbers.requests_received
    return decided == numbers.requests_received


async def exchange(client: RawClient, kind: str, **fields: object) -> dict[str, object]:
    """Send one frame and return the next."""
    await say(client, kind, **fields)
    return await hear(client)


async def test_every_kind_of_request_is_counted_once(tmp_path: Path) -> None:
    """Attach, chat, repeat, conflict, query, control, load, refusal, bad frame: the sums are exact."""
    async with open_front(tmp_path) as front:
        numbers = front.household.metrics
        client = await front.known()
        key = (await hear(client))["sessionKey"]
        await say(client, "chat.send", id="a", content="hello")
        await until(client, "session.receive")
        await say(client, "chat.send", id="a", content="hello")
        await until(client, "session.receive")
        assert (await exchange(client, "chat.send", id="a", content="other"))["code"] == "request_conflict"
        await exchange(client, "memory.query", topic="hello")
        await exchange(client, "agent.get", agent_id="nobody")
        await exchange(client, "agent.control", action="state")
        await exchange(client, "agent.control", action="dance")
        await exchange(client, "memory.load", memoryId=1)
        await exchange(client, "memory.load", memoryId=77)
        await exchange(client, "memory.create", id="m", content="x")
        await exchange(client, "ping")
        await client.send(frame(TEXT, b"{"))
        await hear(client)
        second = await front.unknown()
        await exchange(second, "connect", token=TOKEN, resume={"sessionKey": key, "after": 0})
        stranger = await front.unknown()
        await exchange(stranger, "connect", token="sw_wrong")
        await stranger.read_close()
        assert settled(numbers)
        assert (numbers.requests_accepted, numbers.requests_answered) == (2, 2)
        # attach, repeat, query, state, load 1, connect
        assert numbers.requests_served == 6
        assert numbers.requests_refused == {
            "request_conflict": 1,
            "agent_unknown": 1,
            "control_unsupported": 1,
            "memory_unknown": 1,
            "bad_json": 1,
            "unauthorized": 1,
        }
        await goodbye(client)


async def test_a_link_that_goes_takes_no_number_with_it(tmp_path: Path) -> None:
    """Queries and frames of a link that vanishes are decided all the same, in any state."""
    async with open_front(tmp_path, hold=True, household={"query_limit": 2}) as front:
        numbers = front.household.metrics
        client = await front.known()
        await hear(client)
        for number in range(4):
            await say(client, "memory.query", id=f"q{number}", topic="x")
        await until(client, "error")
        await until(client, "error")
        assert not settled(numbers)
        await client.stream.aclose()
        await front.until_ended(1)
        desk = front.household.house.desk
        desk.go.set()  # type: ignore[attr-defined]  # a HeldDesk, by hold=True
        with trio.fail_after(PATIENCE):
            while not settled(numbers):
                await trio.testing.wait_all_tasks_blocked()
        assert numbers.requests_refused == {"queue_full": 2}
        assert numbers.requests_served == 3


async def test_a_principal_is_held_to_its_rates(tmp_path: Path) -> None:
    """Messages beyond the rate are refused with rate_limited, scope, limit and a delay; others are not."""
    rates = PrincipalRates(messages=0.5)
    async with open_front(tmp_path, rates=lambda: rates) as front:
        first, second = await front.known(), await front.known()
        for client in (first, second):
            await hear(client)
        taken = await exchange(first, "agent.control", id="c0", action="state")
        refused = await exchange(second, "agent.control", id="c1", action="state")
        assert taken["type"] == "agent.state"
        assert (refused["code"], refused["scope"]) == ("rate_limited", "principal")
        assert refused["limit"] == "limits.principal_frames_per_second"
        assert refused["request"] == "c1"
        assert isinstance(refused["retry_after_ms"], int)
        assert 0 < refused["retry_after_ms"] <= 2000
        assert (await exchange(first, "ping", id="p"))["code"] == "rate_limited"
        assert settled(front.household.metrics)


async def test_bytes_are_measured_in_utf_8(tmp_path: Path) -> None:
    """A principal above its bytes a second is refused, whatever script it writes in."""
    rates = PrincipalRates(message_bytes=100.0)
    async with open_front(tmp_path, rates=lambda: rates) as front:
        client = await front.known()
        await hear(client)
        text = json.dumps({"type": "ping", "id": "é" * 90}, ensure_ascii=False)
        await client.send(frame(TEXT, text.encode()))
        assert (await hear(client))["type"] == "pong"
        await client.send(frame(TEXT, text.encode()))
        refusal = await hear(client)
        assert (refusal["code"], refusal["limit"]) == ("rate_limited", "limits.principal_bytes_per_second")
        assert settled(front.household.metrics)


async def test_a_principal_that_attaches_too_often_waits(tmp_path: Path) -> None:
    """An attach beyond the rate hears rate_limited with a delay and close 1013; the counts stay right."""
    rates = PrincipalRates(attaches=0.5)
    async with open_front(tmp_path, rates=lambda: rates) as front:
        assert (await hear(await front.known()))["type"] == "session.ack"
        late = await front.known()
        refusal = await hear(late)
        assert (refusal["code"], refusal["scope"]) == ("rate_limited", "principal")
        assert refusal["limit"] == "limits.principal_attaches_per_second"
        assert 0 < refusal["retry_after_ms"] <= 2000
        assert await late.read_close() == Close.TRY_AGAIN
        await late.stream.aclose()
        await front.until_ended(1)
        assert {name: len(links) for name, links in front.reception.open_links.items()} == {"ann": 1}
        assert settled(front.household.metrics)


async def test_a_connect_that_never_came_is_a_refusal(tmp_path: Path) -> None:
    """The link that said nothing is counted as one request and one refusal."""
    async with open_front(tmp_path, connect_seconds=0.05) as front:
        client = await front.unknown()
        await hear(client)
        await client.read_close()
        assert front.household.metrics.requests_received == 1
        assert settled(front.household.metrics)
