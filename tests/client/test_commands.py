"""Every command against a real daemon: what it prints, and how it ends."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from spiderwebd.client.errors import DeadlineError, RefusedError, UsageError
from tests.client.conftest import NewUser, User
from tests.flows.daemon_process import DaemonProcess


def test_chat_answers_from_memory(user: User) -> None:
    """What was said before is quoted; in plain form the answer is all that is printed."""
    assert user.run("memory", "create", "--name", "door", "The", "door code is 4711") == 0
    assert user.out == "accepted as memory #1\n"
    assert user.run("chat", "what is the door code?") == 0
    assert "#1" in user.out
    assert "4711" in user.out
    assert "accepted" not in user.out


def test_chat_in_json(user: User) -> None:
    """Each frame of the request is a line, with the session's key in it."""
    assert user.run("--json", "chat", "hello") == 0
    kinds = [frame["type"] for frame in user.frames]
    assert kinds[0] == "session.accepted"
    assert kinds[-1] == "session.receive"
    assert len({frame["request"] for frame in user.frames}) == 1
    assert len({frame["sessionKey"] for frame in user.frames}) == 1


def test_goal_is_followed_to_its_end(user: User) -> None:
    """Plan, tasks and answer are shown; all done is exit code 0."""
    assert user.run("goal", "remember that Ada likes tea; report status", "--json") == 0
    kinds = [frame["type"] for frame in user.frames]
    assert kinds.count("agent.plan") == 1
    assert kinds.count("agent.status") == 2
    assert kinds[-2:] == ["session.receive", "agent.progress"]
    seqs = [frame["seq"] for frame in user.frames if "seq" in frame]
    assert seqs == list(range(1, len(seqs) + 1))


def test_goal_that_nobody_can_do(user: User) -> None:
    """A blocked task is told with its code, and the exit code says not done."""
    assert user.run("goal", "fly to the moon") == 3
    assert "task 1 blocked (no_worker)" in user.out


def test_goal_detached_paused_resumed_and_attached(user: User) -> None:
    """Detached, it returns when accepted; `state` shows it paused; `resume` lets it go on."""
    assert user.run("goal", "report status; remember that it rains", "--pause-before", "1", "--detach") == 0
    assert user.out == "accepted as memory #1, goal 1\n"
    assert user.run("state", "--json") == 0
    assert user.frames[0]["mode"] == "paused"
    assert [task["status"] for task in user.frames[0]["goals"][0]["tasks"]] == ["queued", "queued"]
    assert user.run("resume") == 0
    assert user.out.startswith("workers.running")
    with pytest.raises(DeadlineError):
        user.run("attach", "--json", "--timeout", "1")
    ack, *story = [frame for frame in user.frames if frame.get("request") != "session-restore"]
    assert ack["type"] == "session.ack"
    # The accepted frame was shown by `goal --detach`; everything after it is shown now, once.
    assert [frame["seq"] for frame in story] == list(range(2, len(story) + 2))
    with pytest.raises(DeadlineError):
        user.run("attach", "--json", "--timeout", "0.2")
    assert [frame for frame in user.frames if "request" in frame and "seq" in frame] == []
    with pytest.raises(DeadlineError):
        user.run("attach", "--json", "--timeout", "0.2", "--after", "0")
    assert [frame["seq"] for frame in user.frames if "request" in frame and "seq" in frame][:2] == [1, 2]


def test_cancel_one_goal(user: User) -> None:
    """A goal can be cancelled by number; an unknown one is refused."""
    user.run("goal", "report status", "--pause-before", "1", "--detach")
    assert user.run("cancel", "--goal", "9") == 1
    assert "goal_unknown" in user.notes
    assert user.run("cancel", "--goal", "1") == 0
    assert user.run("state", "--json") == 0
    assert user.frames[0]["goals"] == []
    assert user.run("cancel") == 0
    assert user.run("goal", "report status") == 3
    assert user.run("resume") == 0


def test_pause(user: User) -> None:
    """Pause is answered by the state it leads to."""
    assert user.run("pause", "--json") == 0
    assert (user.frames[0]["type"], user.frames[0]["mode"]) == ("agent.state", "paused")


def test_memory_by_id(user: User) -> None:
    """load, update, evict and summarize each answer with the memory as it stands then."""
    user.run("memory", "create", "first text")
    user.run("memory", "create", "second text")
    assert user.run("memory", "update", "1", "revised", "text") == 0
    assert "#1 ram user: revised text" in user.out
    assert user.run("memory", "evict", "1") == 0
    assert user.run("memory", "load", "1") == 0
    assert "revised text" in user.out
    assert user.run("memory", "summarize", "2") == 0
    assert "summary of #2" in user.out
    assert user.run("memory", "load", "77") == 1
    assert "memory_unknown" in user.notes


def test_memory_query_and_recall(user: User) -> None:
    """Free text, topic, id, kind and limit all reach the daemon."""
    for text in ("apples are red", "pears are green", "plums are blue"):
        user.run("memory", "create", text)
    assert user.run("memory", "query", "pears", "--json") == 0
    assert user.frames[0]["items"][0]["content"] == "pears are green"
    assert user.run("memory", "query", "--topic", "are b", "--json") == 0
    assert [item["id"] for item in user.frames[0]["items"]] == [3]
    assert user.run("memory", "query", "--id", "1", "--id", "2", "--json", "--kind", "entry") == 0
    assert sorted(item["id"] for item in user.frames[0]["items"]) == [1, 2]
    assert user.run("memory", "recall", "--limit", "2", "--json", "--full") == 0
    assert [item["id"] for item in user.frames[0]["items"]] == [3, 2]
    assert user.run("memory", "query", "--topic", "nowhere", "--no-archived") == 0
    assert user.out == "nothing is remembered about this\n"


def test_sessions_history_and_restore(new_user: NewUser) -> None:
    """Another terminal of the same principal finds the session and goes on with it."""
    first, second = new_user(), new_user()
    first.run("chat", "a word to find again", "--json")
    key = first.frames[0]["sessionKey"]
    assert second.run("sessions", "--json") == 0
    assert key in [view["session_key"] for view in second.frames[0]["sessions"]]
    assert second.run("history", "--limit", "20", "--json") == 0
    assert key in [view["session_key"] for view in second.frames[0]["sessions"]]
    assert second.run("restore") == 0
    assert second.out.startswith(key)
    assert second.run("memory", "query", "--topic", "to find again", "--json") == 0
    assert second.frames[0]["sessionKey"] == key


def test_agents(user: User) -> None:
    """The default agent is listed and shown; an unknown one is an error."""
    assert user.run("agents", "--json") == 0
    assert "default" in [agent["id"] for agent in user.frames[0]["agents"]]
    assert user.run("agent", "default") == 0
    assert user.out.startswith("default: ")
    assert user.run("agent", "nobody") == 1
    assert "agent_unknown" in user.notes


def test_heartbeat(user: User) -> None:
    """Asked for, the agent always speaks up."""
    assert user.run("heartbeat", "--json") == 0
    assert user.frames[-1]["type"] == "agent.heartbeat"


def test_reset(user: User) -> None:
    """Working memory is empty afterwards, and the reason is told."""
    user.run("memory", "create", "soon gone from RAM")
    assert user.run("reset", "--reason", "spring cleaning", "--json") == 0
    assert (user.frames[0]["archived"], user.frames[0]["reason"]) == (True, "spring cleaning")
    assert user.run("memory", "recall", "--no-archived") == 0
    assert user.out == "nothing is remembered about this\n"
    assert user.run("reset", "--no-archive", "--json") == 0
    assert user.frames[0]["archived"] is False


def test_status(user: User, daemon: DaemonProcess) -> None:
    """Health first, then the sums of all requests, then where the session stands."""
    user.run("chat", "hello")
    assert user.run("status") == 0
    health, sent, accepted, state = user.out.splitlines()
    assert health == f"daemon ws://{daemon.listen}: alive, ready"
    assert re.fullmatch(r"requests: \d+ sent = \d+ accepted \+ \d+ answered at once \+ \d+ refused", sent)
    assert re.fullmatch(r"\d+ accepted = [1-9]\d* answered \+ 0 running \+ 0 queued .* expired", accepted)
    assert state.startswith("running: ")
    assert user.run("status", "--json") == 0
    assert user.frames[0] == {
        "type": "health",
        "address": f"ws://{daemon.listen}",
        "live": True,
        "ready": True,
        "message": "ready",
    }
    assert user.frames[1]["type"] == "accounts"
    assert (user.frames[1]["lost"], user.frames[1]["undecided"]) == (0, 0)


def test_the_same_session_until_another_is_wanted(user: User) -> None:
    """The last session is used again; --new begins another; --session goes back."""
    keys = []
    for option in ((), (), ("--new",), ()):
        user.run("chat", "hello", "--json", *option)
        keys.append(user.frames[0]["sessionKey"])
    assert keys[0] == keys[1] != keys[2] == keys[3]
    user.run("chat", "hello", "--json", "--session", keys[0])
    assert user.frames[0]["sessionKey"] == keys[0]


def test_an_unknown_session_is_refused(user: User) -> None:
    """A key that was named is not quietly replaced by a new session."""
    with pytest.raises(RefusedError, match="session_unknown"):
        user.run("state", "--session", "x" * 32)


def test_a_forgotten_session_is_replaced_with_a_note(user: User) -> None:
    """The last session is a convenience: when it is gone, the user is told and goes on."""
    user.run("chat", "hello", "--agent", "other")
    path = f"{user.environment['XDG_STATE_HOME']}/spiderweb/sessions.json"
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    place = next(iter(document["last"]))
    document["last"][place] = "gone"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)
    assert user.run("state", "--agent", "other") == 0
    assert "this is a new one" in user.notes


@pytest.mark.parametrize(
    ("frame", "status", "answer"),
    [
        ({"type": "ping", "id": "p"}, 0, "pong"),
        ({"type": "memory.recall", "limit": 1}, 0, "memory.recall"),
        ({"type": "agent.control", "action": "state"}, 0, "agent.state"),
        ({"type": "agent.control", "action": "dance"}, 1, "error"),
        ({"type": "nonsense"}, 1, "error"),
        ({"id": "no type"}, 1, "error"),
        ({"type": "chat.send", "content": "/new"}, 0, "session.new"),
    ],
)
def test_raw(user: User, frame: dict[str, Any], status: int, answer: str) -> None:
    """Any frame can be sent; its last answer ends the command."""
    assert user.run("raw", json.dumps(frame), "--json") == status
    assert user.frames[-1]["type"] == answer


@pytest.mark.parametrize("kind", ["pong", "connect", "disconnect"])
def test_raw_without_an_answer(user: User, kind: str) -> None:
    """What nothing answers ends at once, and cleanly."""
    assert user.run("raw", json.dumps({"type": kind})) == 0
    assert user.out == ""


def test_raw_connect_to_another_session_is_refused(user: User) -> None:
    """An answer to an odd frame is shown: connect may not move a link to another session."""
    frame = {"type": "connect", "resume": {"sessionKey": "other", "after": 0}}
    assert user.run("raw", json.dumps(frame)) == 1
    assert "session_unknown" in user.notes


@pytest.mark.parametrize("text", ["{", "[]", "5"])
def test_raw_needs_an_object(user: User, text: str) -> None:
    """What is no frame is not sent."""
    with pytest.raises(UsageError):
        user.run("raw", text)
