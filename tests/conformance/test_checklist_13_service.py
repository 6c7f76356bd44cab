"""Checklist points 13 and 14 of compatibility section 12: overload, ends and kills, slow readers."""

from __future__ import annotations

import signal
from collections.abc import Callable
from time import monotonic

import pytest

from tests.conformance.conftest import SATURATED_GOAL, Start
from tests.conformance.published_schema import Frame
from tests.conformance.schema_client import DEADLINE, Link, ends_goal
from tests.conformance.stories import planned, short
from tests.flows.daemon_process import DaemonProcess

LASTING_SECONDS = 75.0
"""Section 8.4 says 30 seconds; the timer's reports double their distance, so the next comes at 32."""


def acknowledged(link: Link, wanted: int, requests: int) -> dict[int, str]:
    """Send so many memories at once; return text by MemoryID of the first `wanted` acknowledged ones."""
    texts = {f"m{number}": f"memory {number}" for number in range(requests)}
    for identity, text in texts.items():
        link.send({"type": "memory.create", "id": identity, "content": text})
    found: dict[int, str] = {}
    while len(found) < wanted:
        frame = link.receive()
        if frame["type"] == "session.accepted":
            found[frame["memoryId"]] = texts[frame["request"]]
    return found


@pytest.mark.parametrize(
    ("end", "wanted"),
    [
        (DaemonProcess.kill, 1),
        (DaemonProcess.kill, 7),
        (DaemonProcess.kill, 40),
        (DaemonProcess.terminate, 1),
        (DaemonProcess.terminate, 20),
    ],
)
def test_14_nothing_acknowledged_is_lost(
    start: Start, end: Callable[[DaemonProcess], int], wanted: int
) -> None:
    """Issue 2 and section 10 (4): ended while writing, every acknowledged memory is there, whole, once.

    The same requests sent again are done once, and the story goes on without a gap.
    """
    daemon = start()
    with Link(daemon.listen, daemon.token) as link:
        kept = acknowledged(link, wanted, 40)
        status = end(daemon)
        assert status == (-9 if end is DaemonProcess.kill else 0)
        closed = link.closed()
        assert closed.code == (1006 if end is DaemonProcess.kill else 1001)
        for frame in closed.frames:  # what was still on its way was acknowledged too
            if frame["type"] == "session.accepted":
                kept[frame["memoryId"]] = f"memory {frame['request'][1:]}"
        key, seq = link.key, link.seq
    daemon.start()
    with Link(daemon.listen, daemon.token, session=key, after=seq) as link:
        assert link.ack["seq"] >= seq
        for memory, text in kept.items():
            assert link.request("memory.load", memoryId=memory)["item"]["content"] == text
        again = {}
        for number in range(40):
            text = f"memory {number}"
            again[link.request("memory.create", id=f"m{number}", content=text)["memoryId"]] = text
        assert kept.items() <= again.items()
        listed = link.request("memory.query", kind="entry", limit=128)["items"]
        assert sorted(item["content"] for item in listed) == sorted(again.values())


@pytest.mark.parametrize("by_frame", [False, True], ids=["URL", "connect frame"])
@pytest.mark.parametrize("after", [0, 3, 8])
def test_14_resume_replays_what_was_missed_exactly(
    daemon: DaemonProcess, link: Link, after: int, by_frame: bool
) -> None:
    """Issue 2: everything after that seq comes again, once and in order, by URL and by frame."""
    told = []
    for number in range(4):
        link.send({"type": "chat.send", "content": f"chat {number}", "id": f"c{number}"})
        told += link.until(lambda frame: frame["type"] == "session.receive")
    with Link(
        daemon.listen, daemon.token, session=link.key, after=after,
        header=not by_frame, resume_by_frame=by_frame,
    ) as again:  # fmt: skip
        again.send({"type": "chat.send", "content": "one more", "id": "more"})
        frames = again.until(lambda frame: frame["type"] == "session.receive" and frame["request"] == "more")
        story = [frame for frame in frames if "seq" in frame]
        assert story[: 8 - after] == told[after:]
        assert [frame["seq"] for frame in story] == list(range(after + 1, 11))
    # The first link was attached all the while, so it has missed nothing and is sent nothing again.
    link.until(lambda frame: frame.get("seq") == 10)
    link.send({"type": "connect", "resume": {"sessionKey": link.key, "after": 0}})
    link.send({"type": "ping"})
    assert link.receive()["type"] == "pong"


def test_14_a_request_sent_again_is_done_once(daemon: DaemonProcess, link: Link) -> None:
    """Issue 2: the same id again, on any link, is answered by the same frames; another text is refused."""
    link.send({"type": "chat.send", "content": "once", "id": "same"})
    first = link.until(lambda frame: frame["type"] == "session.receive")
    with Link(daemon.listen, daemon.token, session=link.key) as other:
        for one in (link, other):
            one.send({"type": "chat.send", "content": "once", "id": "same"})
            again = one.until(lambda frame: frame["type"] == "session.receive")
            assert [frame for frame in again if "seq" in frame] == first
            assert one.request("chat.send", content="twice", id="same")["code"] == "request_conflict"
    assert len(link.request("memory.query")["items"]) == 2


def test_14_a_killed_goal_goes_on_and_ends_once(start: Start) -> None:
    """Issue 3: an accepted goal that was waiting when the daemon was killed is there and finishes."""
    daemon = start()
    with Link(daemon.listen, daemon.token) as link:
        link.request("agent.control", action="pause")
        planned(link, "write file a.txt: one; read file a.txt", "g", "workers.paused")
        key, seq = link.key, link.seq
        daemon.kill()
    daemon.start()
    with Link(daemon.listen, daemon.token, session=key, after=seq) as link:
        link.send({"type": "agent.control", "action": "resume"})
        story = link.until(lambda frame: ends_goal(frame, "g"))
        ended = [(frame["taskId"], frame["status"]) for frame in story if frame["type"] == "agent.status"]
        assert sorted(ended) == [(1, "complete"), (2, "complete")]
        assert len([frame for frame in story if frame["type"] == "session.receive"]) == 1
        assert link.state()["queuedTasks"] == 0


def test_14_sighup_reloads_and_a_bad_configuration_keeps_the_old(start: Start) -> None:
    """Section 10 (21), corrected: SIGHUP takes new settings, refuses bad ones, and drops no link."""
    daemon = start()
    configuration = daemon.folder / "empty.toml"
    with Link(daemon.listen, daemon.token) as link:
        configuration.write_text("[limits]\nmessage_bytes = 1000\n")
        daemon.send_signal(signal.SIGHUP)
        since = monotonic()
        while link.request("memory.create", content="x" * 1001).get("code") != "message_too_large":
            assert monotonic() - since < DEADLINE
        configuration.write_text("[limits]\nmessage_bytes = 'many'\n")
        daemon.send_signal(signal.SIGHUP)
        while "message_bytes" not in daemon.stderr:
            assert monotonic() - since < DEADLINE
            assert link.request("ping")["type"] == "pong"
        assert link.request("memory.create", content="x" * 1001)["code"] == "message_too_large"
        assert link.request("memory.create", content="x" * 1000)["type"] == "session.accepted"


def test_14_oversize_frames_are_closed_with_1009(daemon: DaemonProcess, link: Link) -> None:
    """Section 10 (1): one byte above the announced frame limit closes that link with 1009, no other."""
    limit = link.ack["limits"]["frameBytes"]
    with Link(daemon.listen, daemon.token) as other:
        other.send_text('{"type":"ping","id":"' + "x" * (limit - 23) + '"}')
        assert other.receive()["code"] == "bad_frame"
        other.send_text('{"type":"ping","id":"' + "x" * (limit - 22) + '"}')
        assert other.closed().code == 1009
    assert link.request("ping")["type"] == "pong"


def test_14_a_slow_reader_is_bounded_and_resumes_exactly(start: Start) -> None:
    """Section 10 (1): a link that does not read is closed with 4413; the others and its story go on."""
    daemon = start(limits__frame_bytes=65_536, limits__outbox_bytes=65_536, limits__write_seconds=2)
    with Link(daemon.listen, daemon.token) as quick:
        quick.request("agent.control", action="pause")
        slow = Link(daemon.listen, daemon.token, session=quick.key, receive_buffer=4096)
        goal = "; ".join(["list files"] * 32 + ["x" * 3700])
        for number in range(40):
            quick.send({"type": "agent.control", "goal": goal, "id": f"g{number}"})
            quick.until(lambda frame: frame.get("phase") == "workers.paused" and "seq" in frame)
            quick.request("session.reset", archive=False)
            quick.request("agent.control", action="pause")
        with slow:
            end = slow.closed()
            seen = slow.seq
        assert end.code in {4413, 1006}
        assert 0 < seen < quick.seq
        with Link(daemon.listen, daemon.token, session=quick.key, after=seen) as resumed:
            missed = resumed.until(lambda frame: frame.get("seq") == quick.seq and "request" in frame)
            story = [frame["seq"] for frame in missed if "seq" in frame]
            assert story == list(range(seen + 1, quick.seq + 1))
        assert quick.request("ping")["type"] == "pong"


def test_14_the_announced_inbox_bound_refuses_with_a_code(start: Start) -> None:
    """Section 10.2 (2): beyond the announced number of waiting goals the answer is queue_full."""
    daemon = start(limits__goals_queued=3)
    with Link(daemon.listen, daemon.token) as link:
        link.request("agent.control", action="pause")
        for number in range(link.ack["limits"]["goalsQueued"]):
            planned(link, "list files", f"g{number}", "workers.paused")
        refused = link.request("agent.control", goal="list files")
        assert (refused["code"], refused["retry_after_ms"] > 0) == ("queue_full", True)
        assert link.state()["queuedTasks"] == 3
        assert link.chat("still answered")["type"] == "session.receive"


def test_13_saturation_is_told_with_the_five_counters(saturated: Link) -> None:
    """Sections 8.3 and 8.4: more tasks than allowed are named in the plan and counted in one frame.

    On purpose: tasks beyond the limit are reported in agent.plan instead of vanishing.
    """
    story = saturated.until(lambda frame: frame.get("phase") == "workers.paused" and "seq" in frame)
    plan = next(frame for frame in story if frame["type"] == "agent.plan")
    assert [task["title"] for task in plan["tasks"]] + plan["dropped"] == SATURATED_GOAL.split("; ")
    at = [short(frame) for frame in story].index(("planner", "saturated"))
    assert short(story[at - 1]) == ("planner", "ready")
    frame = story[at]
    assert frame["message"] == "Worker queue saturation: accepted 4/6 plan tasks; 2 dropped"
    counters = [frame[name] for name in ("accepted", "total", "dropped", "queued", "active")]
    assert counters == [4, 6, 2, 4, 0]


def test_13_reconnect_frames_tell_the_backlog_or_the_last_goal(start: Start) -> None:
    """Section 8.5: after session.ack of a restored session, what waits, or the last goal."""
    daemon = start()
    with Link(daemon.listen, daemon.token) as link:
        link.request("agent.control", action="pause")
        planned(link, "list files; report status; what is left", "p", "workers.paused")
        key = link.key
    daemon.restart()
    with Link(daemon.listen, daemon.token, session=key) as link:
        told = link.receive()
        assert (told["request"], told["phase"]) == ("session-restore", "reconnect")
        assert told["status"] == "backpressure_resumed"
        backlog = "3 queued, 0 active, 0 dropped tasks from previous run."
        assert told["message"] == f"Session restored with backlog: {backlog}"
        link.send({"type": "agent.control", "action": "resume"})
        link.until(lambda frame: ends_goal(frame, "p"))
    daemon.restart()
    with Link(daemon.listen, daemon.token, session=key) as link:
        told = link.receive()
        assert told["status"] == "state_restored"
        goal = "list files; report status; what is left"
        assert told["message"] == f"Session restored from previous process state: {goal}"


def test_13_prolonged_saturation_is_told_once_while_work_waits(saturated: Link) -> None:
    """Section 8.4: told once, unasked, after 30 seconds of waiting; not by any later heartbeat."""

    def prolonged(frame: Frame) -> bool:
        return (frame["type"], frame.get("status")) == ("agent.progress", "prolonged_saturation")

    frame = saturated.until(prolonged, LASTING_SECONDS)[-1]
    lasted = int(frame["message"].removeprefix("Backpressure persisted for the last ").partition("ms")[0])
    assert lasted >= 30_000
    assert frame["message"].endswith("ms; 2 dropped tasks were deferred on prior dispatch.")
    counters = [frame[name] for name in ("accepted", "total", "dropped", "queued", "active")]
    assert counters == [4, 6, 2, 4, 0]
    saturated.until(lambda frame: frame["type"] == "agent.heartbeat")
    saturated.send({"type": "agent.heartbeat", "id": "later"})
    later = saturated.until(lambda f: f["type"] == "agent.heartbeat" and f["request"] == "later")
    assert not any(prolonged(frame) for frame in later)
    saturated.send({"type": "agent.control", "action": "resume"})
    saturated.until(lambda frame: ends_goal(frame, "saturated"))
    assert saturated.request("agent.heartbeat")["status"] == "idle"
