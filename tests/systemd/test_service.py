"""The installed service as an administrator sees it: ready, clean, readable in the journal."""

from __future__ import annotations

import json
import re

from spiderwebd.log_events import EVENTS
from tests.systemd.box import Box

UNITS = ("spiderwebd.service", "spiderwebd.socket", "spiderwebd-backup.service", "spiderwebd-backup.timer")


def test_boots_to_ready_and_answers(shared: Box) -> None:
    """After installation the unit is active by its own word, and both sockets answer."""
    assert shared.property("Type") == "notify"
    assert shared.property("NRestarts") == "0"
    over_unix = json.loads(shared.client("hello").output)
    assert over_unix["ack"]["principal"] == "uid:0"
    assert [frame["type"] for frame in over_unix["frames"]] == ["session.accepted", "session.receive"]
    over_tcp = json.loads(shared.client("--tcp /var/lib/spiderwebd/token hello").output)
    assert over_tcp["ack"]["principal"] == "local"


def test_unix_socket_is_for_members_of_the_group(shared: Box) -> None:
    """Members are let in, each as themselves; others cannot even connect."""
    shared.run(
        "useradd --groups spiderwebd member-a && useradd --groups spiderwebd member-b && useradd stranger"
    )
    probe = "/usr/bin/python3 -IS /mnt/inside/client.py"
    principals = set()
    for name in ("member-a", "member-b"):
        answer = shared.run(f"runuser -u {name} -- {probe}").output
        principals.add(json.loads(answer)["ack"]["principal"])
    uids = {shared.run(f"id -u {name}").output for name in ("member-a", "member-b")}
    assert principals == {f"uid:{uid}" for uid in uids}
    refused = shared.run(f"runuser -u stranger -- {probe}", check=False)
    assert refused.code != 0
    assert "Permission denied" in refused.errors


def test_status_line_says_what_it_is_busy_with(shared: Box) -> None:
    """STATUS counts sessions and links."""
    shared.wait("systemctl show --value --property StatusText spiderwebd | grep -q 'sessions.*links'")


def test_units_are_without_fault(shared: Box) -> None:
    """`systemd-analyze verify` prints nothing, and systemd understood every key."""
    answer = shared.run(
        f"cd /usr/lib/systemd/system && systemd-analyze --man=no verify {' '.join(UNITS)} 2>&1"
    )
    assert answer.output == ""
    for unit in UNITS:
        assert shared.property("LoadState", unit) == "loaded"
        assert shared.property("NeedDaemonReload", unit) == "no"
    journal = shared.run("journalctl --boot --output=cat --no-pager").output
    assert not re.search("Unknown key|Unknown lvalue|Failed to parse|Ignoring|unknown section", journal)
    warnings = shared.run("journalctl -b -p warning -o cat --no-pager -u 'spiderwebd*'").output
    assert warnings in ("", "-- No entries --")


def test_restarts_back_off_where_systemd_can(shared: Box) -> None:
    """The generator adds the back-off on systemd 254 and later, and nothing before."""
    version = int(shared.run("systemctl --version | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p'").output)
    if version >= 254:
        assert shared.property("RestartSteps") == "6"
        assert shared.property("RestartMaxDelayUSec") == "1min"
    else:
        assert "newer-systemd" not in shared.property("DropInPaths")


def test_event_in_the_journal_has_its_fields(shared: Box) -> None:
    """An operator event carries MESSAGE_ID, priority, its own fields and those that journald vouches for."""
    entry = shared.journal("SPIDERWEB_EVENT=ready")[-1]
    assert entry["MESSAGE_ID"] == EVENTS["ready"].message_id
    assert entry["PRIORITY"] == str(EVENTS["ready"].priority)
    assert entry["SYSLOG_IDENTIFIER"] == "spiderwebd"
    assert entry["_SYSTEMD_UNIT"] == "spiderwebd.service"
    assert entry["_UID"] == shared.run("id -u spiderwebd").output
    assert "127.0.0.1:18790" in entry["SPIDERWEB_LISTEN"]
    assert "/run/spiderwebd/spiderwebd.sock" in entry["SPIDERWEB_LISTEN"]
    assert entry["CODE_FILE"].endswith(".py")
    assert int(entry["CODE_LINE"]) > 0
    assert entry["CODE_FUNC"]


def test_journal_explains_every_event(shared: Box) -> None:
    """`journalctl -x` has catalog text for each MESSAGE_ID, with the fields filled in."""
    for name, event in EVENTS.items():
        text = shared.run(f"journalctl --dump-catalog {event.message_id}").output
        assert "Defined-By: spiderwebd" in text, name
    text = shared.run("journalctl -x --no-pager SPIDERWEB_EVENT=ready").output
    assert "spiderwebd accepts clients on 127.0.0.1:18790" in text
    assert "@SPIDERWEB" not in text


def test_attaching_is_audited_without_content_or_secrets(shared: Box) -> None:
    """Who attached is in the journal; what was said, the token and the session key are not."""
    said = "the-word-that-must-stay-private"
    answer = json.loads(shared.client(f"--tcp /var/lib/spiderwebd/token {said}").output)
    key = answer["ack"]["sessionKey"]
    entries = shared.journal("SPIDERWEB_EVENT=attach", f"SPIDERWEB_SESSION={key[:6]}")
    assert entries[-1]["SPIDERWEB_PRINCIPAL"] == "local"
    assert entries[-1]["SPIDERWEB_AGENT"] == "default"
    token = shared.run("cat /var/lib/spiderwebd/token").output
    everything = json.dumps(shared.journal())
    for secret in (said, token, key):
        assert secret not in everything


def test_the_story_of_a_goal_is_told_by_its_request(shared: Box) -> None:
    """At the default level one goal reads from acceptance to end by its request, with all its fields."""
    shared.client("--id goal-of-mine '/goal remember that the-private-word; report status'")
    entries = shared.journal("SPIDERWEB_REQUEST=goal-of-mine")
    assert [entry["MESSAGE"].split(" session=")[0] for entry in entries] == [
        "a goal was accepted",
        "a task ended",
        "a task ended",
        "a goal ended",
    ]
    assert all(entry["SPIDERWEB_GOAL"] and entry["SPIDERWEB_SESSION"] for entry in entries)
    assert [entry.get("SPIDERWEB_TASK") for entry in entries] == [None, "1", "2", None]
    assert entries[0]["SPIDERWEB_AGENT"] == "default"
    assert "the-private-word" not in json.dumps(shared.journal())


def test_a_request_can_be_followed(installed: Box) -> None:
    """One request's story is found by its id at debug level, and by nobody else's."""
    installed.drop_in("spiderwebd.service", "debug", "[Service]\nEnvironment=SPIDERWEBD_LOG__LEVEL=debug\n")
    installed.run("systemctl restart spiderwebd")
    frames = json.loads(installed.client("hello again").output)["frames"]
    entries = installed.journal(f"SPIDERWEB_REQUEST={frames[0]['request']}")
    assert entries
    assert all(entry["SPIDERWEB_SESSION"] == frames[0]["sessionKey"][:6] for entry in entries)
