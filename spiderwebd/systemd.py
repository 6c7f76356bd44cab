"""What systemd tells the daemon and hears from it: readiness, watchdog, inherited sockets.

The protocols are sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3); each is an environment
variable and a few lines. Outside of systemd every function here does nothing and says so.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, MutableMapping

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START: the first inherited socket."""


def notify(**fields: object) -> bool:
    """Send fields to the service manager: `notify(READY=1, STATUS="serving")`.

    Returns whether they were sent; never raises and never waits, for a manager that does not read
    must not stop the daemon.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address[0] == "@":
        address = "\0" + address[1:]  # Linux abstract socket
    # A line break would start another field.
    rows = [f"{name}={str(value).replace(chr(10), ' ')}" for name, value in fields.items()]
    message = "\n".join(rows).encode("utf-8", "backslashreplace")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as link:
            link.sendto(message, address)
    except OSError:
        return False
    return True


def reloading() -> bool:
    """Say that a reload begins; `notify(READY=1)` must follow, whatever becomes of it.

    Type=notify-reload waits for ever without the time stamp of CLOCK_MONOTONIC, in microseconds.
    """
    return notify(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return the seconds within which WATCHDOG=1 must be sent, or None; send it twice as often."""
    microseconds = _number(environment.get("WATCHDOG_USEC"))
    process = environment.get("WATCHDOG_PID")
    if not microseconds or process not in (None, str(os.getpid())):
        return None
    return microseconds / 1_000_000


def listen_sockets(
    environment: MutableMapping[str, str] = os.environ,
) -> list[tuple[str, socket.socket]]:
    """Return the sockets that a socket unit handed over, each with its FileDescriptorName.

    They are non-blocking and not inherited by children; the variables are removed, so that no child
    takes them for its own. Raises OSError if a descriptor is not a socket.
    """
    process = environment.pop("LISTEN_PID", None)
    count = _number(environment.pop("LISTEN_FDS", None))
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if process != str(os.getpid()):
        return []
    sockets = []
    for index in range(count):
        descriptor = FIRST_DESCRIPTOR + index
        os.set_inheritable(descriptor, False)
        inherited = socket.socket(fileno=descriptor)
        inherited.setblocking(False)
        name = names[index] if index < len(names) and names[index] else "unknown"
        sockets.append((name, inherited))
    return sockets


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 0
