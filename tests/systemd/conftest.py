"""Fixtures of the tests that boot a Debian; they run with `--systemd` only (`make test-systemd`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.box import SUITES, Box, booted, obstacle, root_file_system, with_package

ROOT = Path(__file__).parents[2]
NEXT_VERSION = "0.1.0+next"
"""Version of the second package, for upgrades."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --systemd."""
    parser.addoption("--systemd", action="store_true", help="run the tests that boot Debian (as root)")
    parser.addoption("--suite", choices=SUITES, help="of these, those of one Debian")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "systemd: boots a Debian as root; runs with --systemd only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs a box, and leave it out unless asked for."""
    boots = [
        item
        for item in items
        if item.path.parent == Path(__file__).parent and "packages" in getattr(item, "fixturenames", ())
    ]
    for item in boots:
        item.add_marker(pytest.mark.systemd)
    if not config.getoption("--systemd", default=False):
        config.hook.pytest_deselected(items=boots)
        items[:] = [item for item in items if item not in boots]


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the package, and with the same in a higher version with a changed conffile.

    The package is that of $SPIDERWEB_TEST_PACKAGE, else it is built from this checkout.
    """
    reason = obstacle()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("packages")
    ready = os.environ.get("SPIDERWEB_TEST_PACKAGE")
    if ready:
        shutil.copy(ready, folder / "spiderwebd.deb")
    else:
        _build(folder).rename(folder / "spiderwebd.deb")
    tree = tmp_path_factory.mktemp("next") / "tree"
    subprocess.run(["dpkg-deb", "-R", folder / "spiderwebd.deb", tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(
        "".join(
            f"Version: {NEXT_VERSION}\n" if line.startswith("Version: ") else line
            for line in control.read_text().splitlines(keepends=True)
        )
    )
    conffile = tree / "etc" / "spiderwebd" / "spiderwebd.toml"
    conffile.write_text(f"{conffile.read_text()}\n# A line of the next version.\n")
    archive = ["dpkg-deb", "--build", "-Zgzip", "-z1", tree, folder / "next.deb"]
    subprocess.run(archive, stdout=subprocess.DEVNULL, check=True, timeout=120)
    return folder


def _build(folder: Path) -> Path:
    """Build the package of this checkout and return it."""
    command = [ROOT / "packaging" / "build-deb", folder]
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what boots on each Debian, or on the one that was asked for."""
    if "suite" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--suite")
        metafunc.parametrize("suite", [asked] if asked else SUITES, indirect=True, scope="session")


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest, packages: Path) -> str:
    """Each Debian in turn."""
    name = str(request.param)
    try:
        root_file_system(name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no root file system of {name}: {error.stderr.strip().splitlines()[-1:]}")
    return name


@pytest.fixture(scope="session")
def prepared(suite: str, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the layer that the installed package makes over the suite's root file system."""
    folder = tmp_path_factory.mktemp("layer") / suite
    return with_package(suite, packages / "spiderwebd.deb", folder)


@pytest.fixture
def box(suite: str, packages: Path) -> Iterator[Box]:
    """A fresh Debian without the package."""
    with booted(suite, packages) as system:
        yield system


@pytest.fixture
def installed(suite: str, packages: Path, prepared: Path) -> Iterator[Box]:
    """A fresh Debian that had the package when it booted; the daemon is ready."""
    with booted(suite, packages, prepared) as system:
        system.wait("systemctl --quiet is-active spiderwebd.service")
        yield system


@pytest.fixture(scope="session")
def shared(suite: str, packages: Path, prepared: Path) -> Iterator[Box]:
    """The same, for all tests that only look."""
    with booted(suite, packages, prepared) as system:
        system.wait("systemctl --quiet is-active spiderwebd.service")
        yield system
