"""Checklist points 9 and 12 of compatibility section 12: planner, identity, workers and heartbeat."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from tests.conformance.conftest import Start
from tests.conformance.published_schema import Frame
from tests.conformance.schema_client import Link, ends_goal
from tests.conformance.stories import of_tasks
from tests.flows.daemon_process import DaemonProcess

DEFAULTS = [
    "Understand the goal and required outcome",
    "Collect key constraints and required inputs",
    "Produce an actionable result and next steps",
]
CORRECTED = {
    "v1.2 release": ["v1.2 release"],
    "visit example.com now": ["visit example.com now"],
    "ask Dr. Brown about 3.5 litres. Then rest": ["ask Dr. Brown about 3.5 litres", "Then rest"],
    "1. x": ["x"],
    "a;b;c;d;e;f;g": list("abcdefg"),
}
"""Defects of the original's planner that are not shared (section 10, 27)."""
PLANS = CORRECTED | {
    "a; b and c, d. e": ["a", "b and c, d. e"],
    "a, b and c": ["a, b", "c"],
    "sand and grit": ["sand", "grit"],
    "a AND b": ["a AND b"],
    "and b": ["and b"],
    "a and ": ["a and"],
    "Read docs, then code. Test it!": ["Read docs", "then code. Test it!"],
    "first. second! third?": ["first", "second", "third"],
    ";;;": DEFAULTS,
    ",,,": DEFAULTS,
    "...": DEFAULTS,
    "- ": DEFAULTS,
    "- a\n* b\n+ c": ["a", "b", "c"],
    "1. first\n2) second\n3 third": ["first", "second", "3 third"],
    "10. tenth; 11) eleventh": ["10. tenth", "11) eleventh"],
    "Task 1: do it; Task 2 - go": ["1: do it", "2 - go"],
    "Task force report; Tasks list": ["force report", "Tasks list"],
    "task 3: lower": ["task 3: lower"],
    "- 1. nested; * - deep": ["nested", "deep"],
    "--- x ---": ["x"],
}

PICKED_UP_SECONDS = 5.0
"""The daemon looks at an agent's files at most once a second; the rest is for a busy machine."""

PROMPTS = {
    "kim": "# Tone\nCalm.\n\n\n\nHello.\n\n\n## Rules\nBe brief.\n\n\n\n# Prefs\nUTC\n\n",
    "zed": "Hello.\n\n\n# tone\nLoud.\n\n\n## Rules\nBe brief.\n\n\n\n# Prefs\nUTC\n\n",
}


@pytest.mark.parametrize("goal", PLANS, ids=range(len(PLANS)))
def test_09_planner_table(link: Link, goal: str) -> None:
    """Section 5: agent.plan lists the table's tasks, corrected where the original broke the text."""
    link.request("agent.control", action="pause")
    link.send({"type": "chat.send", "content": f"/goal {goal}", "id": "g"})
    plan = link.until(lambda frame: frame["type"] == "agent.plan")[-1]
    assert plan["goal"] == goal.strip()
    assert [task["title"] for task in plan["tasks"]] == PLANS[goal]
    assert [task["id"] for task in plan["tasks"]] == list(range(1, len(PLANS[goal]) + 1))


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    """The agents' folder of the vector of section 4."""
    folder = tmp_path / "agents"
    (folder / "kim").mkdir(parents=True)
    (folder / "kim" / "SOUL.md").write_text("# Tone\nCalm.\n")
    (folder / "AGENT.md").write_text("Hello.\n# tone\nLoud.\n## Rules\nBe brief.\n")
    (folder / "kim" / "IDENTITY.md").write_text("Preamble two.\n#\n# Rules\nBe long.\n# Name\n")
    (folder / "USER.md").write_text("# Prefs\nUTC\n")
    return folder


def merged(agents: Path, agent: str) -> subprocess.CompletedProcess[str]:
    """What `spiderwebd identity AGENT` prints: the prompt, and on standard error its origins."""
    empty = agents.parent / "empty.toml"
    empty.touch()
    command = [sys.executable, "-m", "spiderwebd", "identity", agent, "--config", str(empty)]
    return subprocess.run(
        [*command, "--set", f"agents.directory={agents}"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip


@pytest.mark.parametrize("agent", PROMPTS)
def test_09_identity_vector(agents: Path, agent: str) -> None:
    """Section 4: the merge of the vector, byte for byte, and where each section is from."""
    printed = merged(agents, agent)
    assert printed.stdout in {PROMPTS[agent], PROMPTS[agent] + "\n"}
    assert str(agents / "AGENT.md") in printed.stderr
    assert ("kim/SOUL.md" in printed.stderr) is (agent == "kim")


def test_09_identity_fences_and_oversize_files(agents: Path) -> None:
    """Section 10 (26), corrected: a # in a code fence is no heading; an oversize file drops itself only."""
    (agents / "kim" / "SOUL.md").write_text("# Tone\n```\n# Rules\n```\nCalm.\n")
    (agents / "USER.md").write_text("# Prefs\n" + "x" * (1024 * 1024 + 1))
    printed = merged(agents, "kim")
    assert "# Tone\n```\n# Rules\n```\nCalm.\n" in printed.stdout
    assert "## Rules\nBe brief." in printed.stdout
    assert "# Prefs" not in printed.stdout
    assert "USER.md" in printed.stderr
    assert merged(agents, "nobody").returncode == 0


def test_09_changed_identity_files_are_picked_up(agents: Path, start: Start) -> None:
    """Issue 3: the digest in session.ack follows the files while the first link stays attached."""
    daemon = start(agents__directory=agents)
    with Link(daemon.listen, daemon.token, agent="kim") as first:
        listed = first.request("agent.list")["agents"]
        assert [(view["id"], view["identity_loaded"]) for view in listed] == [("kim", True)]
        with Link(daemon.listen, daemon.token, agent="kim", session=first.key) as same:
            assert same.ack["identity"] == first.ack["identity"]
        (agents / "kim" / "SOUL.md").write_text("# Tone\nStern.\n")
        since = monotonic()
        digest = first.ack["identity"]
        while digest == first.ack["identity"]:
            assert monotonic() - since < PICKED_UP_SECONDS
            with Link(daemon.listen, daemon.token, agent="kim", session=first.key) as changed:
                assert changed.key == first.key
                digest = changed.ack["identity"]
        assert first.chat("still there")["type"] == "session.receive"
        assert first.request("agent.get", agent_id="nobody")["code"] == "agent_unknown"


def test_09_workers_do_what_their_details_say(link: Link) -> None:
    """Section 6.3, corrected: details begin with the worker's kind and tell of real effects, cited."""
    # Words that no other test uses: research also searches the principal's other sessions.
    goal = (
        "remember that the zebra paddock is number 4711; search for the zebra paddock; "
        "write file notes.txt: buy milk; read file notes.txt; report status; paint the fence"
    )
    story = link.goal(goal)
    ended = {frame["taskId"]: frame for frame in story if frame["type"] == "agent.status"}
    kinds = ["execution", "research", "execution", "execution", "status", "execution"]
    assert [ended[number]["worker"] for number in range(1, 7)] == kinds
    assert [ended[number]["status"] for number in range(1, 7)] == ["complete"] * 5 + ["blocked"]
    assert all(frame["message"].startswith(frame["worker"] + ": ") for frame in ended.values())
    stored = link.request("memory.query", topic="the zebra paddock is number 4711", kind="entry")["items"]
    remembered = next(
        item for item in stored if item["role"] == "user" and item["content"].startswith("the zebra")
    )
    assert f"#{remembered['id']}" in ended[2]["message"]
    assert "4711" in ended[2]["message"]
    assert "buy milk" in ended[4]["message"]
    assert ended[6]["code"] == "no_worker"


def held(link: Link, request: str = "held") -> None:
    """Leave three tasks waiting: two that a pause holds, after one that is done."""
    link.send({
        "type": "agent.control", "goal": "list files; list files; report status; list files",
        "pauseBefore": 2, "id": request,
    })  # fmt: skip
    link.until(lambda frame: frame.get("phase") == "workers.paused" and "seq" in frame)


@pytest.mark.parametrize(
    "fields", [{"type_": "agent.heartbeat"}, {"type_": "agent.control", "action": "heartbeat"}]
)
def test_12_forced_heartbeat_always_answers(link: Link, fields: dict[str, str]) -> None:
    """Sections 8.1 and 10 (24): with and without a backlog, by frame and by action, with the texts."""

    def forced() -> tuple[Frame, Frame]:
        identity = link.next_id()
        link.send({"type": fields["type_"], "action": fields.get("action"), "id": identity})
        both = link.until(lambda frame: frame["type"] == "agent.heartbeat")
        assert {frame["request"] for frame in both} == {identity}
        progress, heartbeat = both
        assert progress["phase"] == "heartbeat"
        return progress, heartbeat

    assert forced()[0]["status"] == "idle"
    held(link)
    progress, heartbeat = forced()
    blocked = "Heartbeat detected 3 queued and 0 active tasks are blocked by pause state."
    assert (progress["status"], progress["message"]) == ("blocked", blocked)
    assert (heartbeat["queuedTasks"], heartbeat["mode"]) == (3, "paused")
    assert heartbeat["suggestions"][0]["action"] == {"type": "agent.control", "action": "resume"}
    link.send(heartbeat["suggestions"][0]["action"])
    link.until(lambda frame: ends_goal(frame, "held"))
    assert forced()[0]["status"] == "idle"
    link.goal("list files; report status")
    link.request("agent.control", action="cancel")
    assert forced()[0]["status"] == "idle"


def test_12_heartbeat_of_running_work_says_watching(daemon: DaemonProcess, link: Link) -> None:
    """Section 8.1: a forced heartbeat while tasks run counts them, in the original's words."""
    story = ["list files"] * 30
    link.send({"type": "agent.control", "goal": "; ".join(story), "id": "long"})
    link.send({"type": "agent.heartbeat", "id": "beat"})
    frames = link.until(lambda frame: frame["type"] == "agent.heartbeat")
    progress = frames[-2]
    queued, active = frames[-1]["queuedTasks"], frames[-1]["activeTasks"]
    words = f"Heartbeat status: {queued} queued + {active} active worker tasks remain for the current goal."
    assert (progress["status"], progress["message"]) == ("watching", words)
    assert 0 < queued + active <= 30
    assert len(of_tasks(frames)) // 2 <= 30 - queued - active
    link.until(lambda frame: ends_goal(frame, "long"))


def test_12_timer_delivers_without_client_traffic(start: Start) -> None:
    """Section 8.2, corrected: by itself within interval, jitter and sweep, to a link that is silent."""
    interval, jitter, sweep = 1.0, 0.5, 1.0
    daemon = start(heartbeat__interval_seconds=interval, heartbeat__jitter_seconds=jitter)
    with Link(daemon.listen, daemon.token) as link:
        held(link)
        since = monotonic()
        progress, heartbeat = (link.receive() for _ in range(2))
        # One second more than promised: the machine that runs the tests may be busy.
        assert monotonic() - since <= interval + jitter + sweep + 1
        assert (progress["request"], progress["status"]) == ("heartbeat-sweep", "blocked")
        assert (heartbeat["request"], heartbeat["type"]) == ("heartbeat-sweep", "agent.heartbeat")
        assert heartbeat["oldestAgeMs"] >= interval * 500


def test_09_a_changed_identity_is_seen_without_reconnecting(start: Start, tmp_path: Path) -> None:
    """Section 10 (26): agent.get on a link that is open tells the digest of the files as they are now."""
    folder = tmp_path / "agents" / "kim"
    folder.mkdir(parents=True)
    (folder / "SOUL.md").write_text("# Tone\nCalm.\n")
    daemon = start(agents__directory=str(folder.parent))
    with Link(daemon.listen, daemon.token, agent="kim") as link:
        before = link.request("agent.get", agent_id="kim")["agent"]["identity"]
        assert link.request("agent.get", agent_id="kim")["agent"]["identity"] == before
        (folder / "SOUL.md").write_text("# Tone\nCalm and brief.\n")
        assert link.request("agent.get", agent_id="kim")["agent"]["identity"] != before
