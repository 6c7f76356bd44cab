"""In the second kernel, as root: what the unit's limits do under control groups of version 2.

Prints one JSON line; tests/systemd/test_limits.py judges it.
"""

import json
import subprocess
from pathlib import Path
from time import monotonic, sleep

UNIT = "spiderwebd.service"
DROP_IN = Path(f"/etc/systemd/system/{UNIT}.d/test.conf")
EVENTS = f"/sys/fs/cgroup/system.slice/{UNIT}/memory.events"
PYTHON = "/usr/bin/python3 -IS"
STATE = Path("/var/lib/spiderwebd")
WORTH = """
Environment=SPIDERWEBD_MEMORY__MAX_BYTES=16777216
Environment=SPIDERWEBD_MEMORY__MAX_ENTRIES=4096 SPIDERWEBD_LIMITS__MESSAGE_BYTES=262144
Environment=SPIDERWEBD_OVERLOAD__LAG_SECONDS=0 SPIDERWEBD_OVERLOAD__STORE_SECONDS=0
"""
"""A second kernel is slow: only memory may be what is too much."""
PROBE = "Type=oneshot\nRestart=no\nExecStart=\nExecStart="


def run(*command: str) -> str:
    """Return what a command says; its status does not matter."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def shown(name: str) -> str:
    """Return a property of the unit."""
    return run("systemctl", "show", "--value", "--property", name, UNIT)


def with_drop_in(text: str) -> None:
    """Stop the unit and start it with these lines in its [Service]; returns though the start may fail."""
    run("systemctl", "stop", "spiderwebd.socket", UNIT)
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text(f"[Service]\n{text}\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "spiderwebd.socket", UNIT)


def until(condition: str, seconds: float = 60) -> bool:
    """Wait for a shell condition; whether it came to hold."""
    deadline = monotonic() + seconds
    while subprocess.run(["sh", "-c", condition], check=False).returncode:
        if monotonic() > deadline:
            return False
        sleep(0.2)
    return True


def journal(*matches: str) -> list[dict[str, object]]:
    """Return entries of the journal."""
    run("journalctl", "--sync")
    return [json.loads(line) for line in run("journalctl", "--output=json", *matches).splitlines()]


def soft_memory() -> dict[str, object]:
    """Fill the daemon below a MemoryHigh= until it sheds links."""
    with_drop_in(f"MemoryHigh=160M\nMemoryMax=1G{WORTH}")
    filled = json.loads(run(*PYTHON.split(), "/mnt/inside/fill.py", EVENTS) or "{}")
    filled["events"] = [each.get("SPIDERWEB_REASON") for each in journal("SPIDERWEB_EVENT=overload_began")]
    filled["restarts"] = shown("NRestarts")
    filled["status"] = shown("StatusText")
    return filled


def hard_memory() -> list[object]:
    """Start with less memory than it takes; return how systemd says it ended."""
    with_drop_in("MemoryHigh=infinity\nMemoryMax=16M\nMemorySwapMax=0\n")
    until(f'[ "$(systemctl show -P NRestarts {UNIT})" -ge 1 ]')
    return [each.get("UNIT_RESULT") for each in journal(f"UNIT={UNIT}") if each.get("UNIT_RESULT")]


def tasks() -> int:
    """Return how many threads a program in the unit could start."""
    program = Path("/opt/threads.py")
    program.write_text(
        "import threading\nwait = threading.Event()\nmade = 0\n"
        "try:\n    while made < 1000:\n"
        "        threading.Thread(target=wait.wait, daemon=True).start()\n        made += 1\n"
        f"except RuntimeError:\n    pass\nopen('{STATE}/threads', 'w').write(str(made))\n"
    )
    with_drop_in(f"{PROBE}{PYTHON} {program}")
    return int((STATE / "threads").read_text())


def probes() -> dict[str, object]:
    """Return what probe.py may do in the unit, and outside of it as root."""
    run(*PYTHON.split(), "/mnt/inside/probe.py", "--prepare")
    with_drop_in(f"{PROBE}{PYTHON} /mnt/inside/probe.py {STATE}/probe.json")
    Path("/opt/probe").mkdir()
    run(*PYTHON.split(), "/mnt/inside/probe.py", "/opt/probe/probe.json")
    inside, outside = (json.loads(Path(at, "probe.json").read_text()) for at in (STATE, "/opt/probe"))
    return {"inside": inside["outcomes"], "outside": outside["outcomes"]}


def main() -> None:
    """Look, and try each limit."""
    report: dict[str, object] = {
        "controllers": Path("/sys/fs/cgroup/cgroup.controllers").read_text().split(),
        "active": run("systemctl", "is-active", UNIT),
        "soft_memory": soft_memory(),
        "hard_memory": hard_memory(),
        "tasks": tasks(),
        "tasks_max": int(shown("TasksMax")),
        "probes": probes(),
    }
    print(json.dumps(report))


main()
