"""A booted Debian: one cached root file system a suite, a throw-away box a test, and what tests ask of it.

The cache is $SPIDERWEB_TEST_CACHE, else $XDG_CACHE_HOME/spiderweb-tests, outside of the checkout.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
TOOL = HERE / "systemd-box"
INSIDE = HERE / "inside"
"""Programs that run in the box, seen there at INSIDE_MOUNT."""
INSIDE_MOUNT = "/mnt/inside"
PACKAGES_MOUNT = "/mnt/packages"
SUITES = ("bookworm", "trixie")
RECIPE = 1
"""Raised when `systemd-box build` makes something else, so that a cached root file system is not used."""
BUILD_SECONDS = 900
COMMAND_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command in the box ended."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class Box:
    """One booted system."""

    name: str
    suite: str
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    """Programs of `start`; they end with the box."""

    def run(self, command: str, *, check: bool = True, seconds: float = COMMAND_SECONDS) -> Answer:
        """Run a shell command line as root; unless `check` is False, a failure fails the test."""
        done = subprocess.run(
            [TOOL, "exec", self.name, "sh", "-c", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return Answer(done.returncode, done.stdout.strip(), done.stderr.strip())

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command; it can be talked to by its standard input and output."""
        process = subprocess.Popen(
            [TOOL, "exec", self.name, "sh", "-c", f"exec {command}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file, its folder too."""
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"'
        subprocess.run(
            [TOOL, "exec", self.name, "sh", "-c", script, "sh", path, f"{mode:o}"],
            input=text,
            text=True,
            timeout=COMMAND_SECONDS,
            check=True,
        )

    def drop_in(self, unit: str, name: str, text: str) -> None:
        """Add a drop-in of the administrator and let systemd read it."""
        self.write(f"/etc/systemd/system/{unit}.d/{name}.conf", text)
        self.run("systemctl daemon-reload")

    def property(self, name: str, unit: str = "spiderwebd.service") -> str:
        """Return one property of a unit, as `systemctl show` has it."""
        return self.run(f"systemctl show --value --property {name} {unit}").output

    def wait(self, condition: str, *, seconds: float = 30) -> None:
        """Return when the shell condition holds; looked at in the box, every 50 ms."""
        script = f"until {condition}; do sleep 0.05; done"
        answer = self.run(f"timeout {seconds} sh -c {shlex.quote(script)}", check=False, seconds=seconds + 30)
        if answer.code:
            status = self.run("systemctl status spiderwebd; journalctl -n 40 --no-pager", check=False)
            raise AssertionError(f"not within {seconds} s: {condition}\n{status.output}")

    def wait_for_event(self, name: str, *, seconds: float = 30, count: int = 1) -> None:
        """Return when the daemon has logged an operator event `count` times since boot."""
        self.wait(
            f'[ "$(journalctl SPIDERWEB_EVENT={name} -o cat | grep -c .)" -ge {count} ]', seconds=seconds
        )

    def journal(self, *matches: str) -> list[Mapping[str, str]]:
        """Return the journal's entries since boot that match, oldest first, all fields."""
        arguments = " ".join(shlex.quote(match) for match in matches)
        output = self.run(
            f"journalctl --sync && journalctl --all --output=json --no-pager {arguments}"
        ).output
        return [json.loads(line) for line in output.splitlines()]

    def client(self, arguments: str = "") -> Answer:
        """Run the websocket probe (inside/client.py) and return its answer."""
        return self.run(f"/usr/bin/python3 -IS {INSIDE_MOUNT}/client.py {arguments}")


def cache() -> Path:
    """Return the folder of the root file systems."""
    named = os.environ.get("SPIDERWEB_TEST_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(home) / "spiderweb-tests"


def obstacle() -> str | None:
    """Return why no box can be booted here, or None."""
    if os.geteuid() != 0:
        return "needs root, to boot a system in namespaces of its own"
    missing = [name for name in ("unshare", "nsenter", "setpriv", "dpkg-deb") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} missing"
    trial = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--uts",
        "--ipc",
        "--net",
        "--cgroup",
        "mount",
        "-t",
        "proc",
    ]
    tried = subprocess.run([*trial, "proc", "/proc"], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"namespaces cannot be made here: {tried.stderr.strip()}"
    return None


def root_file_system(suite: str) -> Path:
    """Return the suite's root file system; build it the first time (about a minute).

    Raises CalledProcessError, with what the tool said, when it cannot be built (no Debian mirror).
    """
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{suite}-{RECIPE}"
    with (folder / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            unfinished = folder / f"{suite}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            subprocess.run(
                [TOOL, "build", unfinished, suite],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=BUILD_SECONDS,
                check=True,
            )
            unfinished.rename(target)
    return target


def with_package(suite: str, package: Path, layer: Path) -> Path:
    """Install the package over the suite's root file system without booting it; what changed is `layer`."""
    layer.mkdir(parents=True)
    shutil.copy(package, layer / "package.deb")
    # Unsafe: nothing of it has to survive this machine's crash.
    script = "dpkg --force-unsafe-io --install /package.deb && rm /package.deb"
    command = [TOOL, "layer", root_file_system(suite), layer, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return layer


def _additions(packages: Path, layer: Path | None) -> list[str | Path]:
    """Return the options that add a layer, and the folders that every box has."""
    options: list[str | Path] = [] if layer is None else ["--layer", layer]
    for source, target in {packages: PACKAGES_MOUNT, INSIDE: INSIDE_MOUNT}.items():
        options += ["--bind-ro", f"{source}:{target}"]
    return options


def second_kernel(suite: str, packages: Path, layer: Path, script: Path) -> Answer:
    """Run a shell script as root under User-Mode Linux, whose cgroups are of version 2 alone."""
    command = [TOOL, "uml", root_file_system(suite), script, *_additions(packages, layer)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@contextmanager
def booted(suite: str, packages: Path, layer: Path | None = None) -> Iterator[Box]:
    """Boot a fresh box over a suite's root file system and a layer; all of it is gone afterwards."""
    box = Box(f"spiderweb-{os.getpid()}-{time.monotonic_ns()}", suite)
    command = [TOOL, "boot", root_file_system(suite), box.name, *_additions(packages, layer)]
    subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=COMMAND_SECONDS, check=True
    )
    try:
        yield box
    finally:
        subprocess.run(
            [TOOL, "stop", box.name], stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS, check=True
        )
        for process in box.started:
            process.kill()
            process.communicate(timeout=COMMAND_SECONDS)
