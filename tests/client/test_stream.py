"""A stream over several links: nothing twice, nothing left out, and an end to every wait."""

from __future__ import annotations

import pytest

from spiderwebd.client import stream as module
from spiderwebd.client.discovery import Place
from spiderwebd.client.errors import (
    ClientError,
    DeadlineError,
    LinkLostError,
    ProtocolError,
    RefusedError,
    UnreachableError,
)
from spiderwebd.client.stream import SessionStream, seq_of
from tests.client.scripted_server import KEY, PATIENCE, Scene, Script, ScriptedServer


def open_stream(place: Place, *, seconds: float = PATIENCE, notes: list[str] | None = None) -> SessionStream:
    """Make a stream that gives up soon."""
    told = notes.append if notes is not None else lambda text: None
    return SessionStream(place, "default", reconnect_seconds=seconds, tell=told)


def seqs(stream: SessionStream, count: int) -> list[int | None]:
    """Receive so many frames and return their seqs."""
    frames = [stream.receive(PATIENCE) for _ in range(count)]
    return [seq_of(frame) for frame in frames if frame is not None]


def events(
    first: int, last: int, ack: int = 0, *, restored: bool = True, end: Script = Scene.reset
) -> Script:
    """A connection that gives an ack and these events, and then ends."""

    def script(scene: Scene) -> None:
        scene.ack(ack, restored=restored)
        for seq in range(first, last + 1):
            scene.event(seq)
        end(scene)

    return script


def test_a_lost_link_is_resumed() -> None:
    """After a reset, the stream asks for what comes after the last frame it saw, and says so."""
    notes: list[str] = []
    with ScriptedServer(events(1, 3, restored=False), events(4, 5, 5, end=Scene.wait_for_end)) as server:
        with open_stream(server.place, notes=notes) as stream:
            stream.open(None)
            assert seqs(stream, 5) == [1, 2, 3, 4, 5]
            assert stream.reconnects == 1
        assert [scene.target.partition("?")[2] for scene in server.scenes] == ["", f"session={KEY}&after=3"]
    assert notes[0].startswith("lost the daemon")
    assert notes[1:] == ["reconnected"]


def test_no_frame_is_given_twice() -> None:
    """Whatever a daemon repeats, the caller sees once."""
    scripts = (events(1, 3, restored=False), events(2, 5, 5, end=Scene.wait_for_end))
    with ScriptedServer(*scripts) as server, open_stream(server.place) as stream:
        stream.open(None)
        assert seqs(stream, 5) == [1, 2, 3, 4, 5]


def test_a_missing_frame_is_asked_for() -> None:
    """A hole in seq is not passed on: the stream resumes at the hole."""

    def with_a_hole(scene: Scene) -> None:
        scene.ack()
        scene.event(1)
        scene.event(3)
        scene.wait_for_end()

    scripts = (with_a_hole, events(2, 3, 3, end=Scene.wait_for_end))
    with ScriptedServer(*scripts) as server, open_stream(server.place) as stream:
        stream.open(None)
        assert seqs(stream, 3) == [1, 2, 3]
        assert server.scenes[1].target.endswith("after=1")


@pytest.mark.parametrize(
    ("gap", "first"),
    [({"after": 2, "firstSeq": 8, "seq": 9}, 8), ({"after": 20, "firstSeq": 1, "seq": 9}, 10)],
)
def test_a_gap_that_the_daemon_tells(gap: dict[str, int], first: int) -> None:
    """Events that are no longer kept, or a database put back to an older day, are not waited for."""

    def script(scene: Scene) -> None:
        scene.ack(9, restored=True)
        scene.frame(type="session.gap", sessionKey=KEY, **gap)
        scene.event(first)
        scene.wait_for_end()

    with ScriptedServer(script) as server, open_stream(server.place) as stream:
        stream.open(KEY, gap["after"])
        told = stream.receive(PATIENCE)
        assert told is not None
        assert told["type"] == "session.gap"
        assert seqs(stream, 1) == [first]


def test_live_frames_follow_the_ack() -> None:
    """Without `after` the story goes on where the ack says it stands."""
    with (
        ScriptedServer(events(8, 9, 7, end=Scene.wait_for_end)) as server,
        open_stream(server.place) as stream,
    ):
        stream.open(KEY)
        assert stream.seq == 7
        assert seqs(stream, 2) == [8, 9]


def test_an_unanswered_request_is_sent_again() -> None:
    """With its own id, so that the daemon does it once; an answered one is not repeated."""

    def takes(scene: Scene) -> None:
        scene.ack()
        first = scene.received()
        scene.frame(type="session.accepted", request=first["id"], seq=1, memoryId=1)
        assert scene.received()["content"] == "two"
        scene.reset()

    def takes_again(scene: Scene) -> None:
        scene.ack(1, restored=True)
        again = scene.received()
        assert again["content"] == "two"
        scene.frame(type="session.accepted", request=again["id"], seq=2, memoryId=2)
        scene.wait_for_end()

    with ScriptedServer(takes, takes_again) as server, open_stream(server.place) as stream:
        stream.open(None)
        stream.send({"type": "chat.send", "content": "one"})
        stream.receive(PATIENCE)
        request = stream.send({"type": "chat.send", "content": "two", "id": "mine"})
        answer = stream.receive(PATIENCE)
        assert request == "mine"
        assert answer is not None
        assert (answer["request"], answer["seq"]) == ("mine", 2)


def test_a_draining_daemon_is_tried_again() -> None:
    """A 503 while it restarts, and nobody there for a moment, are waited out."""
    draining = b'{"code":"draining","message":"Stopping."}'
    scripts = (
        events(1, 1, end=lambda scene: scene.close(1001)),
        lambda scene: scene.refuse(503, draining),
        events(2, 2, 2, end=Scene.wait_for_end),
    )
    with ScriptedServer(*scripts) as server, open_stream(server.place) as stream:
        stream.open(None)
        assert seqs(stream, 2) == [1, 2]


def test_a_revoked_token_is_not_tried_again() -> None:
    """A refusal stays one."""
    with (
        ScriptedServer(events(1, 1), lambda scene: scene.refuse(401, b"")) as server,
        open_stream(server.place) as stream,
    ):
        stream.open(None)
        assert seqs(stream, 1) == [1]
        with pytest.raises(RefusedError, match="unauthorized"):
            stream.receive(PATIENCE)


def test_a_daemon_that_does_not_come_back() -> None:
    """It is looked for as long as was said, and then given up."""
    with ScriptedServer(events(1, 1)) as server, open_stream(server.place, seconds=0.3) as stream:
        stream.open(None)
        assert seqs(stream, 1) == [1]
        with pytest.raises(UnreachableError):
            stream.receive(PATIENCE)


def test_an_impatient_stream_does_not_reconnect() -> None:
    """A question is not asked twice behind the user's back."""
    with ScriptedServer(events(1, 1), events(2, 2)) as server:
        with open_stream(server.place, seconds=0) as stream:
            stream.open(None)
            assert seqs(stream, 1) == [1]
            with pytest.raises(LinkLostError):
                stream.receive(PATIENCE)
        assert len(server.scenes) == 1


def test_links_that_bring_nothing_are_not_opened_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that fails on every attach ends the stream."""
    monkeypatch.setattr(module, "FRUITLESS_RECONNECTS", 2)
    failing = events(1, 0, 0, end=lambda scene: scene.close(1011))
    with ScriptedServer(*[failing] * 5) as server:
        with open_stream(server.place) as stream:
            stream.open(None)
            with pytest.raises(LinkLostError, match="1011"):
                stream.receive(PATIENCE)
        assert len(server.scenes) == 3


def test_another_session_is_not_taken_for_ours() -> None:
    """A daemon that lost the session gives a new one; the stream ends instead of mixing two stories."""
    with (
        ScriptedServer(events(1, 1), lambda scene: scene.ack(0, key="n" * 32)) as server,
        open_stream(server.place) as stream,
    ):
        stream.open(None)
        assert seqs(stream, 1) == [1]
        with pytest.raises(RefusedError, match="session_unknown"):
            stream.receive(PATIENCE)


def test_an_unknown_key_gives_a_new_session() -> None:
    """On the first open the caller is told by the key; the count begins where that session stands."""
    with (
        ScriptedServer(events(1, 0, 0, end=Scene.wait_for_end)) as server,
        open_stream(server.place) as stream,
    ):
        stream.open("unknown", 55)
        assert (stream.key, stream.seq) == (KEY, 0)


def refuses(scene: Scene) -> None:
    """Accept, and have no room for the session."""
    scene.accept()
    scene.frame(type="error", code="queue_full", message="Full.", retry_after_ms=7)
    scene.wait_for_end()


def says_something_else(scene: Scene) -> None:
    """Accept, and begin with another frame."""
    scene.accept()
    scene.frame(type="pong")
    scene.wait_for_end()


@pytest.mark.parametrize(("script", "error"), [(refuses, RefusedError), (says_something_else, ProtocolError)])
def test_no_ack(script: Script, error: type[ClientError]) -> None:
    """A link that does not begin with session.ack is none."""
    with (
        ScriptedServer(script) as server,
        open_stream(server.place) as stream,
        pytest.raises(error),
    ):
        stream.open(None)


def test_a_deadline_is_no_lost_link() -> None:
    """The caller's patience ends the wait; the stream goes on."""
    with ScriptedServer(events(1, 1, end=Scene.wait_for_end)) as server, open_stream(server.place) as stream:
        stream.open(None)
        assert seqs(stream, 1) == [1]
        with pytest.raises(DeadlineError):
            stream.receive(0.05)
        assert stream.reconnects == 0


def test_a_silent_daemon_is_pinged_and_then_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that fell off the net sends no reset; a ping without answer shows it."""
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    seen: list[object] = []

    def falls_silent(scene: Scene) -> None:
        scene.ack()
        seen.append(scene.next())  # the ping, left without an answer
        scene.wait_for_end()

    with (
        ScriptedServer(falls_silent, events(1, 1, 1, end=Scene.wait_for_end)) as server,
        open_stream(server.place) as stream,
    ):
        stream.open(None)
        assert seqs(stream, 1) == [1]
        assert stream.reconnects == 1
    assert type(seen[0]).__name__ == "Ping"


def test_a_quiet_daemon_that_answers_pings_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quiet is not lost: with its pongs a link lasts over many rounds."""
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(module, "ANSWER_SECONDS", PATIENCE)

    def answers_pings(scene: Scene) -> None:
        scene.ack()
        for _ in range(3):
            ping = scene.next()
            scene.emit(ping.response())  # type: ignore[attr-defined]  # only a ping has one; others fail here
        scene.event(1)
        scene.wait_for_end()

    with ScriptedServer(answers_pings) as server, open_stream(server.place) as stream:
        stream.open(None)
        assert seqs(stream, 1) == [1]
        assert stream.reconnects == 0


def test_a_stream_that_was_not_opened() -> None:
    """Using it is a fault of the program, and said to be one."""
    with ScriptedServer() as server, pytest.raises(RuntimeError, match="call open first"):
        open_stream(server.place).receive(0)
