"""Memory and tasks: the daemon sheds before its soft limit, the kernel enforces the hard ones.

A box has what this machine's control groups have; the second kernel has version 2 alone, as a current
Debian does, with a soft limit and with Result=oom-kill.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.systemd.box import INSIDE_MOUNT, Box, second_kernel
from tests.systemd.test_sandbox import FORBIDDEN, OUTPUT, PROBE

SHED = "MiB of memory are in use"
LIMIT = 120 << 20


def assert_shed(filled: dict[str, Any]) -> None:
    """New links were refused with the reason, the attached one was served, and the kernel did nothing."""
    head, _, body = filled["told"].partition("\r\n\r\n")
    assert " 503 " in head.splitlines()[0], filled
    assert SHED in body
    assert "queue_full" in body
    assert filled["works"]
    assert filled["acknowledged"] > 20


def test_daemon_sheds_links_when_memory_is_short(installed: Box) -> None:
    """Above overload.memory_bytes new links are refused and it is said; nothing acknowledged is lost."""
    settings = {
        "OVERLOAD__MEMORY_BYTES": LIMIT,
        "OVERLOAD__LAG_SECONDS": 0,
        "OVERLOAD__STORE_SECONDS": 0,
        "MEMORY__MAX_BYTES": 16_777_216,
        "MEMORY__MAX_ENTRIES": 4_096,
        "LIMITS__MESSAGE_BYTES": 262_144,
    }
    lines = "".join(f"Environment=SPIDERWEBD_{name}={value}\n" for name, value in settings.items())
    installed.drop_in("spiderwebd.service", "short", f"[Service]\n{lines}")
    installed.run("systemctl restart spiderwebd")
    assert_shed(json.loads(installed.run(f"/usr/bin/python3 -IS {INSIDE_MOUNT}/fill.py /none").output))
    (entry,) = installed.journal("SPIDERWEB_EVENT=overload_began")
    assert SHED in entry["SPIDERWEB_REASON"]
    assert installed.property("NRestarts") == "0"


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


def test_limits_under_control_groups_of_version_2(
    suite: str, packages: Path, prepared: Path, tmp_path: Path
) -> None:
    """Soft limit, hard limit, tasks and what only a kernel of one's own can show, in one run."""
    for program in ("linux.uml", "mke2fs"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: apt install user-mode-linux e2fsprogs")
    script = tmp_path / "script"
    script.write_text(f"exec /usr/bin/python3 -IS {INSIDE_MOUNT}/limits.py\n")
    answer = second_kernel(suite, packages, prepared, script)
    assert answer.code == 0, answer.output + answer.errors
    report = json.loads(answer.output)
    assert {"memory", "pids"} <= set(report["controllers"])
    assert report["active"] == "active"
    soft = report["soft_memory"]
    assert_shed(soft)
    assert [reason for reason in soft["events"] if SHED in reason]
    assert soft["restarts"] == "0"
    for act in ("max", "oom", "oom_kill"):
        assert soft["kernel"][act] == "0", soft
    assert "oom-kill" in report["hard_memory"]
    assert report["tasks"] == report["tasks_max"] - 1
    probes = report["probes"]
    # This kernel has no IPv6 and runs no 32-bit programs; the boxes try that.
    lacking = {"socket inet6": "EAFNOSUPPORT", "32-bit system call": "ENOSYS"}
    assert probes["outside"] == dict.fromkeys(FORBIDDEN, "allowed") | lacking
    assert "allowed" not in probes["inside"].values()
