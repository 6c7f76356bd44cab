"""The operator's page of the README: every command of it, in its order, in a booted system."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.systemd.box import INSIDE_MOUNT, PACKAGES_MOUNT, Box
from tests.systemd.conftest import NEXT_VERSION
from tests.wire.certificate import CERTIFICATE, KEY, RENEWED_CERTIFICATE, RENEWED_KEY

README = Path(__file__).parents[2] / "README.md"
HOME = "/root"
PYTHON = "/usr/bin/python3 -IS"
PACKAGE = f"{HOME}/spiderwebd_1_amd64.deb"


def blocks() -> list[str]:
    """Return each block of commands of the page, as a script."""
    text = README.read_text(encoding="utf-8")
    page = text.split("\n## Running it as a service\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    return [re.sub(r"^# ", "", block, flags=re.MULTILINE) for block in found]


class Page:
    """The page, read block by block."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.left = blocks()

    def do(self, word: str) -> str:
        """Run the next block, which must have the word in it; return what it printed."""
        script = self.left.pop(0)
        assert word in script
        self.box.write("/tmp/block", f"set -eu\ncd {HOME}\n{script}")
        return self.box.run("sh /tmp/block", seconds=300).output

    def shown_certificate(self, root: str) -> bool:
        """Whether a client that trusts `root` alone is served over TLS."""
        self.box.write("/tmp/root.pem", root)
        return self.box.run(f"{PYTHON} {INSIDE_MOUNT}/secure.py /tmp/root.pem", check=False).code == 0


def story(box: Box, arguments: str = "") -> dict[str, list[str] | dict[str, object]]:
    """Return what a client of the unix socket is told."""
    told: dict[str, list[str] | dict[str, object]] = json.loads(box.client(arguments).output)
    return told


def test_every_command_of_the_page_does_what_it_says(box: Box) -> None:
    """From the installation to the purge, on one machine."""
    page = Page(box)
    # A person says yes, and has curl and a user.
    box.write("/etc/apt/apt.conf.d/99yes", 'APT::Get::Assume-Yes "true";\n')
    box.write("/usr/local/bin/curl", f'#!/bin/sh\nexec {PYTHON} {INSIDE_MOUNT}/fetch.py "$@"\n', 0o755)
    box.run(f"useradd alice && cp {PACKAGES_MOUNT}/spiderwebd.deb {PACKAGE}")

    assert "active (running)" in page.do("apt install")
    assert "grace_seconds = 20" in page.do("check-config")
    box.wait_for_event("reloaded")

    box.client("--id g-1 '/goal report status'")
    looked = page.do("journalctl -x")
    for part in ("sessions awake", "spiderwebd accepts clients on", "attached to a session", "a goal ended"):
        assert part in looked, part
    assert "# TYPE spiderwebd_links gauge" in looked
    assert "Overall exposure level" in looked

    let_in = page.do("usermod")
    assert "sw_" in let_in
    assert "revoked alice" in let_in
    assert [entry["SPIDERWEB_NAME"] for entry in box.journal("SPIDERWEB_EVENT=token_added")] == ["alice"]
    assert [entry["_UID"] for entry in box.journal("SPIDERWEB_EVENT=token_revoked")] == ["0"]
    assert let_in.split("sw_", 1)[1].split()[0] not in json.dumps(box.journal())

    before = story(box, "kept")["ack"]
    assert isinstance(before, dict)
    page.do("spiderwebd-backup.timer")
    box.run("test -s /var/backups/spiderwebd.db")
    page.do("spiderwebd.before")
    after = story(box, f"--session {before['sessionKey']} --after 0")["ack"]
    assert isinstance(after, dict)
    assert after["sessionKey"] == before["sessionKey"]
    assert after["seq"]

    box.run(f"rm {PACKAGE} && cp {PACKAGES_MOUNT}/next.deb {PACKAGE}")
    page.do("apt install")
    assert box.run("dpkg-query --show --showformat '${Version}' spiderwebd").output == NEXT_VERSION
    assert box.run("grep -c grace /etc/spiderwebd/conf.d/10-site.toml").output == "1"

    box.write(f"{HOME}/fullchain.pem", CERTIFICATE)
    box.write(f"{HOME}/privkey.pem", KEY)
    page.do("20-network.toml")
    assert page.shown_certificate(CERTIFICATE)
    assert story(box)["ack"]
    process = box.property("MainPID")
    box.write(f"{HOME}/fullchain.pem", RENEWED_CERTIFICATE)
    box.write(f"{HOME}/privkey.pem", RENEWED_KEY)
    page.do("systemctl reload")
    box.wait_for_event("reloaded", count=2)
    assert page.shown_certificate(RENEWED_CERTIFICATE)
    assert not page.shown_certificate(CERTIFICATE)
    assert box.property("MainPID") == process

    page.do("no-network.conf")
    assert page.shown_certificate(RENEWED_CERTIFICATE)
    page.do("disable")
    assert box.property("ActiveState") == "inactive"
    page.do("apt purge")
    left = box.run("cd /etc/spiderwebd && find . -type f | sort").output.split()
    assert left == ["./conf.d/10-site.toml", "./conf.d/20-network.toml"]
    box.run("! test -e /var/lib/spiderwebd && ls -d /var/backups/spiderwebd/20*Z")
    assert page.left == []


def test_a_network_without_a_certificate_is_refused(installed: Box) -> None:
    """A socket unit that listens on every address needs TLS, or the explicit word; one line says so."""
    installed.drop_in("spiderwebd.socket", "network", "[Socket]\nListenStream=\nListenStream=[::]:18790\n")
    installed.run("systemctl stop spiderwebd.socket spiderwebd.service")
    installed.run("systemctl start spiderwebd.socket && systemctl start spiderwebd.service", check=False)
    installed.wait("systemctl --quiet is-failed spiderwebd")
    assert installed.property("ExecMainStatus") == "78"
    (entry,) = installed.journal("SPIDERWEB_EVENT=failed")
    for part in ("[::]:18790", "listen.tls_certificate", "listen.insecure"):
        assert part in entry["SPIDERWEB_REASON"]


@pytest.mark.parametrize("lacking", ["key", "certificate"])
def test_a_missing_certificate_stays_down_with_one_line(installed: Box, lacking: str) -> None:
    """A certificate that is not there is a configuration error: exit 78, one line with key and file."""
    for name, text in (("key", KEY), ("certificate", CERTIFICATE)):
        if name != lacking:
            installed.write(f"/etc/spiderwebd/credentials/{name}.pem", text, 0o600)
    folder = "/run/credentials/spiderwebd.service"
    installed.write(
        "/etc/spiderwebd/conf.d/20-network.toml",
        f'[listen]\ntls_certificate = "{folder}/spiderwebd_certificate.pem"\n'
        f'tls_key = "{folder}/spiderwebd_key.pem"\n',
    )
    assert installed.run("systemctl restart spiderwebd", check=False).code != 0
    assert installed.property("ExecMainStatus") == "78"
    (entry,) = installed.journal("SPIDERWEB_EVENT=failed")
    assert f"spiderwebd_{lacking}.pem" in entry["SPIDERWEB_REASON"]
    assert "listen.tls_" in entry["SPIDERWEB_REASON"]
