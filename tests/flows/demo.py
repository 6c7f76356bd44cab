"""`make demo`: the main job on the real daemon, told frame by frame and checked.

One session is chatted with, taught, given a goal, paused, cut off by SIGKILL, attached to again and
led to its end, over a real websocket with the shipped client. Nothing sleeps: every step waits for
the frame that shows it, with a deadline. Ends with a table of checks; 1 when one of them failed.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from spiderwebd.client.connection import Connection, Frame
from spiderwebd.client.errors import ClientError
from spiderwebd.client.stream import fresh_id, seq_of
from spiderwebd.client.wording import words
from tests.flows.daemon_process import COMMAND, DaemonFailed, DaemonProcess

WAIT_SECONDS = 30.0
"""For any one thing to happen."""

SETTINGS = {
    "heartbeat.interval_seconds": 0.5,
    "heartbeat.jitter_seconds": 0,
    "memory.max_entries": 8,  # small, so that the memory manager has something to do and to tell
    "log.level": "warning",
}

FACT = "The door code of the archive is 4711"
TITLES = (
    "remember that the backup runs at 02:00",
    "search memories for backup",
    "write file notes.txt: the backup runs at 02:00",
    "read file notes.txt",
    "report status",
)
IMPOSSIBLE = "fly to the moon"
LINE_CHARACTERS = 118


class DemoFailed(Exception):
    """The story cannot go on: something it waits for did not come."""


@dataclass
class Link:
    """One terminal's view of the session: every frame it was sent, in order."""

    name: str
    connection: Connection
    shown: bool = True
    """Whether its frames are printed; a replay of what was printed already is not."""
    frames: list[Frame] = field(default_factory=list)

    def ask(self, frame: Frame) -> str:
        """Send a frame and return its id."""
        request = fresh_id()
        self.connection.send({**frame, "id": request})
        return request

    def until(self, what: str, wanted: Callable[[Frame], bool]) -> Frame:
        """Print frames as they come until one is wanted. Raises DemoFailed after WAIT_SECONDS."""
        deadline = monotonic() + WAIT_SECONDS
        while True:
            left = deadline - monotonic()
            if left <= 0:  # also when other frames keep coming
                raise DemoFailed(f"{self.name} waited {WAIT_SECONDS:g} s for {what}, and it did not come")
            try:
                frame = self.connection.receive(left)
            except ClientError as error:
                raise DemoFailed(f"{self.name} waited for {what}: {error}") from error
            assert frame is not None  # only a wait that includes another descriptor returns None
            self.frames.append(frame)
            if self.shown:
                tell(self.name, frame)
            if wanted(frame):
                return frame

    def answer(self, frame: Frame, kind: str) -> Frame:
        """Ask and return the answer of this type. Raises DemoFailed when it is refused."""
        request = self.ask(frame)
        found = self.until(
            f"{kind} in answer to {frame['type']}",
            lambda each: each.get("request") == request and each["type"] in (kind, "error"),
        )
        if found["type"] == "error":
            raise DemoFailed(f"{frame['type']} was refused: {found['message']} ({found['code']})")
        return found

    def story(self) -> dict[int, Frame]:
        """The journalled frames by seq."""
        return {seq: frame for frame in self.frames if (seq := seq_of(frame)) is not None}

    def seqs(self) -> list[int]:
        """Every seq as it came, so that one that came twice is there twice."""
        return [seq for frame in self.frames if (seq := seq_of(frame)) is not None]

    def of_type(self, kind: str, request: str) -> list[Frame]:
        """The journalled frames of one type that belong to a request."""
        return [each for each in self.story().values() if each["type"] == kind and each["request"] == request]


@dataclass
class Checks:
    """What was checked, and what came of it."""

    rows: list[tuple[bool, str, str]] = field(default_factory=list)

    def that(self, holds: bool, name: str, figure: object) -> None:
        """Note one check; `figure` is what was seen, or what differed."""
        self.rows.append((holds, name, str(figure)))

    @property
    def passed(self) -> bool:
        """Whether every check holds, and there was one."""
        return bool(self.rows) and all(holds for holds, _, _ in self.rows)

    def summary(self) -> str:
        """The table, one line a check."""
        width = max((len(name) for _, name, _ in self.rows), default=0)
        lines = [
            f"{'ok    ' if holds else 'FAILED'}  {name:<{width}}  {figure}"
            for holds, name, figure in self.rows
        ]
        held = sum(holds for holds, _, _ in self.rows)
        return "\n".join([*lines, f"{held} of {len(self.rows)} checks hold"])


def tell(name: str, frame: Frame) -> None:
    """Print a frame as a line that says who got it and where it stands in the story."""
    seq = seq_of(frame)
    for line in "\n".join(words(frame)).splitlines():
        print(
            f"{name} {'' if seq is None else seq:>4} {frame['type']:<18} {line}"[:LINE_CHARACTERS], flush=True
        )


def scene(title: str) -> None:
    """Print where the story is."""
    print(f"\n-- {title}", flush=True)


class Story:
    """The job, step by step; each step checks what it shows."""

    def __init__(self, daemon: DaemonProcess, checks: Checks) -> None:
        self.daemon = daemon
        self.checks = checks
        self.key = ""
        self.accepted: dict[int, Frame] = {}
        """Everything the daemon acknowledged, by seq."""
        self.links: list[Link] = []

    def tell_all(self) -> None:
        """Run from the first start to the clean end. Raises DemoFailed, ClientError, DaemonFailed."""
        scene("the daemon starts; a session chats")
        self.daemon.start()
        one = self.attach("A", None, None)
        self.key = one.frames[0]["sessionKey"]
        self.chat_and_remember(one)
        goal = self.goal_up_to_the_pause(one)
        scene("nobody asks, and the agent speaks: a heartbeat")
        self.heartbeat(one)
        two = self.cut_off(one)
        self.nothing_is_missing(one, two)
        scene("resume: the goal goes on where it stood")
        self.finish(two, goal)
        scene("a task that no worker can do")
        self.blocked(two)
        self.end(two)

    def attach(self, name: str, key: str | None, after: int | None, *, shown: bool = True) -> Link:
        """Open a link and wait for its ack."""
        link = Link(name, Connection.open(self.daemon.place, session=key, after=after), shown)
        self.links.append(link)
        link.until("session.ack", lambda frame: frame["type"] == "session.ack")
        return link

    def acknowledged(self, frame: Frame) -> Frame:
        """Keep an acknowledgement: from now on it may not be lost."""
        self.accepted[frame["seq"]] = frame
        return frame

    def chat_and_remember(self, link: Link) -> None:
        """A chat, a memory stored and recalled, and an answer that quotes it."""
        request = link.ask({"type": "chat.send", "content": "Good morning."})
        self.acknowledged(link.until("session.accepted", lambda each: each.get("request") == request))
        reply = link.until("session.receive", _is("session.receive", request))
        self.checks.that(bool(reply["content"]), "a chat is answered", f"memory #{reply['memoryId']}")
        create: Frame = {"type": "memory.create", "content": FACT, "name": "door code"}
        stored = self.acknowledged(link.answer(create, "session.accepted"))["memoryId"]
        items = link.answer({"type": "memory.recall"}, "memory.recall")["items"]
        held = [item["content"] for item in items if item["id"] == stored]
        self.checks.that(held == [FACT], "a memory is stored and recalled", f"#{stored}: {held}")
        request = link.ask({"type": "chat.send", "content": "What is the door code of the archive?"})
        self.acknowledged(link.until("session.accepted", _is("session.accepted", request)))
        quoted = link.until("session.receive", _is("session.receive", request))["content"]
        found = "4711" in quoted and f"#{stored}" in quoted
        self.checks.that(found, "an answer quotes it", " ".join(quoted.split()))

    def goal_up_to_the_pause(self, link: Link) -> Frame:
        """Send five tasks that stop by themselves before the third."""
        scene("a goal of five tasks, paused before task 3")
        goal = f"/goal {'; '.join(TITLES)}"
        request = link.ask({"type": "chat.send", "content": goal, "pauseBefore": 3})
        accepted = self.acknowledged(link.until("session.accepted", _is("session.accepted", request)))
        paused = link.until(
            "agent.state workers.paused",
            lambda each: _is("agent.state", request)(each) and each["mode"] == "paused",
        )
        plans = link.of_type("agent.plan", request)
        titles = [task["title"] for plan in plans for task in plan["tasks"]]
        self.checks.that(titles == list(TITLES), "the plan has the five tasks", f"{len(titles)} tasks")
        done = self.task_states(link, request)
        wanted = {1: "complete", 2: "complete"}
        self.checks.that(done == wanted, "it pauses before task 3", f"task states {done}")
        self.checks.that(
            seq_of(paused) is not None and paused["queuedTasks"] == 3,
            "the pause is journalled",
            f"seq {seq_of(paused)}, {paused['queuedTasks']} queued",
        )
        return accepted

    def heartbeat(self, link: Link) -> None:
        """Wait for a heartbeat that no frame of ours asked for."""
        beat = link.until("agent.heartbeat", lambda each: each["type"] == "agent.heartbeat")
        asked = any(each["request"] == beat["request"] for each in self.accepted.values())
        kinds = [suggestion["kind"] for suggestion in beat["suggestions"]]
        self.checks.that(
            not asked and "resume" in kinds,
            "a heartbeat comes by itself",
            f"seq {beat['seq']}, suggests {kinds}",
        )

    def cut_off(self, one: Link) -> Link:
        """Let another terminal store something that the first has not seen, and kill the daemon."""
        scene("another terminal stores a memory; then SIGKILL, and a new start")
        other = self.attach("B", self.key, None)
        create: Frame = {"type": "memory.create", "content": "Acknowledged a moment before the kill"}
        last = self.acknowledged(other.answer(create, "session.accepted"))
        status = self.daemon.kill()
        self.checks.that(status == -9, "the daemon is killed with SIGKILL", f"status {status}")
        self.daemon.start()
        after = max(one.story())
        two = self.attach("A", self.key, after)
        ack = two.frames[0]
        self.checks.that(
            ack["restored"] and ack["sessionKey"] == self.key,
            "the session is there again",
            f"restored {ack['restored']}, seq {ack['seq']}",
        )
        if not ack["restored"]:
            raise DemoFailed("the daemon came back without the session")
        two.until("what was acknowledged before the kill", lambda each: seq_of(each) == last["seq"])
        came = two.seqs()
        wanted = list(range(after + 1, after + 1 + len(came)))
        self.checks.that(came == wanted, "resume gives what was missed, once", f"seq {came[0]} to {came[-1]}")
        return two

    def nothing_is_missing(self, one: Link, two: Link) -> None:
        """Replay the whole story on a link of its own and hold it against all that was seen."""
        scene("a second terminal replays the story from the beginning")
        whole = self.attach("C", self.key, 0, shown=False)
        last = max(two.story())
        whole.until(f"seq {last}", lambda each: seq_of(each) == last)
        came = whole.seqs()
        print(
            f"C    {len(came)} journalled frames, seq {came[0]} to {came[-1]}, held against the lines above"
        )
        self.checks.that(came == list(range(1, last + 1)), "the log has no gap", f"seq 1 to {last}")
        replayed = whole.story()
        lost = [seq for seq, frame in self.accepted.items() if replayed.get(seq) != frame]
        self.checks.that(
            not lost,
            "nothing acknowledged is missing",
            f"{len(self.accepted)} acknowledged, {len(lost)} lost",
        )
        seen = [*one.story().items(), *two.story().items()]
        other = [seq for seq, frame in seen if replayed.get(seq) != frame]
        self.checks.that(
            not other, "the replay is what was shown live", f"{len(seen)} frames, {len(other)} differ"
        )

    def finish(self, two: Link, goal: Frame) -> None:
        """Resume, and follow the goal to its answer."""
        request = goal["request"]
        answer = two.answer({"type": "agent.control", "action": "resume"}, "agent.state")
        self.checks.that(answer["mode"] == "running", "resume is answered", f"mode {answer['mode']}")
        end = self.goal_end(two, request)
        done = self.task_states_of_all(request)
        self.checks.that(
            done == dict.fromkeys(range(1, 6), "complete"),
            "the goal finishes, all five tasks complete",
            f"seq {end['seq']}, {list(done.values()).count('complete')} complete",
        )
        read = [each["message"] for each in two.of_type("agent.status", request) if each["taskId"] == 4]
        self.checks.that(
            any("the backup runs at 02:00" in text for text in read),
            "the file holds what was written",
            "; ".join(read),
        )
        events = [
            each for link in self.links for each in link.story().values() if each["type"] == "memory.event"
        ]
        counted = {each["seq"] for each in events}
        self.checks.that(
            bool(counted), "the memory manager tells what it does", f"{len(counted)} memory.event"
        )

    def blocked(self, two: Link) -> None:
        """Ask for what no worker can do: it must end blocked, and say so."""
        request = two.ask({"type": "chat.send", "content": f"/goal {IMPOSSIBLE}"})
        self.acknowledged(two.until("session.accepted", _is("session.accepted", request)))
        self.goal_end(two, request)
        ends = [(each["status"], each.get("code")) for each in two.of_type("agent.status", request)]
        self.checks.that(ends == [("blocked", "no_worker")], "what no worker can do ends blocked", ends)

    def end(self, two: Link) -> None:
        """See the counters at rest, no frame twice on any link, and a clean end."""
        scene("the end")
        state = two.answer({"type": "agent.control", "action": "state"}, "agent.state")
        left = (state["queuedTasks"], state["activeTasks"])
        self.checks.that(left == (0, 0), "the counters return to 0", f"queued, active: {left}")
        # What A saw on its two links is one stream to A.
        one_stream = [*self.links[0].seqs(), *two.seqs()]
        twice = len(one_stream) - len(set(one_stream))
        whole = one_stream == list(range(1, len(one_stream) + 1))
        frames = sum(len(link.frames) for link in self.links)
        self.checks.that(
            whole and not twice,
            "no frame came twice",
            f"{len(one_stream)} journalled in order, {frames} frames on {len(self.links)} links",
        )
        status = self.daemon.terminate()
        self.checks.that(status == 0, "SIGTERM ends the daemon cleanly", f"status {status}")

    def goal_end(self, link: Link, request: str) -> Frame:
        """Wait for the answer of a goal and the milestone after it; return the answer."""
        answer = link.until("session.receive", _is("session.receive", request))
        link.until(
            "execution/complete",
            lambda each: (
                _is("agent.progress", request)(each)
                and "taskId" not in each
                and (each["phase"], each["status"]) == ("execution", "complete")
            ),
        )
        return answer

    def task_states(self, link: Link, request: str) -> dict[int, str]:
        """Last told state of each task, as one link saw it."""
        return {each["taskId"]: each["status"] for each in link.of_type("agent.status", request)}

    def task_states_of_all(self, request: str) -> dict[int, str]:
        """Last told state of each task, over all links in the order they were opened."""
        states: dict[int, str] = {}
        for link in self.links:
            states.update(self.task_states(link, request))
        return states


def _is(kind: str, request: str) -> Callable[[Frame], bool]:
    return lambda frame: frame["type"] == kind and frame.get("request") == request


def main(argv: list[str] | None = None) -> int:
    """Run the demo and return 0, or 1 with what differed."""
    parser = argparse.ArgumentParser(prog="demo", description="The main job on a real daemon, checked.")
    parser.add_argument("--daemon", type=shlex.split, default=list(COMMAND), help="command that starts it")
    arguments = parser.parse_args(argv)
    checks = Checks()
    began = monotonic()
    with tempfile.TemporaryDirectory(prefix="spiderweb-demo-") as folder:
        daemon = DaemonProcess(Path(folder), SETTINGS, command=arguments.daemon)
        story = Story(daemon, checks)
        try:
            story.tell_all()
        except (DemoFailed, DaemonFailed, ClientError) as error:
            checks.that(False, "the story is told to its end", error)
        finally:
            for link in story.links:
                link.connection.close()
            daemon.close()
    print(f"\n{checks.summary()} in {monotonic() - began:.1f} s")
    return 0 if checks.passed else 1


if __name__ == "__main__":
    sys.exit(main())
