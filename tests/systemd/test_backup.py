"""The backup service and its timer, and the restore as the manual page has it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.systemd.box import Box

MANUAL = Path(__file__).parents[2] / "packaging" / "man" / "spiderwebd.8"
BACKUPS = "/var/backups/spiderwebd"


def _restore_commands() -> list[str]:
    """Return the lines of the manual's restore example."""
    section = MANUAL.read_text(encoding="utf-8").split(".Ss Backup and restore", 1)[1]
    return section.split(".Bd -literal -offset indent\n", 1)[1].split("\n.Ed", 1)[0].splitlines()


def test_timer_is_armed(shared: Box) -> None:
    """The timer waits for its next day."""
    assert shared.property("ActiveState", "spiderwebd-backup.timer") == "active"
    assert shared.property("NextElapseUSecRealtime", "spiderwebd-backup.timer")


def test_backup_restores_sessions_and_tokens(installed: Box) -> None:
    """After the state is lost, the manual's commands bring a session back to where it was backed up."""
    before = json.loads(installed.client("the first thing").output)
    key, seq = before["ack"]["sessionKey"], before["frames"][-1]["seq"]
    token = installed.run("cat /var/lib/spiderwebd/token").output
    installed.run("systemctl start spiderwebd-backup.service")
    date = installed.run(f"ls {BACKUPS}").output
    installed.client(f"--session {key} --after {seq} later")
    installed.run("rm -r /var/lib/spiderwebd/tokens.json /var/lib/spiderwebd/token")
    for command in _restore_commands():
        installed.run(command.replace("DATE", date))
    installed.wait("systemctl --quiet is-active spiderwebd.service")
    after = json.loads(installed.client(f"--tcp /var/lib/spiderwebd/token --session {key} --after 0").output)
    assert installed.run("cat /var/lib/spiderwebd/token").output == token
    # Over TCP the principal is the token's, so root's session is not given to it.
    assert after["ack"]["sessionKey"] != key
    again = json.loads(installed.client(f"--session {key} --after {seq}").output)
    assert again["ack"]["sessionKey"] == key
    assert again["ack"]["seq"] == seq


def test_old_backups_go_after_a_good_one(installed: Box) -> None:
    """BACKUP_KEEP folders stay, the newest; a failed backup removes none."""
    installed.drop_in("spiderwebd-backup.service", "keep", "[Service]\nEnvironment=BACKUP_KEEP=2\n")
    old = ("20200101T000000Z", "20200102T000000Z", "20200103T000000Z")
    installed.run(f"cd {BACKUPS} && mkdir {' '.join(old)} && chown spiderwebd: *")
    installed.run("mv /usr/bin/spiderwebd /usr/bin/spiderwebd.away")
    assert installed.run("systemctl start spiderwebd-backup.service", check=False).code != 0
    assert installed.run(f"ls {BACKUPS} | grep -c 'Z$'").output == "3"
    installed.run(
        "mv /usr/bin/spiderwebd.away /usr/bin/spiderwebd && systemctl start spiderwebd-backup.service"
    )
    kept = installed.run(f"ls {BACKUPS}").output.split()
    assert len(kept) == 2
    assert kept[0] == old[-1]
