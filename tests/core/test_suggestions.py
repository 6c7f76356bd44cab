"""The heartbeat: texts and rules of compatibility 8.1, always an answer when asked, no endless repeats."""

from __future__ import annotations

from itertools import pairwise

from spiderwebd.core import suggestions
from spiderwebd.core.codes import Code
from spiderwebd.core.outcome import blocked
from spiderwebd.core.suggestions import LONGEST_PAUSE_MS, SWEEP_REQUEST, due_at, proposals
from tests.core.life import KEY, Frame, Life, told

INTERVAL = 30_000


def sweep(life: Life) -> list[Frame]:
    """Let the timer look; return what it made the session say."""
    begun = len(life.frames)
    life.do(lambda step: suggestions.beat(step, SWEEP_REQUEST, forced=False))
    return life.frames[begun:]


def test_8_1_watching() -> None:
    """Compatibility 8.1: the backlog in the original's words, then our agent.heartbeat."""
    life = Life()
    life.goal("k-2", "find a; find b; find c")
    life.now += 1500
    progress, heartbeat = life.send({"type": "agent.heartbeat", "id": "k-12"})
    assert list(progress.items())[:6] == [
        ("type", "agent.progress"),
        ("request", "k-12"),
        ("sessionKey", KEY),
        ("phase", "heartbeat"),
        ("status", "watching"),
        (
            "message",
            "Heartbeat status: 1 queued + 2 active worker tasks remain for the current goal.",
        ),
    ]
    assert heartbeat == {
        "type": "agent.heartbeat",
        "request": "k-12",
        "sessionKey": KEY,
        "sequence": 1,
        "mode": "running",
        "queuedTasks": 1,
        "activeTasks": 2,
        "oldestAgeMs": 1500,
        "suggestions": [],
        "seq": heartbeat["seq"],
    }


def test_8_1_blocked_by_a_pause() -> None:
    """Compatibility 8.1: the paused text; and the step that would change it, as a frame to send."""
    life = Life()
    life.goal("k-2", "find a; find b; find c")
    life.control("pause")
    progress, heartbeat = life.control("heartbeat")
    assert progress["status"] == "blocked"
    assert progress["message"] == (
        "Heartbeat detected 1 queued and 2 active tasks are blocked by pause state."
    )
    (suggestion,) = heartbeat["suggestions"]
    assert suggestion["kind"] == "resume"
    assert suggestion["action"] == {"type": "agent.control", "action": "resume"}
    assert life.send(suggestion["action"])[-1]["phase"] == "workers.running"


def test_12_12_a_forced_heartbeat_always_answers() -> None:
    """Compatibility 12.12: also without a goal, and in mode cancelled, where the original kept silent."""
    life = Life()
    for action in ("resume", "pause", "cancel"):
        life.control(action)
        frames = life.send({"type": "agent.heartbeat"})
        assert told(frames) == [("agent.progress", "heartbeat", "idle"), ("agent.heartbeat",)]
        assert frames[0]["message"] == "Heartbeat status: no worker tasks are queued or active."


def test_8_1_the_first_look_only_starts_the_interval() -> None:
    """Compatibility 8.1: last = 0 arms; after the interval the timer speaks without client traffic."""
    life = Life()
    life.goal("k-2", "find a")
    assert due_at(life.state) == life.now + INTERVAL
    life.now += INTERVAL - 1
    assert sweep(life) == []
    life.now += 1
    frames = sweep(life)
    assert told(frames) == [("agent.progress", "heartbeat", "watching"), ("agent.heartbeat",)]
    assert {frame["request"] for frame in frames} == {SWEEP_REQUEST}
    assert sweep(life) == []
    assert due_at(life.state) == life.now + INTERVAL


def test_8_1_a_message_lets_a_due_heartbeat_speak() -> None:
    """Compatibility 8.1 and 1.5 A: checked after each accepted message, before its answer."""
    life = Life()
    life.goal("k-2", "find a")
    life.now += INTERVAL
    frames = life.chat("k-3", "hello")
    assert told(frames) == [
        ("session.accepted",),
        ("agent.progress", "heartbeat", "watching"),
        ("agent.heartbeat",),
    ]
    assert {frame["request"] for frame in frames} == {"k-3"}


def test_a_quiet_session_costs_nothing() -> None:
    """No goal and nothing to propose: never due, and the timer says nothing."""
    life = Life()
    life.chat("k-1", "hello")
    life.answer("hi")
    assert due_at(life.state) is None
    life.now += 10 * INTERVAL
    assert sweep(life) == []


def test_a_goal_with_something_undone_is_told_once_after_it_ended() -> None:
    """The agent proposes another wording unasked, once; a forced heartbeat still shows it."""
    life = Life()
    life.goal("k-2", "frobnicate")
    life.end(1, blocked("execution: nobody can", Code.NO_WORKER))
    life.now += INTERVAL
    (heartbeat,) = sweep(life)
    (suggestion,) = heartbeat["suggestions"]
    assert suggestion == {
        "id": "rephrase-1-1",
        "kind": "rephrase",
        "title": "Reword the task 'frobnicate'",
        "reason": "execution: nobody can",
        "action": {"type": "chat.send", "content": "/goal frobnicate"},
    }
    assert due_at(life.state) is None
    life.now += INTERVAL
    assert sweep(life) == []
    assert life.control("heartbeat")[-1]["suggestions"] == [suggestion]
    life.goal("k-3", "find a")
    assert proposals(life.state) == []


def test_a_pause_nobody_heeds_is_told_less_and_less() -> None:
    """The interval doubles up to an hour while nothing changes, and is back to normal on resume."""
    life = Life(goal_ms=100 * LONGEST_PAUSE_MS)
    life.goal("k-2", "find a")
    life.control("pause")
    spoken: list[int] = []
    while len(spoken) < 12:
        due = due_at(life.state)
        assert due is not None
        life.now = due
        assert sweep(life)
        spoken.append(life.now)
    gaps = [later - earlier for earlier, later in pairwise(spoken)]
    assert gaps[:4] == [INTERVAL, 2 * INTERVAL, 4 * INTERVAL, 8 * INTERVAL]
    assert max(gaps) == LONGEST_PAUSE_MS
    life.control("resume")
    due = due_at(life.state)
    assert due is not None
    assert due <= life.now + INTERVAL


def test_a_clock_set_back_does_not_silence_the_heartbeat() -> None:
    """The administrator may set the time; the heartbeat speaks at the next look."""
    life = Life()
    life.goal("k-2", "find a")
    life.now -= 10**9
    assert told(sweep(life))[-1] == ("agent.heartbeat",)
    life.now += INTERVAL
    assert told(sweep(life))[-1] == ("agent.heartbeat",)


def test_the_timer_expires_what_waits_past_its_deadline() -> None:
    """A paused session is looked at when its goal's deadline comes, though its heartbeat is not due."""
    life = Life(goal_ms=45_000)
    life.goal("k-2", "find a")
    life.control("pause")
    life.now += INTERVAL
    sweep(life)
    assert due_at(life.state) == life.now + 15_000
    life.now += 15_000
    frames = sweep(life)
    assert ("agent.status", "1", "expired") in told(frames)
    assert ("agent.heartbeat",) not in told(frames)
    assert due_at(life.state) is None


def test_sequence_goes_on_over_resets_and_crashes() -> None:
    """Heartbeats are counted for the whole life of a session."""
    life = Life()
    assert life.control("heartbeat")[-1]["sequence"] == 1
    life.chat("k-1", "/new")
    assert life.control("heartbeat")[-1]["sequence"] == 2
    life.crash()
    assert life.control("heartbeat")[-1]["sequence"] == 3
