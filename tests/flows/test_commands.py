"""The `spiderwebd` command as an administrator uses it: real processes, exit codes, and what is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spiderwebd.core.schema import wire_schema
from tests.flows.daemon_process import DaemonProcess

ROOT = Path(__file__).parent.parent.parent


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command with a clean environment."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SPIDERWEB")}
    return subprocess.run(
        [sys.executable, "-m", "spiderwebd", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=inherited | (environment or {}),
        cwd=ROOT,
    )


@pytest.fixture
def empty(tmp_path: Path) -> str:
    """An empty configuration file, so that the machine's own is not read."""
    path = tmp_path / "empty.toml"
    path.write_text("")
    return str(path)


def test_every_mistake_is_named_at_once_and_exits_78(tmp_path: Path) -> None:
    """Two files with four mistakes: each is named with file, key, reason, and the nearest key."""
    main = tmp_path / "spiderwebd.toml"
    main.write_text("[limits]\nlinkz = 5\nmessage_bytes = 'many'\n")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "10-site.toml").write_text('[listen]\naddress = "0.0.0.0:1"\n[heartbeet]\nx = 1\n')
    done = run("check-config", "--config", str(main))
    assert done.returncode == 78
    for said in ("linkz", "limits.links", "message_bytes", "heartbeet", "10-site.toml", "spiderwebd.toml:2"):
        assert said in done.stderr, done.stderr


def test_an_address_open_to_others_needs_tls_or_an_explicit_word(empty: str, tmp_path: Path) -> None:
    """Unsafe combinations refuse to start, and the explicit word lets them."""
    refused = run("check-config", "--config", empty, "--listen", "0.0.0.0:0")
    assert refused.returncode == 78
    assert "insecure" in refused.stderr
    let = run("check-config", "--config", empty, "--listen", "0.0.0.0:0", "--set", "listen.insecure=true")
    assert let.returncode == 0, let.stderr


def test_config_names_the_origin_of_each_value(empty: str) -> None:
    """Environment and --set are told apart, and everything else is a default."""
    done = run(
        "config", "--config", empty, "--set", "planner.max_tasks=7",
        environment={"SPIDERWEBD_LOG__LEVEL": "debug"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "max_tasks = 7  # --set" in done.stdout
    assert 'level = "debug"  # SPIDERWEBD_LOG__LEVEL' in done.stdout
    assert "hibernate_seconds = 60  # default" in done.stdout


def test_schema_prints_what_is_checked_in() -> None:
    """The published schema is the one the code generates."""
    done = run("schema")
    assert json.loads(done.stdout) == wire_schema()
    assert done.stdout == (ROOT / "spiderwebd/core/protocol.schema.json").read_text()


def test_tokens_are_added_listed_and_revoked(empty: str, tmp_path: Path) -> None:
    """A token is shown once, listed without its secret, and gone after revoke; mistakes exit 1."""
    options = ("--config", empty, "--state-dir", str(tmp_path / "state"))
    added = run("token", "add", "ops", "--role", "operator", *options)
    secret = added.stdout.strip()
    assert secret.startswith("sw_"), added.stderr
    listed = run("token", "list", *options)
    assert listed.stdout.split("\t")[:2] == ["ops", "operator"]
    assert secret not in listed.stdout
    assert run("token", "add", "ops", *options).returncode == 1
    assert run("token", "revoke", "ops", *options).returncode == 0
    assert run("token", "list", *options).stdout == ""
    assert run("token", "add", *options).returncode == 2


def test_identity_prints_the_prompt_and_where_it_is_from(empty: str) -> None:
    """The shipped example agent is merged; each section names its file."""
    folder = f"agents.directory={ROOT / 'etc' / 'agents'}"
    done = run("identity", "default", "--config", empty, "--set", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "SOUL.md" in done.stderr
    assert run("identity", "../x", "--config", empty, "--set", folder).returncode == 1


def test_a_backup_of_a_running_daemon_can_be_served(tmp_path: Path) -> None:
    """The copy is whole while the daemon writes, refuses to overwrite, and starts as a state of its own."""
    with DaemonProcess(tmp_path / "daemon") as daemon:
        state = str(daemon.state_directory)
        target = tmp_path / "restored" / "spiderwebd.db"
        target.parent.mkdir()
        empty = tmp_path / "none.toml"
        empty.write_text("")
        options = ("--config", str(empty), "--state-dir", state)
        assert run("backup", str(target), *options).returncode == 0
        assert run("backup", str(target), *options).returncode == 1
    with DaemonProcess(tmp_path / "second", state_directory=target.parent) as restored:
        assert restored.ready["event"] == "ready"


def test_version_and_usage() -> None:
    """Version prints one line; a wrong command is usage, exit 2."""
    assert run("version").stdout.startswith("spiderwebd ")
    assert run("no-such-command").returncode == 2
    assert run("run", "--set", "nonsense").returncode == 2
