"""Reload, restart, failure and death of the service, as systemd and the clients see them."""

from __future__ import annotations

import json
from subprocess import Popen
from typing import Any

import pytest

from spiderwebd.log_events import EVENTS
from spiderwebd.store.schema import steps
from tests.systemd.box import INSIDE_MOUNT, Box
from tests.wire.certificate import CERTIFICATE, KEY

PYTHON = "/usr/bin/python3 -IS"
STUCK = f"[Service]\nExecStart=\nExecStart={PYTHON} {INSIDE_MOUNT}/stuck.py\n"
BAD = "[limits]\nlinsk = 5\n"
BAD_FILE = "/etc/spiderwebd/conf.d/50-test.toml"


def start(box: Box, program: str) -> Popen[str]:
    """Start one of inside/ and wait for its first line: it runs."""
    process = box.start(f"{PYTHON} {INSIDE_MOUNT}/{program}")
    assert process.stdout is not None
    assert process.stdout.readline(), f"{program} did not start"
    return process


def report(process: Popen[str]) -> dict[str, Any]:
    """Tell a program of inside/ to end, and return what it reports."""
    output, _ = process.communicate(timeout=120)
    answer: dict[str, Any] = json.loads(output)
    return answer


def assert_nobody_noticed(load: Popen[str], attached: Popen[str], reconnects: int) -> None:
    """All clients of the load were let in; the attached one lost nothing and saw nothing twice."""
    outcomes = report(load)["outcomes"]
    story = report(attached)
    assert set(outcomes) == {"served"}, outcomes
    assert outcomes["served"] > 20
    assert story["faults"] == []
    assert story["reconnects"] >= reconnects


def change_database(box: Box, script: str) -> None:
    """Run SQL in the daemon's database, as the administrator."""
    box.write(
        "/tmp/change.py",
        f"import sqlite3\nsqlite3.connect('/var/lib/spiderwebd/spiderwebd.db').executescript({script!r})\n",
    )
    box.run(f"{PYTHON} /tmp/change.py")


def test_reload_takes_a_good_configuration_over(installed: Box) -> None:
    """After `systemctl reload` the new level holds, in the same process."""
    process = installed.property("MainPID")
    installed.write(BAD_FILE, '[log]\nlevel = "debug"\n')
    installed.run("systemctl reload spiderwebd")
    installed.wait_for_event("reloaded")
    assert installed.property("MainPID") == process
    assert installed.property("ActiveState") == "active"
    installed.client("hello")
    assert [
        entry for entry in installed.journal("_SYSTEMD_UNIT=spiderwebd.service") if entry["PRIORITY"] == "7"
    ]


def test_reload_of_a_bad_configuration_is_refused(installed: Box) -> None:
    """`systemctl reload` fails, names file, line and key, and the daemon serves on as it was."""
    process = installed.property("MainPID")
    installed.write(BAD_FILE, BAD)
    assert installed.run("systemctl reload spiderwebd", check=False).code != 0
    lines = [entry["MESSAGE"] for entry in installed.journal("_SYSTEMD_UNIT=spiderwebd.service")]
    assert any(f"{BAD_FILE}:2" in line and "limits.linsk" in line for line in lines)
    assert installed.property("MainPID") == process
    assert json.loads(installed.client("hello").output)["ack"]


def test_signal_with_a_bad_configuration_is_refused_by_the_daemon(installed: Box) -> None:
    """A bare SIGHUP past the check leaves the old configuration, with an event and a status line."""
    installed.write(BAD_FILE, BAD)
    installed.run("systemctl kill --signal=HUP --kill-who=main spiderwebd")
    installed.wait_for_event("reload_refused")
    entry = installed.journal("SPIDERWEB_EVENT=reload_refused")[-1]
    assert entry["PRIORITY"] == "3"
    assert f"{BAD_FILE}:2" in entry["SPIDERWEB_REASON"]
    assert "refused" in installed.property("StatusText")
    assert json.loads(installed.client("hello").output)["ack"]


def test_bad_configuration_stays_down_with_one_clear_line(installed: Box) -> None:
    """Exit 78 is not restarted; one event names file and key; a repaired file and a start bring it back."""
    installed.write(BAD_FILE, BAD)
    assert installed.run("systemctl restart spiderwebd", check=False).code != 0
    installed.wait("systemctl --quiet is-failed spiderwebd")
    assert installed.property("ExecMainStatus") == "78"
    assert installed.property("NRestarts") == "0"
    assert installed.property("ActiveState", "spiderwebd.socket") == "active"
    (entry,) = installed.journal(f"MESSAGE_ID={EVENTS['configuration_invalid'].message_id}")
    assert entry["PRIORITY"] == "3"
    assert BAD_FILE in entry["MESSAGE"]
    assert "limits.linsk" in entry["MESSAGE"]
    assert f"the configuration is refused: {BAD_FILE}:2" in installed.property("StatusText")
    installed.run(f"rm {BAD_FILE} && systemctl restart spiderwebd")
    assert json.loads(installed.client("hello").output)["ack"]


def test_waiting_client_does_not_make_a_bad_configuration_loop_for_ever(installed: Box) -> None:
    """With clients at the socket the refused start is tried a few times, then the socket gives up too."""
    installed.write(BAD_FILE, BAD)
    installed.run("systemctl restart spiderwebd", check=False)
    installed.start(f"sh -c 'while :; do {PYTHON} {INSIDE_MOUNT}/client.py hello; sleep 0.1; done'")
    installed.wait("systemctl --quiet is-failed spiderwebd.socket", seconds=300)
    # A person takes longer than the limit's interval.
    failed = "$(systemctl show -P StateChangeTimestampMonotonic spiderwebd.socket)"
    installed.wait(f"[ $(cut -d. -f1 /proc/uptime) -ge $(( {failed} / 1000000 + 62 )) ]", seconds=120)
    installed.run(f"rm {BAD_FILE} && systemctl restart spiderwebd")
    assert json.loads(installed.client("hello").output)["ack"]


def test_database_in_use_by_another_process_is_tried_again(installed: Box) -> None:
    """Exit 75: one event says what to do, systemd tries again, and it serves when the other ends."""
    installed.run("systemctl stop spiderwebd.service")
    ready, database = "/tmp/other-is-ready", "/var/lib/spiderwebd/spiderwebd.db"
    installed.run(
        "systemd-run --unit other --property User=spiderwebd --quiet sh -c "
        f"'exec spiderwebd run --listen 127.0.0.1:0 --ready-json > {ready}'"
    )
    installed.wait(f"test -s {ready}")
    assert installed.run("systemctl start spiderwebd", check=False).code != 0
    installed.wait('[ "$(systemctl show -P NRestarts spiderwebd)" -ge 2 ]')
    assert installed.property("ActiveState", "spiderwebd.socket") == "active"
    ours = [
        entry
        for entry in installed.journal("SPIDERWEB_EVENT=failed")
        if entry["_SYSTEMD_UNIT"] == "spiderwebd.service"
    ]
    assert len(ours) >= 2
    for entry in ours:
        assert entry["PRIORITY"] == "2"
        assert entry["SPIDERWEB_STATUS"] == "75"
        for part in (database, "in use by another spiderwebd", "stop that one first"):
            assert part in entry["SPIDERWEB_REASON"]
    ended = installed.journal("UNIT=spiderwebd.service", "EXIT_STATUS=75")
    assert {entry["EXIT_CODE"] for entry in ended} == {"exited"}
    installed.run("systemctl stop other")
    installed.wait("systemctl --quiet is-active spiderwebd.service")
    assert json.loads(installed.client("hello").output)["ack"]


def test_database_of_a_newer_version_stays_down_untouched(installed: Box) -> None:
    """Exit 78: one event names both versions and what to do; once a database it knows is back, it serves."""
    known = len(steps())
    installed.run("systemctl stop spiderwebd.service")
    change_database(installed, f"CREATE TABLE of_the_future (a); PRAGMA user_version = {known + 1}")
    before = installed.run("sha256sum /var/lib/spiderwebd/spiderwebd.db").output
    assert installed.run("systemctl start spiderwebd", check=False).code != 0
    installed.wait("systemctl --quiet is-failed spiderwebd")
    assert installed.property("ExecMainStatus") == "78"
    assert installed.property("Result") == "exit-code"
    # It would have been started again by now: RestartSec= is half a second.
    ended = "$(systemctl show -P InactiveEnterTimestampMonotonic spiderwebd)"
    installed.wait(f"[ $(cut -d. -f1 /proc/uptime) -ge $(( {ended} / 1000000 + 3 )) ]")
    assert installed.property("ActiveState") == "failed"
    assert installed.property("NRestarts") == "0"
    assert installed.property("ActiveState", "spiderwebd.socket") == "active"
    (entry,) = installed.journal("SPIDERWEB_EVENT=failed")
    assert entry["PRIORITY"] == "2"
    assert entry["SPIDERWEB_STATUS"] == "78"
    for part in (f"version {known + 1}", f"up to {known}", "start the newer spiderwebd", "restore a backup"):
        assert part in entry["SPIDERWEB_REASON"]
    assert entry["SPIDERWEB_REASON"] in installed.property("StatusText")
    assert installed.run("sha256sum /var/lib/spiderwebd/spiderwebd.db").output == before
    assert not installed.run("ls /var/lib/spiderwebd | grep damaged", check=False).output
    change_database(installed, f"DROP TABLE of_the_future; PRAGMA user_version = {known}")
    installed.run("systemctl start spiderwebd")
    assert json.loads(installed.client("hello").output)["ack"]


def test_crash_loop_keeps_the_socket(installed: Box) -> None:
    """A daemon that cannot start is tried again and again; a client that waits is served after the repair."""
    crash = "[Service]\nExecStart=\nExecStart=/usr/bin/spiderwebd run --state-dir /proc/none\n"
    installed.drop_in("spiderwebd.service", "crash", crash)
    installed.run("systemctl restart spiderwebd", check=False)
    installed.wait('[ "$(systemctl show -P NRestarts spiderwebd)" -ge 3 ]')
    assert installed.property("ActiveState", "spiderwebd.socket") == "active"
    client = installed.start(f"{PYTHON} {INSIDE_MOUNT}/client.py hello")
    installed.wait(
        "ss -Hxl src /run/spiderwebd/spiderwebd.sock | awk '{exit $3 < 1}'"
    )  # it waits in the backlog
    installed.run("rm -r /etc/systemd/system/spiderwebd.service.d && systemctl daemon-reload")
    output, _ = client.communicate(timeout=90)
    assert [frame["type"] for frame in json.loads(output)["frames"]][-1] == "session.receive"
    assert installed.property("ActiveState") == "active"


def test_watchdog_kills_a_blocked_loop_and_leaves_a_traceback(installed: Box) -> None:
    """A loop that does not turn is killed in time, the journal shows where, the next process serves."""
    installed.drop_in("spiderwebd.service", "stuck", f"{STUCK}WatchdogSec=2s\n")
    installed.run("touch /var/lib/spiderwebd/block-loop && chown spiderwebd: /var/lib/spiderwebd/block-loop")
    installed.run("systemctl restart spiderwebd")
    installed.wait('[ "$(systemctl show -P NRestarts spiderwebd)" = 1 ]', seconds=60)
    installed.wait("systemctl --quiet is-active spiderwebd")
    assert json.loads(installed.client("hello").output)["ack"]
    journal = installed.run("journalctl -u spiderwebd -o cat --no-pager").output
    assert "Watchdog timeout" in journal
    assert "block_the_loop" in journal
    assert "watchdog" in {entry.get("UNIT_RESULT") for entry in installed.journal("UNIT=spiderwebd.service")}


def test_watchdog_is_fed_while_it_serves(installed: Box) -> None:
    """With a watchdog of a second the daemon lives on, for many times as long."""
    installed.drop_in("spiderwebd.service", "watchdog", "[Service]\nWatchdogSec=1s\n")
    installed.run("systemctl restart spiderwebd")
    process = installed.property("MainPID")
    began = "$(systemctl show -P ExecMainStartTimestampMonotonic spiderwebd)"
    installed.wait(f"[ $(cut -d. -f1 /proc/uptime) -ge $(( {began} / 1000000 + 6 )) ]")
    assert installed.property("MainPID") == process


@pytest.mark.parametrize(
    ("weakness", "limit"), [("slow-start", "TimeoutStartSec"), ("slow-drain", "TimeoutStopSec")]
)
def test_slow_start_and_stop_ask_for_more_time(installed: Box, weakness: str, limit: str) -> None:
    """Opening the database or draining beyond the unit's limit extends it (EXTEND_TIMEOUT_USEC)."""
    installed.drop_in("spiderwebd.service", "stuck", f"{STUCK}{limit}=9s\n")
    installed.run(
        f"touch /var/lib/spiderwebd/{weakness} && systemctl restart spiderwebd && systemctl stop spiderwebd"
    )
    assert installed.property("Result") == "success"
    results = {entry.get("UNIT_RESULT") for entry in installed.journal("UNIT=spiderwebd.service")}
    assert "timeout" not in results


def test_restart_under_load_refuses_nobody(installed: Box) -> None:
    """Two restarts under a client every 5 ms: all are served, an attached one resumes without a gap."""
    attached, load = start(installed, "attached.py"), start(installed, "load.py /var/lib/spiderwebd/token")
    for _ in range(2):
        installed.run("systemctl restart spiderwebd")
        installed.client("hello")
    assert_nobody_noticed(load, attached, reconnects=2)


@pytest.mark.parametrize("signal", ["KILL", "ABRT"])
def test_sudden_death_under_load_loses_nothing_acknowledged(installed: Box, signal: str) -> None:
    """Killed amid chats, the daemon comes back, and the attached client's story has no gap."""
    attached = start(installed, "attached.py")
    for count in (1, 2):
        installed.run(f"systemctl kill --signal={signal} --kill-who=main spiderwebd")
        installed.wait(f'[ "$(systemctl show -P NRestarts spiderwebd)" = {count} ]')
        installed.wait("systemctl --quiet is-active spiderwebd")
        installed.client("hello")
    story = report(attached)
    assert story["faults"] == []
    assert story["reconnects"] >= 2


def test_stopped_and_masked_stay_down(installed: Box) -> None:
    """Stopping the socket stops both; a client cannot start them, nor what is masked."""
    installed.run("systemctl stop spiderwebd.socket")
    assert installed.property("ActiveState") == "inactive"
    assert installed.run(f"{PYTHON} {INSIDE_MOUNT}/client.py hello", check=False).code != 0
    installed.run("systemctl start spiderwebd.socket")
    assert json.loads(installed.client("hello").output)["ack"]
    installed.run("systemctl mask --now spiderwebd.service")
    assert installed.run(f"{PYTHON} {INSIDE_MOUNT}/client.py hello", check=False).code != 0
    assert installed.property("ActiveState") != "active"


def test_credentials_reach_the_service_and_nobody_else(installed: Box) -> None:
    """A file of the credentials folder is readable for the daemon's user inside of the unit only."""
    installed.write("/etc/spiderwebd/credentials/probe", "the secret", mode=0o600)
    installed.drop_in(
        "spiderwebd.service",
        "probe",
        "[Service]\nExecStart=\nType=oneshot\nRestart=no\n"
        f'ExecStart={PYTHON} -c "import os, pathlib; '
        "path = pathlib.Path(os.environ['CREDENTIALS_DIRECTORY'], 'spiderwebd_probe'); "
        "print('credential:', path, path.read_text())\"\nRemainAfterExit=yes\n",
    )
    installed.run("systemctl stop spiderwebd.service && systemctl start spiderwebd.service")
    path = "/run/credentials/spiderwebd.service/spiderwebd_probe"
    assert (
        f"credential: {path} the secret" in installed.run("journalctl -u spiderwebd -o cat --no-pager").output
    )
    for command in (f"cat {path}", "cat /etc/spiderwebd/credentials/probe"):
        assert installed.run(f"runuser -u nobody -- {command}", check=False).code != 0
    assert "secret" not in installed.run("systemctl show spiderwebd").output


def test_credentials_of_the_system_are_imported_where_systemd_can(installed: Box) -> None:
    """From 254 on TLS is served with what the stores hold; before, the event says what is missing."""
    # One in each store: that of the disk, and that of this boot.
    installed.write("/etc/credstore/spiderwebd.certificate.pem", CERTIFICATE, mode=0o600)
    installed.write("/run/credstore/spiderwebd.key.pem", KEY, mode=0o600)
    installed.write("/etc/credstore/another.secret", "not for spiderwebd", mode=0o600)
    folder = "/run/credentials/spiderwebd.service"
    installed.write(
        "/etc/spiderwebd/conf.d/20-network.toml",
        f'[listen]\ntls_certificate = "{folder}/spiderwebd.certificate.pem"\n'
        f'tls_key = "{folder}/spiderwebd.key.pem"\n',
    )
    installed.write("/tmp/root.pem", CERTIFICATE)
    version = int(installed.run("systemctl --version | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p'").output)
    started = installed.run("systemctl restart spiderwebd", check=False).code == 0
    if version < 254:
        assert not started
        assert installed.property("ExecMainStatus") == "78"
        (entry,) = installed.journal("SPIDERWEB_EVENT=failed")
        assert f"{folder}/spiderwebd.certificate.pem" in entry["SPIDERWEB_REASON"]
        assert "ImportCredential" not in installed.run("systemctl cat spiderwebd.service").output
        return
    assert started
    installed.run(f"{PYTHON} {INSIDE_MOUNT}/secure.py /tmp/root.pem")
    names = installed.run(f"ls {folder}").output.split()
    assert names == ["spiderwebd.certificate.pem", "spiderwebd.key.pem"]
    assert installed.run(f"runuser -u nobody -- ls {folder}", check=False).code != 0
    assert "PRIVATE KEY" not in installed.run("systemctl show spiderwebd").output
