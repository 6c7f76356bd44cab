"""In the box, run by the service's own unit: try what the sandbox forbids, write down what happened.

    probe.py --prepare               as root, before: make what the probes look for
    probe.py OUTPUT [--but PROBE]

Each probe is "allowed" or the name of the error. The test runs the same outside as root, where each
must be allowed: a probe that fails everywhere proves nothing.
"""

import contextlib
import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER = 0x10000000
PER_LINUX32 = 8
SYSLOG_ACTION_SIZE_BUFFER = 10
SYS_KEYCTL = 250  # x86_64
KEYCTL_GET_KEYRING_ID = 0
KEY_SPEC_SESSION_KEYRING = -3
FOREIGN_CODE = "/usr/lib/spiderwebd/probe-i386"
"""Where the service may map code from: getpid by the gate of 32-bit programs (int 0x80)."""
GETPID_I386 = bytes.fromhex("b814000000 cd80 c3")
"""mov $20, %eax; int $0x80; ret"""


def call(name: str, *arguments: int | bytes | None) -> None:
    """Call a function of the C library; raise OSError when it fails."""
    if getattr(libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def create(path: str) -> None:
    """Make a file and remove it."""
    Path(path).touch()
    Path(path).unlink()


def in_child(action: Callable[[], object]) -> None:
    """Do something that would change or end this process; raise its OSError, or its signal as one."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if number < 0:
        raise OSError(number, signal.Signals(-number).name)
    if number:
        raise OSError(number, "in the child")


def run(path: str) -> None:
    """Execute a program."""
    in_child(lambda: os.execv(path, [path]))


def run_own(folder: str) -> None:
    """Make a program where writing is allowed, and execute it."""
    program = Path(folder) / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    try:
        run(str(program))
    finally:
        program.unlink()


def set_user_id(folder: str) -> None:
    """Mark a file of our own to run as its owner."""
    file = Path(folder) / "marked"
    file.touch()
    try:
        file.chmod(0o4700)
    finally:
        file.unlink()


def code_in_memory() -> None:
    """Map memory that can be written and executed."""
    with contextlib.closing(mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)):
        pass


def foreign_call() -> None:
    """Make a system call of another architecture, which a filter written for this one's numbers misreads.

    Needs a kernel that runs 32-bit programs (IA32_EMULATION), as Debian's does.
    """
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    file = os.open(FOREIGN_CODE, os.O_RDONLY)
    place = libc.mmap(None, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, file, 0)
    if place == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if ctypes.CFUNCTYPE(ctypes.c_int)(place)() != os.getpid():
        raise OSError(errno.ENOSYS, "not the answer to getpid")


def rewrite(path: str) -> None:
    """Write what a kernel switch says already."""
    with open(path, "r+b", buffering=0) as switch:
        text = switch.read()
        switch.seek(0)
        switch.write(text)


def make_device(folder: str) -> None:
    """Make a device node."""
    node = Path(folder) / "device"
    os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    node.unlink()


def make_control_group() -> None:
    """Make a control group below the root's."""
    hybrid = Path("/sys/fs/cgroup/unified")
    group = (hybrid if hybrid.is_dir() else hybrid.parent) / "probe"
    group.mkdir()
    group.rmdir()


def mount() -> None:
    """Mount a file system."""
    call("mount", b"none", b"/mnt", b"tmpfs", 0, None)
    call("umount", b"/mnt")


def send() -> None:
    """Send a datagram to this very machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", 9))


def bind() -> None:
    """Take a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))


def open_socket(family: int, kind: int) -> None:
    """Make a socket."""
    socket.socket(family, kind).close()


def prepare() -> None:
    """Make what the service must not see, or must not be able to use."""
    for path in ("/tmp/of-others", "/var/tmp/of-others"):
        Path(path).touch()
    Path("/usr/lib/modules").mkdir(exist_ok=True)
    Path(FOREIGN_CODE).write_bytes(GETPID_I386)


def probes(folder: str) -> dict[str, Callable[[], object]]:
    """Return what is tried; `folder` can be written to."""
    return {
        "write /etc": lambda: create("/etc/probe"),
        "write /usr": lambda: create("/usr/probe"),
        "read /var/tmp of others": lambda: os.stat("/var/tmp/of-others"),
        "read /tmp of others": lambda: os.stat("/tmp/of-others"),
        "list /home": lambda: os.listdir("/home"),
        "list /root": lambda: os.listdir("/root"),
        "read /etc/spiderwebd/credentials": lambda: os.listdir("/etc/spiderwebd/credentials"),
        "device console": lambda: os.stat("/dev/console"),
        "process 1": lambda: os.stat("/proc/1/status"),
        "/proc/meminfo": lambda: os.stat("/proc/meminfo"),
        "socket inet": lambda: open_socket(socket.AF_INET, socket.SOCK_STREAM),
        "socket inet6": lambda: open_socket(socket.AF_INET6, socket.SOCK_STREAM),
        "socket netlink": lambda: open_socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "socket packet": lambda: open_socket(socket.AF_PACKET, socket.SOCK_RAW),
        "send a datagram": send,
        "bind a port": bind,
        "host name": lambda: call("sethostname", (name := os.uname().nodename.encode()), len(name)),
        "mount": mount,
        "change the root": lambda: in_child(lambda: os.chroot("/")),
        "control group": make_control_group,
        "kernel switch": lambda: rewrite("/proc/sys/net/ipv4/ip_forward"),
        "list the kernel's modules": lambda: os.listdir("/usr/lib/modules"),
        "make a device": lambda: make_device(folder),
        "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
        "kernel log": lambda: call("klogctl", SYSLOG_ACTION_SIZE_BUFFER, None, 0),
        "new namespace": lambda: in_child(lambda: call("unshare", CLONE_NEWUSER)),
        "be nice": lambda: in_child(lambda: os.nice(1)),
        "choose a processor": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
        "real time": lambda: in_child(lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))),
        "personality": lambda: in_child(lambda: call("personality", PER_LINUX32)),
        "trace": lambda: in_child(lambda: call("ptrace", 0, 0, 0, 0)),
        "set-user-id file": lambda: set_user_id(folder),
        "code in memory": code_in_memory,
        "32-bit system call": lambda: in_child(foreign_call),
        "run /bin/true": lambda: run("/bin/true"),
        "run /usr/bin/env": lambda: run("/usr/bin/env"),
        "run own program": lambda: run_own(folder),
        "run own program in /tmp": lambda: run_own("/tmp"),
        "run own program in /var/tmp": lambda: run_own("/var/tmp"),
        "run own program in /dev/shm": lambda: run_own("/dev/shm"),
    }


def main() -> None:
    """Try everything, and write what happened and what the process is."""
    if sys.argv[1] == "--prepare":
        prepare()
        return
    output = Path(sys.argv[1])
    outcomes = {}
    for name, probe in probes(str(output.parent)).items():
        if name in sys.argv[3:]:
            outcomes[name] = "not tried"
            continue
        try:
            probe()
        except OSError as error:
            outcomes[name] = errno.errorcode.get(error.errno or 0, error.strerror or str(error))
        else:
            outcomes[name] = "allowed"
    Path("/dev/shm/left-behind").touch()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    facts = {
        "status": {
            name: status[name].strip() for name in ("Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
        },
        "namespaces": {
            name: os.readlink(f"/proc/self/ns/{name}") for name in ("ipc", "mnt", "net", "user", "uts")
        },
        "uid_map_lines": len(Path("/proc/self/uid_map").read_text().splitlines()),
        "core_limit": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "file_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "oom_score_adjust": Path("/proc/self/oom_score_adj").read_text().strip(),
        "keyring": libc.syscall(SYS_KEYCTL, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0),
        "umask": os.umask(0o077),
    }
    output.write_text(json.dumps({"outcomes": outcomes, "facts": facts}))


main()
