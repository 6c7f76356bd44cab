"""Resuming on the real daemon: after a lost link, from the URL and by connect, with a log that was pruned."""

from __future__ import annotations

from pathlib import Path

from tests.flows.daemon_process import DaemonProcess
from tests.flows.talking import Talker


def test_a_lost_link_comes_back_to_where_it_stood(tmp_path: Path) -> None:
    """A link is cut while a goal runs; what was missed comes once, in order, then the rest."""
    with DaemonProcess(tmp_path) as daemon:
        lost = Talker(daemon.place)
        lost.say(
            "chat.send", id="g", content="/goal search for tea; search for milk; remember tea", pauseBefore=2
        )
        lost.until("agent.plan")
        key, seen = lost.key, lost.seen
        lost.cut()
        with Talker(daemon.place, key, seen) as back:
            assert back.ack["restored"] is True
            back.until("agent.state", phase="workers.paused")
            back.say("agent.control", action="resume")
            back.until("session.receive", request="g")
            assert back.seqs == list(range(seen + 1, back.seqs[-1] + 1))
            with Talker(daemon.place, key, 0) as whole:
                whole.up_to(back.seen)
                assert whole.story[seen:] == back.story
                assert whole.seqs == list(range(1, back.seen + 1))


def test_connect_resumes_behind_an_ack(tmp_path: Path) -> None:
    """connect {resume} on a link that is attached already fills in what came before, once."""
    with DaemonProcess(tmp_path) as daemon, Talker(daemon.place) as first:
        for number in range(5):
            first.ask("memory.create", id=f"m{number}", content=f"memory {number}")
        with Talker(daemon.place, first.key) as second:
            for _ in range(2):
                second.say("connect", resume={"sessionKey": first.key, "after": 2})
                second.up_to(5)
            second.say("connect", resume={"sessionKey": "A" * 32, "after": 0})
            assert second.until("error")["code"] == "session_unknown"
            first.ask("memory.create", id="last", content="the last")
            second.up_to(6)
            assert second.seqs == [3, 4, 5, 6]


def test_a_long_past_fits_a_small_outbox(tmp_path: Path) -> None:
    """A replay of far more than one link may have waiting does not make that link a slow one."""
    settings = {"limits.outbox_frames": 16, "limits.inbox": 16}
    with DaemonProcess(tmp_path, settings) as daemon, Talker(daemon.place) as first:
        for number in range(300):
            first.say("memory.create", id=f"m{number}", content=f"memory number {number} " + "x" * 1000)
            first.until("session.accepted", request=f"m{number}")
        with Talker(daemon.place, first.key, 0) as second:
            second.up_to(first.seen)
            assert second.seqs == list(range(1, first.seen + 1))


def test_the_same_id_is_done_once(tmp_path: Path) -> None:
    """A request sent again, on this link or on another, is answered the same and done once."""
    with DaemonProcess(tmp_path) as daemon, Talker(daemon.place) as first:
        accepted = first.ask("memory.create", id="a", content="tea")
        assert first.ask("memory.create", id="a", content="tea") == accepted
        with Talker(daemon.place, first.key) as second:
            second.hear()
            assert second.ask("memory.create", id="a", content="tea") == accepted
            assert second.ask("memory.create", id="a", content="milk")["code"] == "request_conflict"
            items = second.ask("memory.recall")["items"]
            assert [item["content"] for item in items] == ["tea"]
