"""SIGKILL: nothing acknowledged is lost, no seq is missing or twice, requests are done once."""

from __future__ import annotations

from pathlib import Path

import pytest

from spiderwebd.client.errors import ClientError
from tests.flows.daemon_process import DaemonProcess
from tests.flows.talking import Frame, Talker

GOAL = "remember one; append first to log.txt; remember two; search for one; report"


@pytest.mark.parametrize("task", [1, 2, 3, 5])
def test_a_goal_survives_a_kill_in_its_middle(tmp_path: Path, task: int) -> None:
    """Killed while a goal stands before any of its tasks, the daemon goes on with it when it starts again."""
    with DaemonProcess(tmp_path) as daemon:
        first = Talker(daemon.place)
        first.say("chat.send", id="g", content=f"/goal {GOAL}", pauseBefore=task)
        first.until("agent.state", phase="workers.paused")
        daemon.kill()
        first.until_closed()
        seen = first.seen
        daemon.start()
        with Talker(daemon.place, first.key, seen) as back:
            assert back.ack["restored"] is True
            assert back.ack["seq"] >= seen
            back.say("agent.control", id="r", action="resume")
            report = back.until("session.receive", request="g")
            assert "All 5 tasks are complete" in report["content"]
            assert back.seqs == list(range(seen + 1, back.seqs[-1] + 1))
            with Talker(daemon.place, first.key, 0) as whole:
                whole.up_to(back.seen)
                assert whole.story == first.story + back.story
        files = list((daemon.state_directory / "files").glob("*/log.txt"))
        assert [file.read_text().count("first") for file in files] == [1]


def test_everything_acknowledged_is_there_after_kills_at_any_moment(tmp_path: Path) -> None:
    """Several kills under traffic: each acknowledged memory is there once, retries by id are done once."""
    acknowledged: dict[str, int] = {}
    with DaemonProcess(tmp_path) as daemon:
        talker = Talker(daemon.place)
        key, number = talker.key, 0
        story: list[Frame] = []
        for stop_after in (1, 7, 40):
            sent: list[str] = []
            for _ in range(stop_after * 2):
                sent.append(f"m{number}")
                talker.say("memory.create", id=f"m{number}", content=f"memory {number}")
                number += 1
            while sum(name in acknowledged for name in sent) < stop_after:
                frame = talker.until("session.accepted")
                acknowledged[frame["request"]] = frame["memoryId"]
            daemon.kill()
            try:
                while True:  # what the daemon wrote to the socket before it died counts too
                    frame = talker.until("session.accepted")
                    acknowledged[frame["request"]] = frame["memoryId"]
            except ClientError:
                talker.cut()
            seen = talker.seen
            story.extend(talker.story)
            daemon.start()
            talker = Talker(daemon.place, key, seen)
            for name in sent:
                talker.say("memory.create", id=name, content=f"memory {name[1:]}")
                frame = talker.until("session.accepted", request=name)
                assert acknowledged.setdefault(name, frame["memoryId"]) == frame["memoryId"]
        with Talker(daemon.place, key, 0) as whole:
            whole.up_to(talker.seen)
            assert whole.seqs == list(range(1, whole.seen + 1))
            assert all(frame in whole.story for frame in story)
            ids = [f["memoryId"] for f in whole.frames if f["type"] == "session.accepted"]
            assert len(ids) == len(set(ids)) == number
            for name, memory_id in acknowledged.items():
                whole.say("memory.load", id=f"load-{name}", memoryId=memory_id)
                loaded = whole.until("memory.load", request=f"load-{name}")
                assert loaded["item"]["content"] == f"memory {name[1:]}"
        talker.cut()


def test_an_unanswered_chat_is_answered_by_the_next_life(tmp_path: Path) -> None:
    """A chat that was accepted and not answered at the kill is answered without being asked again."""
    with DaemonProcess(tmp_path) as daemon:
        first = Talker(daemon.place)
        for number in range(30):
            first.say("chat.send", id=f"c{number}", content=f"question number {number}")
        first.until("session.accepted", request="c29")
        daemon.kill()
        first.until_closed()
        daemon.start()
        with Talker(daemon.place, first.key, 0) as back:
            back.until("session.receive", request="c29")
            answers = [frame["request"] for frame in back.frames if frame["type"] == "session.receive"]
            assert answers == [f"c{number}" for number in range(30)]
