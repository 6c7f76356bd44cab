"""Who may speak to the real daemon: tokens in the head and in connect, foreign keys, agents that are none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spiderwebd.client.discovery import Place
from spiderwebd.client.errors import LinkLostError, RefusedError
from tests.flows.daemon_process import DaemonProcess
from tests.flows.talking import Talker
from tests.flows.upgraded import Upgraded


def _token(daemon: DaemonProcess, *arguments: str) -> str:
    command = [sys.executable, "-m", "spiderwebd", "token", *arguments]
    options = ["--config", str(daemon.folder / "empty.toml"), "--state-dir", str(daemon.state_directory)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def test_a_wrong_token_in_the_head_is_refused_before_the_upgrade(tmp_path: Path) -> None:
    """An Authorization header that names no token gets 401, not a websocket."""
    with DaemonProcess(tmp_path) as daemon:
        place = Place(daemon.place.address, "sw_" + "A" * 43)
        with pytest.raises(RefusedError) as refusal:
            Talker(place)
        assert refusal.value.code == "unauthorized"


def test_connect_lets_in_within_five_seconds(tmp_path: Path) -> None:
    """Without a header connect must come first: its token attaches, a wrong one is closed with 4401."""
    with DaemonProcess(tmp_path) as daemon:
        with Upgraded(daemon) as link:
            link.say({"type": "connect", "token": daemon.token})
            ack = link.hear()
            assert ack["type"] == "session.ack"
            key = ack["sessionKey"]
            link.say({"type": "memory.create", "id": "a", "content": "tea"})
            accepted = link.hear()
        with Upgraded(daemon) as link:
            link.say({"type": "connect", "token": daemon.token, "resume": {"sessionKey": key, "after": 0}})
            assert link.hear()["restored"] is True
            link.hear()
            assert link.hear() == accepted
        with Upgraded(daemon) as link:
            link.say({"type": "connect", "token": "sw_" + "A" * 43})
            assert link.hear()["code"] == "unauthorized"
            assert link.close_code() == 4401
        with Upgraded(daemon) as link:
            link.say({"type": "chat.send", "content": "let me in"})
            assert link.hear()["code"] == "unauthorized"
            assert link.close_code() == 4401


def test_silence_is_closed_in_time(tmp_path: Path) -> None:
    """A link that does not say who it is hears why and is closed with 4408."""
    with DaemonProcess(tmp_path, {"limits.connect_seconds": 0.3}) as daemon, Upgraded(daemon) as link:
        assert link.hear()["code"] == "unauthorized"
        assert link.close_code() == 4408


def test_keys_of_others_look_unknown(tmp_path: Path) -> None:
    """Another principal or agent that asks for a key gets what an invented key gets."""
    with DaemonProcess(tmp_path) as daemon:
        bob = Place(daemon.place.address, _token(daemon, "add", "bob"))
        with Talker(daemon.place) as owner:
            owner.ask("memory.create", id="a", content="the secret of ann")
            asked = {
                "foreign": Talker(bob, owner.key, 0),
                "other agent": Talker(daemon.place, owner.key, 0, agent="writer"),
                "invented": Talker(bob, "A" * 32, 0),
            }
            for talker in asked.values():
                with talker:
                    assert talker.ack["restored"] is False
                    assert talker.key not in (owner.key, "A" * 32)
                    assert (talker.ack["seq"], talker.ack["firstSeq"]) == (0, 1)
                    talker.say("memory.query", id="q", search="secret", scope="all")
                    found = talker.hear()
                    assert found["type"] == "memory.query"
                    mine = talker is asked["other agent"]
                    assert len(found["items"]) == (1 if mine else 0)
            assert owner.ask("ping")["type"] == "pong"


def test_a_revoked_token_is_refused_at_its_next_use(tmp_path: Path) -> None:
    """A token revoked beside the running daemon lets nobody in any more."""
    with DaemonProcess(tmp_path) as daemon:
        bob = Place(daemon.place.address, _token(daemon, "add", "bob"))
        with Talker(bob) as talker:
            assert talker.ack["principal"] == "bob"
        _token(daemon, "revoke", "bob")
        with pytest.raises(RefusedError):
            Talker(bob)
        assert "sw_" not in daemon.stderr.replace("sw_***", "")


def test_a_revoked_token_ends_its_links(tmp_path: Path) -> None:
    """A link that is open when its token is revoked is closed with 4403; others stay."""
    with DaemonProcess(tmp_path) as daemon:
        bob = _token(daemon, "add", "bob")
        with Talker(daemon.place) as other, Upgraded(daemon) as link:
            link.say({"type": "connect", "token": bob})
            assert link.hear()["type"] == "session.ack"
            _token(daemon, "revoke", "bob")
            assert link.close_code() == 4403
            assert other.ask("ping")["type"] == "pong"


def test_links_of_one_principal_are_counted(tmp_path: Path) -> None:
    """Beyond limits.links_per_principal a link hears queue_full and 1013; another principal is let in."""
    with DaemonProcess(tmp_path, {"limits.links_per_principal": 2}) as daemon:
        bob = Place(daemon.place.address, _token(daemon, "add", "bob"))
        with Talker(daemon.place), Talker(daemon.place):
            with Upgraded(daemon) as third:
                third.say({"type": "connect", "token": daemon.token})
                assert third.hear()["code"] == "queue_full"
                assert third.close_code() == 1013
            with Talker(bob) as other:
                assert other.ask("ping")["type"] == "pong"


def test_an_agent_id_that_is_none_is_refused(tmp_path: Path) -> None:
    """An id with other characters than those allowed never reaches a session."""
    with DaemonProcess(tmp_path) as daemon, pytest.raises((RefusedError, LinkLostError)):
        Talker(daemon.place, agent="..%2f")
