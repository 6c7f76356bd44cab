"""The desk: how far the user has seen a session, and what ends a wait."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest

from spiderwebd.client.desk import Desk, check
from spiderwebd.client.errors import DeadlineError, Exit, RefusedError
from spiderwebd.client.output import Output
from spiderwebd.client.request import Request
from tests.client.scripted_server import KEY, TOKEN, Scene, Script, ScriptedServer


class Case:
    """A desk for a scripted daemon, with options as the parser gives them."""

    def __init__(self, server: ScriptedServer, folder: Path, **options: object) -> None:
        (folder / "token").write_text(TOKEN)
        self.notes = io.StringIO()
        self.out = io.StringIO()
        defaults = {
            "agent": None, "session": None, "new": False, "json": False, "timeout": 5.0, "socket": None,
            "ca_file": None, "insecure": False, "url": server.address.url, "token_file": folder / "token",
        }  # fmt: skip
        arguments = argparse.Namespace(**{**defaults, **options})
        environment = {"XDG_STATE_HOME": str(folder / "state")}
        output = Output(as_json=False, environment=environment, out=self.out, notes=self.notes)
        self.desk = Desk(arguments, environment, output)


def answers(*seqs: int, ack: int = 0, restored: bool = False) -> Script:
    """A connection with these journalled frames before the pong."""

    def script(scene: Scene) -> None:
        scene.ack(ack, restored=restored)
        ping = scene.received()
        for seq in seqs:
            scene.event(seq)
        scene.frame(type="pong", timestamp=1, request=ping["id"])
        scene.wait_for_end()

    return script


def test_what_is_not_shown_is_not_seen(tmp_path: Path) -> None:
    """A question passes frames of others over; a later attach must still show them."""
    with ScriptedServer(answers(1), answers(2, ack=1, restored=True)) as server:
        for seen in (0, 0):
            case = Case(server, tmp_path)
            assert case.desk.ask({"type": "ping"}) is Exit.DONE
            assert case.desk.remembered.seq(KEY) == seen


def test_what_is_shown_is_seen(tmp_path: Path) -> None:
    """Frames that are printed without a hole move the mark."""

    def shows(request: Request, frame: dict[str, object]) -> bool:
        return True

    scripts = (answers(1, 2), answers(5, ack=4, restored=True))
    with ScriptedServer(*scripts) as server:
        for seen in (2, 2):  # 3 and 4 came while nobody looked: 5 does not move it
            case = Case(server, tmp_path)
            case.desk.ask({"type": "ping"}, shows=shows)
            assert case.desk.remembered.seq(KEY) == seen


def test_resuming_begins_at_the_mark(tmp_path: Path) -> None:
    """What was missed is asked for by the mark of the last look; a gap moves the mark."""

    def gap(scene: Scene) -> None:
        scene.ack(9, restored=True)
        scene.frame(type="session.gap", sessionKey=KEY, after=2, firstSeq=8, seq=9)
        scene.event(8)
        scene.wait_for_end()

    with ScriptedServer(gap) as server:
        case = Case(server, tmp_path)
        case.desk.remembered.keep(case.desk.place_name, KEY, 2)
        with case.desk.open(resume=True) as stream:
            for _ in range(2):
                frame = stream.receive(5)
                assert frame is not None
                case.desk.show(frame)
        assert server.scenes[0].target.endswith(f"session={KEY}&after=2")
        assert case.desk.remembered.seq(KEY) == 8


def test_no_answer_in_time(tmp_path: Path) -> None:
    """A question has a deadline even while other frames keep coming."""

    def chatters(scene: Scene) -> None:
        scene.ack()
        scene.received()
        for seq in range(1, 100_000):
            scene.event(seq)

    with ScriptedServer(chatters) as server, pytest.raises(DeadlineError):
        Case(server, tmp_path, timeout=0.2).desk.ask({"type": "ping"})


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """Not being able to remember is told, and is no reason to fail."""
    with ScriptedServer(answers()) as server:
        case = Case(server, tmp_path)
        (tmp_path / "state").touch()
        assert case.desk.ask({"type": "ping"}) is Exit.DONE
        assert "cannot be remembered" in case.notes.getvalue()


def test_errors_without_a_request() -> None:
    """One that announces the end of the link is left to the stream; any other is a refusal."""
    check({"type": "error", "code": "draining", "message": "Stopping."})
    check({"type": "error", "code": "bad_frame", "message": "x", "request": "r"})
    check({"type": "pong"})
    with pytest.raises(RefusedError, match="bad_json"):
        check({"type": "error", "code": "bad_json", "message": "x"})
