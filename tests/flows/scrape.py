"""What else is asked of a daemon process: its numbers, another token."""

from __future__ import annotations

import subprocess
import sys
import urllib.request

from tests.flows.daemon_process import DaemonProcess

PATIENCE = 20.0


def metrics_text(daemon: DaemonProcess) -> str:
    """What /metrics says."""
    asked = urllib.request.Request(
        f"http://{daemon.listen}/metrics", headers={"Authorization": f"Bearer {daemon.token}"}
    )
    with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def metrics_of(daemon: DaemonProcess) -> dict[str, float]:
    """Every number of /metrics by its name and labels."""
    rows = (line.rpartition(" ") for line in metrics_text(daemon).splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


def token_added(daemon: DaemonProcess, name: str) -> str:
    """A new token for a user."""
    command = [sys.executable, "-m", "spiderwebd", "token", "add", name]
    command += ["--config", str(daemon.folder / "empty.toml"), "--state-dir", str(daemon.state_directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()
