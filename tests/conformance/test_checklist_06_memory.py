"""Checklist points 6, 7, 8 and 10 of compatibility section 12: what is remembered, and for how long."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import partial

import pytest

from tests.conformance.conftest import Start
from tests.conformance.published_schema import Frame
from tests.conformance.schema_client import Link
from tests.flows.daemon_process import DaemonProcess

OBEYED = {"memory_manager__interval_seconds": 3600}
"""Keeps the sweep of the memory manager out of a trace; it still runs after each turn."""


def create(link: Link, *contents: str) -> list[int]:
    """Store these memories on purpose and return their MemoryIDs."""
    return [link.request("memory.create", content=content)["memoryId"] for content in contents]


def ids(frame: Frame) -> list[int]:
    """The ids of an answer's items, in order."""
    return [item["id"] for item in frame["items"]]


def lines(frame: Frame) -> list[str]:
    """An answer's items as the golden vectors of 2.9 write them."""
    return [
        f"{item['id']}|{item['source_id']}|{item['text']}"
        if item["kind"] == "summary"
        else "|".join(
            [str(item["id"]), item["role"], item["state"], str(item["related_to"] or ""), item["content"]]
        )
        for item in frame["items"]
    ]


def ram(link: Link) -> list[str]:
    """All of working memory, oldest first, as 2.9 writes it: entries, then summaries."""
    found = link.request("memory.query", include_archived=False, limit=128)
    assert {item["source"] for item in found["items"]} <= {"ram"}
    return lines({"items": sorted(found["items"], key=lambda item: (item["kind"], item["id"]))})


def story(link: Link) -> None:
    """Ids 1 to 9: alpha summarized, bravo evicted, then charlie, delta and a later summary."""
    create(link, "alpha one", "bravo two", "charlie one")
    link.request("memory.summarize")
    link.request("memory.evict")
    create(link, "delta TWO")
    link.request("memory.summarize", memoryId=3)


def test_06_recall_is_newest_first_summaries_before_entries(link: Link) -> None:
    """Section 3.7: RAM summaries, active RAM entries, then the archive's, each newest first and once."""
    story(link)
    plain = link.request("memory.recall")
    assert ids(plain) == [8, 4, 7]
    assert [item["kind"] for item in plain["items"]] == ["summary", "summary", "entry"]
    full = link.request("memory.recall", include_full=True)
    assert ids(full)[:3] == [8, 4, 7]
    assert {item["source"] for item in full["items"][3:]} == {"ltm"}
    assert ids(full)[3:] == [9, 6, 5, 3, 2, 1]
    assert [item["state"] for item in full["items"][3:]] == ["tombstone"] * 3 + ["active"] * 3
    assert ids(link.request("memory.recall", include_full=True, include_archived=False)) == [8, 4, 7]


def test_06_query_filters_by_kind_id_and_topic(link: Link) -> None:
    """Section 3.8: query has tombstones too; kind, the union of both id fields, and a substring."""
    story(link)
    everything = link.request("memory.query", limit=128)
    assert everything["topic"] is None
    assert ids(everything) == [8, 4, 9, 7, 6, 5, 3, 2, 1]
    assert ids(link.request("memory.query", kind="summary")) == [8, 4]
    assert ids(link.request("memory.query", kind="entry")) == [9, 7, 6, 5, 3, 2, 1]
    assert ids(link.request("memory.query", kind="other")) == ids(everything)
    assert ids(link.request("memory.query", memoryId=2)) == [2]
    assert ids(link.request("memory.query", memoryId=2, memoryIds=[7, 999, 4])) == [4, 7, 2]
    assert ids(link.request("memory.query", memoryIds=[])) == ids(everything)
    assert ids(link.request("memory.query", topic="")) == ids(everything)
    found = link.request("memory.query", topic="two")
    assert (found["topic"], ids(found)) == ("two", [2])
    assert ids(link.request("memory.query", topic="TWO")) == [7]
    assert ids(link.request("memory.query", topic="nowhere")) == []
    assert ids(link.request("memory.query", topic="one", kind="entry", memoryIds=[3, 4])) == [3]


@pytest.mark.parametrize(
    ("limit", "count"),
    [(None, 25), ("many", 25), (-1, 25), (2.5, 25), (0, 128), (129, 128), (10**30, 128), (1, 1), (128, 128)],
)
def test_06_limits_are_those_of_the_original(wide: Link, limit: object, count: int) -> None:
    """Section 1.3: 25 unless a whole number is given; 0 and more than 128 are 128."""
    for type_ in ("memory.query", "memory.recall"):
        fields = {} if limit is None else {"limit": limit}
        wide.send_text(json.dumps({"type": type_, "id": "q", "include_full": True, **fields}))
        answer = wide.until(lambda frame: frame.get("request") == "q")[-1]
        assert len(answer["items"]) == count
        newest = [item["id"] for item in answer["items"] if item["source"] == "ram" and "role" in item]
        assert newest == sorted(newest, reverse=True)


@pytest.fixture(scope="module")
def wide(daemon: DaemonProcess) -> Iterator[Link]:
    """A session with 140 memories, most of them in the LTM only."""
    with Link(daemon.listen, daemon.token) as link:
        create(link, *(f"memory {number}" for number in range(140)))
        yield link


def test_06_one_item_is_listed_once_as_ram_has_it(link: Link) -> None:
    """Checklist 6, corrected: what both memories hold is listed once, also after it was brought back."""
    story(link)
    link.request("memory.load", memoryId=2)
    items = link.request("memory.query", limit=128)["items"]
    assert len({item["id"] for item in items}) == len(items)
    assert next(item["source"] for item in items if item["id"] == 2) == "ram"


def test_07_reset_empties_ram_and_keeps_key_and_archive(daemon: DaemonProcess, link: Link) -> None:
    """Sections 1.3 and 1.4: type, reason and a true archived flag; the key and the LTM stay."""
    link.request("agent.control", action="pause")
    link.send({"type": "agent.control", "goal": "list files; report status", "id": "g"})
    link.until(lambda frame: frame.get("phase") == "workers.paused" and "seq" in frame)
    create(link, "before the reset")
    frames: list[Frame] = []
    resets: list[tuple[str, Frame, bool]] = [
        ("session.reset", {"reason": "spring cleaning"}, True),
        ("session.reset", {}, False),
        ("session.new", {"archive": False}, False),
        ("chat.send", {"content": "/new"}, False),
    ]
    for type_, fields, archived in resets:
        link.send({"type": type_, "id": f"r{len(frames)}", **fields})
        frame = link.until(lambda frame: frame["type"] in {"session.reset", "session.new", "error"})[-1]
        assert (frame["request"], frame["sessionKey"]) == (f"r{len(frames)}", link.key)
        assert frame["archived"] is archived
        frames.append(frame)
    assert [frame["type"] for frame in frames] == [*["session.reset"] * 2, *["session.new"] * 2]
    reasons = ["spring cleaning", "manual-reset", "manual-reset", "slash-new"]
    assert [frame["reason"] for frame in frames] == reasons
    state = link.state()
    counters = (state["phase"], state["queuedTasks"], state["activeTasks"], state["lastGoal"])
    assert counters == ("running", 0, 0, "")
    assert ram(link) == []
    assert ids(link.request("memory.query", topic="before the reset")) == [3]
    assert create(link, "after the reset")[0] > 3


@pytest.mark.parametrize("archive", ["yes", 5, None, []])
def test_07_an_archive_flag_that_is_no_boolean_is_true(link: Link, archive: object) -> None:
    """Section 1.3: archive is true unless it is the boolean false; archive:false keeps nothing of RAM."""
    create(link, "alpha")
    link.send_text(json.dumps({"type": "session.reset", "id": "r", "archive": archive}))
    assert link.receive()["archived"] is True
    create(link, "bravo")
    assert link.request("session.reset", archive=False)["archived"] is False


def test_08_golden_vector_of_summarize_and_evict(start: Start) -> None:
    """Section 2.9, second vector: ids, order, texts and the shared counter, exactly."""
    daemon = start(memory__max_entries=8, memory__max_bytes=1024, **OBEYED)
    with Link(daemon.listen, daemon.token) as link:
        create(link, "alpha", "bravo", "charlie")
        link.request("memory.summarize")
        link.request("memory.evict")
        assert create(link, "delta") == [7]
        assert ram(link) == [
            "3|user|active||charlie",
            "5|system|tombstone|1|[summarized:1] [summary:1] alpha",
            "6|system|tombstone|2|[evicted:2] [evicted context entry]",
            "7|user|active||delta",
            "4|1|[summary:1] alpha",
        ]
        assert create(link, "echo") == [8]


def test_08_golden_vectors_of_the_budget(start: Start) -> None:
    """Section 2.9, first, third and fourth vector, scaled to the least budgets that may be configured.

    On purpose: the cap counts active entries, so one entry too many evicts one, not all of them.
    """
    daemon = start(
        memory__max_entries=4, memory__max_bytes=1024, memory_manager__entry_ratio=1,
        memory_manager__byte_ratio=1, **OBEYED,
    )  # fmt: skip
    with Link(daemon.listen, daemon.token) as link:
        create(link, "alpha", "bravo", "charlie", "delta", "echo")
        assert ram(link) == [
            "2|user|active||bravo",
            "3|user|active||charlie",
            "4|user|active||delta",
            "5|user|active||echo",
            "6|system|tombstone|1|[evicted:1] [evicted context entry]",
        ]
    with Link(daemon.listen, daemon.token) as link:
        create(link, "a" * 400, "b" * 400, "c" * 400)
        assert [line[:22] for line in ram(link)] == [
            "2|user|active||bbbbbbb",
            "3|user|active||ccccccc",
            "4|system|tombstone|1|[",
        ]
    with Link(daemon.listen, daemon.token) as link:
        create(link, "x" * 1200)
        assert ram(link) == ["2|system|tombstone|1|[evicted:1] [evicted context entry]"]
        assert link.request("memory.load", memoryId=1)["item"]["content"] == "x" * 1200


def test_08_tombstones_never_starve_active_entries(start: Start) -> None:
    """Checklist 8, corrected: after hundreds of evictions the budget is still used for what is active."""
    daemon = start(
        memory__max_entries=8, memory__max_bytes=1024, memory__max_tombstones=8,
        memory_manager__entry_ratio=1, **OBEYED,
    )  # fmt: skip
    with Link(daemon.listen, daemon.token) as link:
        given = create(link, *(f"memory number {number}" for number in range(300)))
        held = ram(link)
        assert sum("|active|" in line for line in held) == 8
        assert sum("|tombstone|" in line for line in held) <= 8
        assert given == sorted(set(given))
        for number in random.Random(8).sample(range(300), 60):
            item = link.request("memory.load", memoryId=given[number])["item"]
            assert item["content"] == f"memory number {number}"
        assert sum("|active|" in line for line in ram(link)) == 8


def test_10_memory_manager_first_summarizes_at_the_49th_active_entry(start: Start) -> None:
    """Section 7: with the default budget nothing happens at 48 active entries, and one goes at the 49th."""
    daemon = start(**OBEYED)
    with Link(daemon.listen, daemon.token) as link:
        create(link, *(f"memory {number}" for number in range(48)))
        assert len(ram(link)) == 48
        seq = link.seq
        assert seq == 48
        create(link, "the 49th")
        event = link.until(lambda frame: frame["type"] == "memory.event")[-1]
        assert [event[name] for name in ("event", "status", "count", "memoryIds")] == [
            "summarize", "snapshot", 1, [1],
        ]  # fmt: skip
        assert event["message"] == "summarized 1 stale RAM entries and persisted snapshot"
        assert sum("|active|" in line for line in ram(link)) == 48
        # As in the original, one goes after a user's message; on purpose, one more after the reply.
        link.send({"type": "chat.send", "id": "turn", "content": "hello"})
        frames = [*link.until(lambda frame: frame["type"] == "session.receive"), link.receive()]
        events = [frame for frame in frames if frame["type"] == "memory.event"]
        assert [(event["count"], event["memoryIds"]) for event in events] == [(1, [2]), (1, [3])]
        assert frames[-1] is events[-1]
        # A goal brings two entries, its text and its plan, and two is the most for one tick.
        link.send({"type": "agent.control", "goal": "list files", "id": "goal"})
        event = link.until(lambda frame: frame["type"] == "memory.event")[-1]
        assert (event["count"], event["memoryIds"]) == (2, [4, 5])
        assert event["message"] == "summarized 2 stale RAM entries and persisted snapshot"


def ends_chat(request: str, frame: Frame) -> bool:
    """Whether this frame is the reply to that chat."""
    return bool(frame["type"] == "session.receive" and frame["request"] == request)


def converse(daemon: DaemonProcess, turns: int, least: int) -> None:
    """Chat for so many turns; then every turn must be recalled whole, and RAM hold `least` entries.

    Raises AssertionError as soon as working memory after a turn holds less.
    """
    said: dict[int, str] = {}
    chance = random.Random(turns)
    with Link(daemon.listen, daemon.token) as link:
        for turn in range(1, turns + 1):
            content = f"turn {turn}: " + "".join(chance.choices('abc é€\U0001f578\0"\\\n', k=40))
            identity = link.next_id()
            link.send({"type": "chat.send", "id": identity, "content": content})
            frames = link.until(partial(ends_chat, identity))
            for frame in frames:
                if frame["type"] == "session.accepted":
                    said[frame["memoryId"]] = content
            said[frames[-1]["memoryId"]] = frames[-1]["content"]
            if turn % 33 == 0 or turn == turns:
                # recall passes tombstones over, so that all of RAM fits into one answer.
                held = link.request("memory.recall", include_archived=False, limit=128)["items"]
                active = sum(item["kind"] == "entry" for item in held)
                assert active >= least, (turn, active)
        assert len(said) == 2 * turns
        key = link.key
    daemon.restart()
    with Link(daemon.listen, daemon.token, session=key) as link:
        for memory, content in said.items():
            assert link.request("memory.load", memoryId=memory)["item"]["content"] == content


def test_10_every_turn_is_recalled_whole_after_hundreds(start: Start) -> None:
    """Checklist 10: far past the budget RAM stays full, and every turn is there, byte-equal, after a kill."""
    converse(start(memory__max_entries=12, memory__max_bytes=2048), turns=200, least=6)


@pytest.mark.long
def test_10_every_turn_is_recalled_whole_after_three_thousand(start: Start) -> None:
    """Checklist 10: the same after 3,300 turns with the default budget."""
    converse(start(), turns=3_300, least=40)
