"""Tokens and session keys are in no log, error, metric or argv, whatever is sent and whatever breaks."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.flows.daemon_process import DaemonProcess
from tests.flows.raw_socket import STREAM, RawSocket
from tests.flows.scrape import metrics_text, token_added
from tests.wire.loopback import TEXT, frame, get, upgrade

WRONG = "sw_WrongWrongWrongWrongWrongWrongWrong0123456789"
LOOSE = "Zq7Loose" + "x" * 24
"""A key that was never given out."""

BUGS = """
import sys
from spiderwebd.core import turn
from spiderwebd.core.protocol import AgentList, MemoryRecall
from spiderwebd.session import lookups, registry
from spiderwebd.store import indexing
from spiderwebd.tokens import TokenFile
from spiderwebd.wire import conversation
from spiderwebd.work.research import ResearchWorker

def planted(target, name, when):
    real = getattr(target, name)
    def broken(*arguments, **more):
        secrets = when(*arguments)
        if secrets:
            raise KeyError(secrets)
        return real(*arguments, **more)
    setattr(target, name, broken)

planted(turn, "receive", lambda step, client, frame, fresh: isinstance(frame, AgentList) and step.state.key)
planted(conversation, "parse", lambda text: "boom" in text and text)
planted(ResearchWorker, "__call__", lambda *arguments: repr(arguments))
planted(TokenFile, "verify", lambda self, token: token.endswith("boom") and token)
planted(registry, "revive", lambda image, *rest: "unrevivable" in repr(image) and repr(image.session))
planted(indexing, "step", lambda connection, limit: connection.execute(
    "SELECT count(*) FROM entries WHERE content = 'end it'").fetchone()[0] and connection.execute(
    "SELECT group_concat(key) FROM sessions").fetchone()[0])
planted(indexing, "skip", lambda connection: connection.execute(
    "SELECT group_concat(key) FROM sessions").fetchone()[0])
from spiderwebd.cli import main
sys.exit(main())
"""
"""The daemon with bugs whose exceptions quote what they were given: keys, tokens, whole frames."""


class Traffic:
    """Everything that a client may do with a secret, right or wrong; `seen` is all that came back."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon
        self.other = token_added(daemon, "other")
        self.keys: list[str] = []
        self.seen: list[bytes] = []
        """What strangers were answered; whoever is let in may hear its own key, and only that."""

    def attach(self) -> RawSocket:
        """An honest link; its key is remembered."""
        link = RawSocket(self.daemon.listen)
        link.open(self.daemon.token)
        self.keys.append(str(link.until("session.ack")["sessionKey"]))
        return link

    def pour(self, data: bytes) -> None:
        """Send bytes as a stranger, and keep the answer."""
        with RawSocket(self.daemon.listen) as link:
            self.seen.append(link.pour(data))

    def run(self) -> None:
        """All of it."""
        token, secret = self.daemon.token, self.daemon.token.encode()
        with self.attach() as link:
            link.say({"type": "memory.create", "content": "unrevivable", "id": "m"})
            link.until("session.accepted")
            link.say({"type": "agent.control", "action": "goal", "goal": "search for tea", "id": "g"})
            link.until("session.receive")
            link.say({"type": "agent.list"})
            assert link.until_closed() == 1011
        with RawSocket(self.daemon.listen) as back:
            back.open(token, f"?session={self.keys[0]}&after=0")
            self.seen.append(back.socket.recv(1 << 16))  # the revival fails, and is told
        for head in (
            upgrade(STREAM, b"Authorization: Bearer " + WRONG.encode()),
            upgrade(STREAM, b"Authorization: Bearer " + secret[:-4] + b"boom"),
            upgrade(STREAM, b"Authorization: Basic " + secret),
            upgrade(STREAM, b"Authorization: Bearer " + secret + b"\xe9"),
            upgrade(STREAM, b"Authorization:" + secret, b"Host: again"),
            upgrade(STREAM, b"Cookie: token=" + secret, b"Sec-WebSocket-Protocol: \xe9" + secret),
            upgrade(f"{STREAM}?token={token}"),
            upgrade(f"{STREAM}?session={LOOSE}&after=x"),
            upgrade(f"{STREAM}?session={LOOSE}{token}&after=-1"),
            upgrade(f"{STREAM}?session={self.keys[0]}%ff&after=0"),
            upgrade(f"/v1/agents/{token}/stream"),
            upgrade(f"/v1/agents/{self.keys[0]}/stream?session={self.keys[0]}"),
            get("/metrics", b"Authorization: Bearer " + WRONG.encode()),
            get(f"/{token}?{self.keys[0]}"),
            b"GET " + secret + b"\r\n\r\n",
        ):
            self.pour(head)
        anonymous = upgrade(STREAM)
        for message in (
            f'{{"type":"connect","token":"{WRONG}"}}',
            f'{{"type":"connect","token":["{token}"]}}',
            f'{{"type":"connect","token":"{token}","protocol":99}}',
            f'{{"type":"connect","token":"{token}","resume":{{"sessionKey":7,"after":"{self.keys[0]}"}}}}',
            f'{{"type":"connect","token":"{token}","resume":{{"sessionKey":"{self.keys[0]}","after":-1}}}}',
            f'{{"type":"connect","token":"{token}"',
            f'{{"type":"nonsense","token":"{token}","sessionKey":"{self.keys[0]}"}}',
            f"boom {token}",
        ):
            self.pour(anonymous + frame(TEXT, message.encode()))
        self.pour(anonymous + frame(TEXT, secret + b"\xff"))
        self.pour(anonymous + frame(0xB, secret))
        with self.attach() as link:
            link.socket.sendall(frame(TEXT, f"boom {token} {self.keys[-1]}".encode()))
            assert link.until_closed() == 1011
        with self.attach() as link:
            link.socket.sendall(frame(TEXT, token.encode()))  # no JSON; its error is for this link alone
            self.seen.append(str(link.until("error")).encode())
            link.say({"type": "connect", "token": WRONG})
            link.say({"type": "nonsense", "token": token, "sessionKey": LOOSE})
            self.seen.append(str(link.until("error")).encode())

    def end(self) -> int:
        """Break the store's thread by a bug that quotes keys, and return the daemon's exit status."""
        with self.attach() as link:
            link.say({"type": "memory.create", "content": "end it", "id": "e"})
            return self.daemon.wait()


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_stay_where_they_belong(tmp_path: Path, form: str) -> None:
    """All kinds of traffic and errors, bugs that quote secrets, and the daemon's own end by one."""
    settings = {"log.level": "debug", "log.format": form, "heartbeat.enabled": False}
    daemon = DaemonProcess(tmp_path, settings, command=[sys.executable, "-c", BUGS])
    with daemon:
        traffic = Traffic(daemon)
        traffic.run()
        argv = Path(f"/proc/{daemon.pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{daemon.pid}/environ").read_bytes()
        numbers = metrics_text(daemon)
        status = traffic.end()
    logged = daemon.stderr
    for planted in ("session_fault", "link_fault", "work_fault"):
        assert form == "text" or planted in logged
    assert logged.count("KeyError") >= 6
    assert status == 1
    assert traffic.keys[0][:6] in logged
    secrets = [daemon.token, traffic.other, WRONG, LOOSE, *traffic.keys]
    for place, text in (
        ("the log", logged),
        ("an answer", b"\n".join(traffic.seen).decode("utf-8", "replace")),
        ("argv", argv.decode()),
        ("the environment", environment.decode()),
        ("metrics", numbers),
        (
            "a file name",
            "\n".join(name for _, *names in os.walk(tmp_path) for part in names for name in part),
        ),
    ):
        for secret in secrets:
            for piece in (secret, secret.removeprefix("sw_")[:16]):
                assert piece not in text, f"{place} has a secret: {around(text, piece)}"
    assert (daemon.state_directory / "token").stat().st_mode & 0o777 == 0o600
    assert (daemon.state_directory / "spiderwebd.db").stat().st_mode & 0o777 == 0o600
    assert daemon.token not in (daemon.state_directory / "tokens.json").read_text()


def around(text: str, piece: str) -> str:
    """The text around a find."""
    found = re.search(re.escape(piece), text)
    assert found is not None
    return text[max(0, found.start() - 300) : found.end() + 100]
