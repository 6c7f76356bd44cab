"""Several links on one session: they see the same, and one that leaves takes nothing with it."""

from __future__ import annotations

from pathlib import Path

from tests.flows.daemon_process import DaemonProcess
from tests.flows.talking import Talker

GOAL = "/goal search for tea; remember tea is green; search for milk"


def test_both_links_see_the_same_story(tmp_path: Path) -> None:
    """What one asks for, the other sees as well, frame by frame; replies go to the asker alone."""
    with (
        DaemonProcess(tmp_path) as daemon,
        Talker(daemon.place) as one,
        Talker(daemon.place, one.key) as two,
    ):
        assert two.key == one.key
        one.say("chat.send", id="c", content="hello")
        one.until("session.receive", request="c")
        two.say("chat.send", id="g", content=GOAL)
        two.until("agent.progress", request="g", message="Primary Brain response emitted")
        one.say("agent.control", id="s", action="state")
        one.until("agent.state", request="s")
        one.up_to(two.seen)
        assert one.story == two.story
        assert [frame for frame in two.frames if frame.get("request") == "s"] == []


def test_a_link_that_leaves_cancels_nothing(tmp_path: Path) -> None:
    """The one that asked for a goal is cut; the other one resumes it and hears it to its end."""
    with DaemonProcess(tmp_path) as daemon:
        one = Talker(daemon.place)
        with Talker(daemon.place, one.key) as two:
            one.say("chat.send", id="g", content=GOAL, pauseBefore=2)
            one.until("agent.plan")
            one.cut()
            two.until("agent.state", phase="workers.paused")
            two.say("agent.control", action="resume")
            assert "All 3 tasks are complete" in two.until("session.receive", request="g")["content"]


def test_nobody_needs_to_stay(tmp_path: Path) -> None:
    """A goal whose only link was cut ends by itself, and its whole story is there for whoever comes back."""
    with DaemonProcess(tmp_path) as daemon:
        one = Talker(daemon.place)
        one.say("chat.send", id="g", content=GOAL)
        one.until("session.accepted")
        one.cut()
        with Talker(daemon.place, one.key, 0) as back:
            assert "All 3 tasks are complete" in back.until("session.receive", request="g")["content"]
            assert back.seqs == list(range(1, back.seen + 1))


def test_disconnect_closes_one_link(tmp_path: Path) -> None:
    """disconnect ends the link that said it with a normal close, and no other."""
    with DaemonProcess(tmp_path) as daemon, Talker(daemon.place) as one:
        two = Talker(daemon.place, one.key)
        two.say("disconnect")
        assert "bye" in str(two.until_closed())
        assert one.ask("ping")["type"] == "pong"
