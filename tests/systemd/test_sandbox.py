"""What the service may not do, tried from inside of its own unit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.systemd.box import Box

OUTPUT = "/var/lib/spiderwebd/probe.json"
PROBE = f"""[Service]
Type=oneshot
Restart=no
ExecStart=
ExecStart=/usr/bin/python3 -IS /mnt/inside/probe.py {OUTPUT}
"""
FORBIDDEN = {
    "write /etc": "EROFS",
    "write /usr": "EROFS",
    "read /var/tmp of others": "ENOENT",
    "read /tmp of others": "ENOENT",
    "list /home": "EACCES",
    "list /root": "EACCES",
    "read /etc/spiderwebd/credentials": "EACCES",
    "device console": "ENOENT",
    "process 1": "ENOENT",
    "/proc/meminfo": "ENOENT",
    "socket inet": "EAFNOSUPPORT",
    "socket inet6": "EAFNOSUPPORT",
    "socket netlink": "EAFNOSUPPORT",
    "socket packet": "EAFNOSUPPORT",
    "send a datagram": "EAFNOSUPPORT",
    "bind a port": "EAFNOSUPPORT",
    "host name": "EPERM",
    "mount": "EPERM",
    "change the root": "EPERM",
    "control group": "EROFS",
    "kernel switch": "ENOENT",
    "list the kernel's modules": "EACCES",
    "make a device": "EPERM",
    "set the clock": "EPERM",
    "kernel log": "EPERM",
    "new namespace": "EPERM",
    "be nice": "EPERM",
    "choose a processor": "EPERM",
    "real time": "EPERM",
    "personality": "EPERM",
    "trace": "EPERM",
    "set-user-id file": "EPERM",
    "code in memory": "EPERM",
    "32-bit system call": "SIGSYS",
    "run /bin/true": "EACCES",
    "run /usr/bin/env": "EACCES",
    "run own program": "EACCES",
    "run own program in /tmp": "EACCES",
    "run own program in /var/tmp": "EACCES",
    "run own program in /dev/shm": "EACCES",
}
NOT_TRIED = {"set the clock": "not tried"}
"""Outside of the unit, since it is this machine's; test_limits.py has it under a kernel of its own."""
PROVEN_BY = {
    "UMask": "facts: umask",
    "LoadCredential": "test_lifecycle.py",
    "MemoryHigh": "test_limits.py",
    "MemoryMax": "test_limits.py",
    "TasksMax": "test_limits.py",
    "OOMPolicy": "test_limits.py",
    "OOMScoreAdjust": "facts: oom_score_adjust",
    "LimitNOFILE": "facts: file_limit",
    "LimitCORE": "facts: core_limit",
    "CapabilityBoundingSet": "facts: status",
    "AmbientCapabilities": "facts: status",
    "NoNewPrivileges": "facts: status",
    "ProtectSystem": "write /etc",
    "ProtectHome": "list /home",
    "PrivateTmp": "read /tmp of others",
    "PrivateDevices": "device console",
    "DevicePolicy": "make a device",
    "PrivateIPC": "facts: namespaces",
    "RemoveIPC": "facts: left-behind",
    "KeyringMode": "facts: keyring",
    "ProtectHostname": "host name",
    "ProtectClock": "set the clock",
    "ProtectKernelTunables": "kernel switch",
    "ProtectKernelModules": "list the kernel's modules",
    "ProtectKernelLogs": "kernel log",
    "ProtectControlGroups": "control group",
    "ProtectProc": "process 1",
    "ProcSubset": "/proc/meminfo",
    "RestrictAddressFamilies": "socket inet",
    "IPAddressDeny": "send a datagram",
    "SocketBindDeny": "bind a port",
    "RestrictNamespaces": "new namespace",
    "RestrictRealtime": "real time",
    "RestrictSUIDSGID": "set-user-id file",
    "LockPersonality": "personality",
    "MemoryDenyWriteExecute": "code in memory",
    "SystemCallArchitectures": "32-bit system call",
    "SystemCallFilter": "change the root",
    "SystemCallErrorNumber": "be nice",
    "NoExecPaths": "run own program",
    "ExecPaths": "test_service.py: the daemon runs",
}
"""Every directive of the unit's sandbox, and what proves it: a probe by name, or where."""
UNIT = Path(__file__).parents[2] / "packaging" / "systemd" / "spiderwebd.service"
NO_NETWORK = "/usr/share/doc/spiderwebd/examples/no-network.conf"


def _probe(box: Box) -> dict[str, Any]:
    box.run("/usr/bin/python3 -IS /mnt/inside/probe.py --prepare")
    box.drop_in("spiderwebd.service", "probe", PROBE)
    box.run("systemctl stop spiderwebd.service && systemctl start spiderwebd.service")
    answer: dict[str, Any] = json.loads(box.run(f"cat {OUTPUT}").output)
    return answer


def _outside(box: Box) -> dict[str, Any]:
    box.run(
        "mkdir -p /opt/probe && python3 -IS /mnt/inside/probe.py /opt/probe/out.json --but 'set the clock'"
    )
    box.run("rm /dev/shm/left-behind")
    answer: dict[str, Any] = json.loads(box.run("cat /opt/probe/out.json").output)
    return answer


def test_every_directive_has_its_proof() -> None:
    """Nothing in the unit's sandbox is there unproven, and no proof is of what is gone."""
    service = UNIT.read_text(encoding="utf-8").split("UMask=", 1)[1].split("[Install]", 1)[0]
    directives = {"UMask", *re.findall(r"^([A-Za-z]+)=", service, re.MULTILINE)}
    assert set(PROVEN_BY) == directives
    known = {proof.split(": ")[0] for proof in PROVEN_BY.values()}
    for proof in known - {"facts"}:
        assert proof in FORBIDDEN or (Path(__file__).parent / proof).exists(), proof


def test_every_probe_is_forbidden_inside_and_allowed_outside(installed: Box) -> None:
    """The sandbox, and nothing else, forbids each of these."""
    inside = _probe(installed)
    installed.run("systemctl stop spiderwebd.service && ! test -e /dev/shm/left-behind")
    outside = _outside(installed)
    assert outside["outcomes"] == dict.fromkeys(FORBIDDEN, "allowed") | NOT_TRIED
    # By the kernel's own switch where systemd knows it (253 and later), else by a system call filter.
    assert inside["outcomes"].pop("code in memory") in ("EACCES", "EPERM")
    assert inside["outcomes"] == {
        name: error for name, error in FORBIDDEN.items() if name != "code in memory"
    }
    status = inside["facts"]["status"]
    assert status["CapEff"] == status["CapBnd"] == "0" * 16
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert not status["Uid"].startswith("0\t")
    assert inside["facts"]["core_limit"] == 0
    assert inside["facts"]["umask"] == 0o077
    assert inside["facts"]["oom_score_adjust"] == "100"
    assert inside["facts"]["keyring"] not in (-1, outside["facts"]["keyring"])
    # The machine that runs the tests may not give as many.
    hard = int(installed.run("ulimit -Hn").output)
    assert inside["facts"]["file_limit"] == min(32_768, hard)
    for namespace in ("ipc", "mnt", "uts"):
        assert inside["facts"]["namespaces"][namespace] != outside["facts"]["namespaces"][namespace]


def test_walls_behind_the_address_families_hold_alone(installed: Box) -> None:
    """Were AF_INET let in by a drop-in, nothing could be sent and, where systemd can, no port be taken."""
    installed.drop_in("spiderwebd.service", "inet", "[Service]\nRestrictAddressFamilies=AF_INET\n")
    outcomes = _probe(installed)["outcomes"]
    assert outcomes["socket inet"] == "allowed"
    assert outcomes["send a datagram"] == "EPERM"
    # Debian's systemd 252 is built without this (-BPF_FRAMEWORK).
    can = "+BPF_FRAMEWORK" in installed.run("systemctl --version").output
    assert outcomes["bind a port"] == ("EPERM" if can else "allowed")


def test_modules_and_other_architectures_are_kept_out_by_their_directives_alone(installed: Box) -> None:
    """Without the directive its probe is allowed: nothing else of the unit forbids it."""
    for directive, probe in {
        "ProtectKernelModules=no": "list the kernel's modules",
        "SystemCallArchitectures=": "32-bit system call",
    }.items():
        installed.drop_in("spiderwebd.service", "without", f"[Service]\n{directive}\n")
        outcomes = _probe(installed)["outcomes"]
        allowed = {name for name, outcome in outcomes.items() if outcome == "allowed"}
        assert allowed == {probe}, directive


def test_no_network_drop_in_cuts_off_and_still_serves(installed: Box) -> None:
    """The shipped example gives own network and user namespaces; clients are served as before."""
    outside = _outside(installed)["facts"]
    folder = "/etc/systemd/system/spiderwebd.service.d"
    installed.run(f"install -D -m 644 {NO_NETWORK} {folder}/no-network.conf && systemctl daemon-reload")
    installed.run("systemctl restart spiderwebd")
    ack = json.loads(installed.client("--tcp /var/lib/spiderwebd/token").output)["ack"]
    assert ack["type"] == "session.ack"
    ack = json.loads(installed.client().output)["ack"]
    assert ack["principal"] == "uid:0"
    facts = _probe(installed)["facts"]
    for namespace in ("net", "user"):
        assert facts["namespaces"][namespace] != outside["namespaces"][namespace]
    assert facts["uid_map_lines"] == 2


@pytest.mark.parametrize(("drop_in", "most"), [(False, 1.0), (True, 0.3)])
def test_exposure_score(installed: Box, drop_in: bool, most: float) -> None:
    """`systemd-analyze security` is at most 1.0, and at most 0.3 with the no-network example."""
    if drop_in:
        folder = "/etc/systemd/system/spiderwebd.service.d"
        installed.run(f"install -D -m 644 {NO_NETWORK} {folder}/no-network.conf && systemctl daemon-reload")
    output = installed.run("systemd-analyze security --no-pager spiderwebd.service").output
    score = re.search(r"Overall exposure level for spiderwebd.service: ([0-9.]+)", output)
    assert score is not None
    assert float(score[1]) <= most
