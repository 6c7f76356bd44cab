"""What the service may not do, tried from inside of its own unit."""

from __future__ import annotations

import json
import re
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
    "new namespace": "EPERM",
    "be nice": "EPERM",
    "choose a processor": "EPERM",
    "real time": "EPERM",
    "personality": "EPERM",
    "trace": "EPERM",
    "set-user-id file": "EPERM",
    "code in memory": "EPERM",
    "run /bin/true": "EACCES",
    "run /usr/bin/env": "EACCES",
    "run own program": "EACCES",
    "run own program in /tmp": "EACCES",
    "run own program in /var/tmp": "EACCES",
    "run own program in /dev/shm": "EACCES",
}
NO_NETWORK = "/usr/share/doc/spiderwebd/examples/no-network.conf"


def _probe(box: Box) -> dict[str, Any]:
    box.run("touch /tmp/of-others /var/tmp/of-others")
    box.drop_in("spiderwebd.service", "probe", PROBE)
    box.run("systemctl stop spiderwebd.service && systemctl start spiderwebd.service")
    answer: dict[str, Any] = json.loads(box.run(f"cat {OUTPUT}").output)
    return answer


def _outside(box: Box) -> dict[str, Any]:
    box.run("mkdir -p /opt/probe && python3 -IS /mnt/inside/probe.py /opt/probe/out.json")
    answer: dict[str, Any] = json.loads(box.run("cat /opt/probe/out.json").output)
    return answer


def test_every_probe_is_forbidden_inside_and_allowed_outside(installed: Box) -> None:
    """The sandbox, and nothing else, forbids each of these."""
    inside, outside = _probe(installed), _outside(installed)
    assert outside["outcomes"] == dict.fromkeys(FORBIDDEN, "allowed")
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
    for namespace in ("ipc", "mnt", "uts"):
        assert inside["facts"]["namespaces"][namespace] != outside["facts"]["namespaces"][namespace]


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


def test_memory_limit_is_enforced(installed: Box) -> None:
    """A daemon beyond MemoryMax is killed, and started again."""
    installed.drop_in("spiderwebd.service", "limit", "[Service]\nMemoryHigh=infinity\nMemoryMax=16M\n")
    installed.run("systemctl restart --no-block spiderwebd")
    installed.wait('[ "$(systemctl show -P NRestarts spiderwebd)" -ge 1 ]')
    results = {entry.get("UNIT_RESULT") for entry in installed.journal("UNIT=spiderwebd.service")}
    # Control groups of version 1 have no event for it: a signal is all that is seen.
    assert results & {"signal", "oom-kill"}


def test_task_limit_is_enforced(installed: Box) -> None:
    """A daemon with more threads than TasksMax does not get them."""
    code = (
        "import threading, time\\n"
        "wait = threading.Event()\\n"
        "made = 0\\n"
        "try:\\n"
        "    while made < 1000:\\n"
        "        threading.Thread(target=wait.wait, daemon=True).start()\\n"
        "        made += 1\\n"
        "except RuntimeError:\\n"
        "    pass\\n"
        f"open('{OUTPUT}', 'w').write(str(made))\\n"
    )
    installed.run(f'printf "{code}" > /opt/threads.py')
    installed.drop_in(
        "spiderwebd.service", "probe", PROBE.replace(f"/mnt/inside/probe.py {OUTPUT}", "/opt/threads.py")
    )
    installed.run("systemctl stop spiderwebd.service && systemctl start spiderwebd.service")
    assert int(installed.run(f"cat {OUTPUT}").output) == int(installed.property("TasksMax")) - 1
