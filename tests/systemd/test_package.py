"""Install, upgrade, disable, mask, remove, purge: the package's promises to its administrator."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.systemd.box import Box
from tests.systemd.conftest import NEXT_VERSION
from tests.systemd.test_lifecycle import assert_nobody_noticed, start

UPGRADE = "apt-get install --yes -o Dpkg::Options::=--force-confold /mnt/packages/next.deb"
VERSION = "dpkg-query --show --showformat '${Version}' spiderwebd"


def test_install_sets_everything_up(box: Box) -> None:
    """One file is enough: ready at once, with user, folders, conffiles, byte code, units and manuals."""
    box.run("apt-get install --yes /mnt/packages/spiderwebd.deb", seconds=300)
    box.wait("systemctl --quiet is-active spiderwebd.service")
    modes = box.run("stat -c '%n %a %U:%G' /var/lib/spiderwebd /etc/spiderwebd/credentials").output
    assert modes.splitlines() == [
        "/var/lib/spiderwebd 700 spiderwebd:spiderwebd",
        "/etc/spiderwebd/credentials 700 root:root",
    ]
    socket = box.run("stat -c '%a %U:%G' /run/spiderwebd/spiderwebd.sock /var/lib/spiderwebd/token").output
    assert socket.splitlines() == ["660 spiderwebd:spiderwebd", "600 spiderwebd:spiderwebd"]
    conffiles = box.run("dpkg-query --show --showformat '${Conffiles}' spiderwebd").output
    assert "/etc/spiderwebd/spiderwebd.toml" in conffiles
    version = box.run("python3 -c 'import sys; print(sys.implementation.cache_tag)'").output
    assert box.run(f"test -s /usr/lib/spiderwebd/trio/__pycache__/__init__.{version}.pyc").code == 0
    enabled = box.run(
        "systemctl is-enabled spiderwebd.socket spiderwebd.service spiderwebd-backup.timer"
    ).output
    assert enabled.split() == ["enabled"] * 3
    for page in ("man1/spiderweb.1", "man5/spiderwebd.toml.5", "man8/spiderwebd.8"):
        box.run(f"test -s /usr/share/man/{page}.gz")


def test_launchers_ignore_the_administrators_python(shared: Box) -> None:
    """A module on PYTHONPATH, in the user's site or in the current folder changes nothing."""
    shared.run(
        "mkdir -p /opt/evil && echo 'raise SystemExit(99)' | tee /opt/evil/trio.py > /opt/evil/argparse.py"
    )
    for command in ("spiderwebd version", "spiderweb --help", "spiderwebd check-config"):
        shared.run(f"cd /opt/evil && PYTHONPATH=/opt/evil PYTHONSTARTUP=/opt/evil/trio.py {command}")


def test_upgrade_under_load_refuses_nobody_and_keeps_what_was_edited(installed: Box) -> None:
    """The service is restarted behind its untouched sockets; the edited conffile and the state stay."""
    installed.run("echo '# mine' >> /etc/spiderwebd/spiderwebd.toml")
    socket = installed.property("InvocationID", "spiderwebd.socket")
    process = installed.property("MainPID")
    attached, load = start(installed, "attached.py"), start(installed, "load.py /var/lib/spiderwebd/token")
    installed.run(UPGRADE, seconds=300)
    installed.wait("systemctl --quiet is-active spiderwebd.service")
    installed.client("hello")
    assert_nobody_noticed(load, attached, reconnects=1)
    assert installed.run(VERSION).output == NEXT_VERSION
    assert installed.property("MainPID") != process
    assert installed.property("InvocationID", "spiderwebd.socket") == socket
    assert installed.run("tail -n 1 /etc/spiderwebd/spiderwebd.toml").output == "# mine"
    installed.run("grep -q 'next version' /etc/spiderwebd/spiderwebd.toml.dpkg-dist")


def test_upgrade_leaves_stopped_what_was_stopped(installed: Box) -> None:
    """A service stopped by hand, still enabled, is not started by an upgrade."""
    installed.run("systemctl stop spiderwebd.socket spiderwebd.service")
    installed.run(UPGRADE, seconds=300)
    assert installed.property("ActiveState") == "inactive"
    assert installed.property("ActiveState", "spiderwebd.socket") == "inactive"


@pytest.mark.parametrize("verb", ["disable", "mask"])
def test_upgrade_leaves_disabled_and_masked_as_they_are(installed: Box, verb: str) -> None:
    """Neither is enabled, unmasked or started by an upgrade."""
    units = "spiderwebd.socket spiderwebd.service spiderwebd-backup.timer"
    installed.run(f"systemctl {verb} --now {units}")
    installed.run(UPGRADE, seconds=300)
    states = installed.run(f"systemctl is-enabled {units}", check=False).output.split()
    assert states == [f"{verb}d" if verb == "disable" else "masked"] * 3
    assert installed.property("ActiveState") == "inactive"
    assert installed.property("ActiveState", "spiderwebd.socket") == "inactive"


def test_running_though_disabled_is_restarted_by_an_upgrade(installed: Box) -> None:
    """What an administrator runs without enabling it gets the new version too."""
    installed.run("systemctl disable spiderwebd.socket spiderwebd.service")
    process = installed.property("MainPID")
    installed.run(UPGRADE, seconds=300)
    installed.wait("systemctl --quiet is-active spiderwebd.service")
    assert installed.property("MainPID") != process


def test_remove_keeps_and_purge_removes(installed: Box) -> None:
    """remove stops both units and keeps configuration and state; purge leaves only user and backups."""
    installed.run("systemctl start spiderwebd-backup.service")
    installed.run("apt-get remove --yes spiderwebd", seconds=300)
    assert installed.run("ss -Hltn 'sport = 18790'").output == ""
    installed.run("! test -e /run/spiderwebd/spiderwebd.sock && ! test -e /usr/lib/spiderwebd")
    installed.run("test -e /etc/spiderwebd/spiderwebd.toml && test -e /var/lib/spiderwebd/spiderwebd.db")
    installed.run("apt-get purge --yes spiderwebd", seconds=300)
    for gone in (
        "/etc/spiderwebd",
        "/var/lib/spiderwebd",
        "/etc/systemd/system/sockets.target.wants/spiderwebd.socket",
    ):
        installed.run(f"! test -e {gone}")
    installed.run("id spiderwebd && ls -d /var/backups/spiderwebd/20*Z")
    assert installed.run("dpkg-query --show spiderwebd", check=False).output == ""


def test_reinstall_after_purge_works(installed: Box) -> None:
    """Purge leaves nothing behind that a new installation stumbles over."""
    installed.run(
        "apt-get purge --yes spiderwebd && apt-get install --yes /mnt/packages/spiderwebd.deb", seconds=300
    )
    installed.wait("systemctl --quiet is-active spiderwebd.service")
    installed.client("hello")


def test_package_is_small_and_has_both_compiled_libraries(packages: Path, shared: Box) -> None:
    """One file for both Debians, under 8 MB."""
    assert (packages / "spiderwebd.deb").stat().st_size < 8_000_000
    listing = shared.run("dpkg --listfiles spiderwebd").output
    for abi in ("311", "313"):
        assert f"_pydantic_core.cpython-{abi}-x86_64-linux-gnu.so" in listing
