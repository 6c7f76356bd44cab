"""The main job on the real daemon: chat, memory, a goal with its story, and a heartbeat, over a websocket."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from tests.flows.daemon_process import DaemonProcess
from tests.flows.talking import Talker

GOAL = (
    "search memories for tea; write tea is green to notes.txt; read notes.txt; "
    "remember that tea is green; fly to the moon"
)


def test_the_main_job(tmp_path: Path) -> None:
    """What a client asks is acknowledged, answered, carried out with real effects, and told in order."""
    with DaemonProcess(
        tmp_path, {"heartbeat.interval_seconds": 0.2, "heartbeat.jitter_seconds": 0}
    ) as daemon:
        with Talker(daemon.place) as talker:
            assert talker.ask("ping", id="p")["request"] == "p"
            accepted = talker.ask("memory.create", id="m", content="Tea is stored in the blue tin")
            assert accepted == {
                "type": "session.accepted",
                "request": "m",
                "sessionKey": talker.key,
                "memoryId": 1,
                "seq": 1,
            }
            talker.say("chat.send", id="c", content="Where is the tea stored?")
            answer = talker.until("session.receive", request="c")
            assert "#1" in answer["content"]
            assert "blue tin" in answer["content"]
            talker.say("chat.send", id="g", content=f"/goal {GOAL}", pauseBefore=3)
            plan = talker.until("agent.plan")
            assert len(plan["tasks"]) == 5
            talker.until("agent.state", phase="workers.paused")
            # Paused, the session has something to say; nobody asks for it.
            beat = talker.until("agent.heartbeat")
            assert beat["suggestions"][0]["kind"] == "resume"
            talker.say("agent.control", action="resume")
            report = talker.until("session.receive", request="g")
            assert "4 of 5 complete" in report["content"]
            status = {
                frame["taskId"]: (frame["status"], frame.get("code"))
                for frame in talker.frames
                if frame["type"] == "agent.status"
            }
            assert status == {
                1: ("complete", None),
                2: ("complete", None),
                3: ("complete", None),
                4: ("complete", None),
                5: ("blocked", "no_worker"),
            }
            files = list((daemon.state_directory / "files").glob("*/notes.txt"))
            assert [file.read_text() for file in files] == ["tea is green"]
            recalled = talker.ask("memory.recall")
            while recalled["type"] != "memory.recall":
                recalled = talker.hear()
            assert "tea is green" in [item.get("content") for item in recalled["items"]]
            assert talker.seqs == list(range(1, talker.seqs[-1] + 1))
        assert daemon.terminate() == 0


def test_health_and_metrics_say_what_happened(tmp_path: Path) -> None:
    """/livez and /readyz answer, /metrics needs the token and counts links; keys and tokens are in no log."""
    with DaemonProcess(tmp_path) as daemon:
        base = f"http://{daemon.listen}"
        with Talker(daemon.place) as talker:
            talker.ask("memory.create", id="m", content="x")
            for path in ("/livez", "/readyz"):
                with urllib.request.urlopen(base + path, timeout=10) as response:
                    assert response.status == 200
            request = urllib.request.Request(
                base + "/metrics", headers={"Authorization": f"Bearer {daemon.token}"}
            )
            with urllib.request.urlopen(request, timeout=10) as response:
                text = response.read().decode()
            assert "spiderwebd_links 1.0" in text
            assert "spiderwebd_sessions_awake 1.0" in text
            key = talker.key
        assert daemon.terminate() == 0
        for secret in (key, daemon.token):
            assert secret not in daemon.stderr
            assert secret not in text
