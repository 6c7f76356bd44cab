"""Debian's own judgement of the package."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def test_lintian_has_nothing_to_say(packages: Path) -> None:
    """Neither an error nor a warning, but what debian/lintian-overrides gives a reason for."""
    if shutil.which("lintian") is None:
        pytest.skip("lintian is missing: apt install lintian")
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", packages / "spiderwebd.deb"]
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "")
