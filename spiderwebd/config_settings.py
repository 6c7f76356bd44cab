"""Every setting there is: its default, its bounds, its unit, and the combinations that are refused.

One frozen model a section. The description of a key is its documentation: etc/spiderwebd.toml
repeats it word for word (tests/test_config.py compares them).
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _path(value: object) -> object:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text: a path")
    if not value or "\0" in value:
        raise ValueError("must be a path, not empty and without NUL")
    return Path(value)


def _optional_path(value: object) -> object:
    return None if value in ("", None) else _path(value)


def split_address(address: str) -> tuple[str, int]:
    """Split `host:port` or `[IPv6]:port` into host and port.

    Raises ValueError unless the host is an IP address or `localhost` and the port is 0 to 65535:
    whether any other name is loopback cannot be known without asking the network.
    """
    match = re.fullmatch(r"(?:\[(?P<six>[^\]]+)\]|(?P<four>[^:\[\]]+)):(?P<port>[0-9]{1,5})", address)
    try:
        if match is None or int(match["port"]) > 65535:
            raise ValueError
        if match["six"]:
            host = str(ipaddress.IPv6Address(match["six"]))
        elif match["four"] == "localhost":
            host = "localhost"
        else:
            host = str(ipaddress.IPv4Address(match["four"]))
    except ValueError:
        raise ValueError("must be IPv4:port, [IPv6]:port or localhost:port") from None
    return host, int(match["port"])


def _address(value: str) -> str:
    split_address(value)
    return value


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        # What RFC 6454 section 6.2 lets a browser send; a wildcard would let in every page.
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s*?#A-Z]+", value):
            raise ValueError(f"{value!r} is no origin; write it as a browser sends it: https://host[:port]")
    return values


FilePath = Annotated[Path, BeforeValidator(_path)]
OptionalPath = Annotated[Path | None, BeforeValidator(_optional_path)]


def _count(default: int, low: int, high: int, text: str) -> Any:
    return Field(default, ge=low, le=high, description=text)


def _seconds(default: float, low: float, high: float, text: str) -> Any:
    return Field(default, ge=low, le=high, allow_inf_nan=False, description=text)


def _text(default: object, text: str) -> Any:
    return Field(default, description=text)


def _list(text: str) -> Any:
    # TOML has lists, the frozen model keeps a tuple.
    return Field((), max_length=256, strict=False, description=text)


class Section(BaseModel):
    """One table of the file: frozen, exact in its types, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Listen(Section):
    """Where clients connect."""

    address: Annotated[str, AfterValidator(_address)] = _text(
        "127.0.0.1:18790",
        "TCP address: IPv4:port, [IPv6]:port or localhost:port; port 0 picks a free one.",
    )
    unix_socket: OptionalPath = _text(
        None,
        "Path of a unix socket with peer credentials, beside the TCP address; empty for none.",
    )
    insecure: bool = _text(
        False, "Allow an address that is not loopback without TLS; tokens then cross the network in clear."
    )
    tls_certificate: OptionalPath = _text(
        None, "PEM file with the certificate chain; needs tls_key; empty for none."
    )
    tls_key: OptionalPath = _text(
        None, "PEM file with the private key; needs tls_certificate; empty for none."
    )
    allowed_origins: Annotated[tuple[str, ...], AfterValidator(_origins)] = _list(
        'Web pages that may connect, as browsers send them in Origin: ["https://host[:port]"].'
    )

    @property
    def host(self) -> str:
        """The address without the port, IPv6 without brackets."""
        return split_address(self.address)[0]

    @property
    def port(self) -> int:
        """The TCP port; 0 picks a free one."""
        return split_address(self.address)[1]

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback


class State(Section):
    """What the daemon keeps."""

    directory: FilePath = _text(
        Path("/var/lib/spiderwebd"), "Folder of the database, the tokens and the sessions' files."
    )


class Agents(Section):
    """Who the agents are."""

    directory: FilePath = _text(
        Path("/etc/spiderwebd/agents"),
        "Folder of the agents: one folder each, with SOUL.md, AGENT.md, IDENTITY.md and USER.md.",
    )


class Limits(Section):
    """Bounds on what clients may ask for; past them the daemon refuses with a code."""

    links: int = _count(20_000, 1, 1_000_000, "Open links (sockets) at once.")
    links_per_principal: int = _count(20_000, 1, 1_000_000, "Open links of one principal at once.")
    sessions: int = _count(10_000, 1, 1_000_000, "Sessions awake at once.")
    frame_bytes: int = _count(262_144, 1_024, 16_777_216, "Bytes of one frame from a client.")
    head_bytes: int = _count(16_384, 1_024, 1_048_576, "Bytes of an HTTP request head.")
    head_seconds: float = _seconds(5, 0.1, 300, "Seconds in which the HTTP request head must be whole.")
    connect_seconds: float = _seconds(
        5, 0.1, 300, "Seconds in which the connect frame must come on a link without an Authorization header."
    )
    message_bytes: int = _count(4_096, 1, 1_048_576, "UTF-8 bytes of the text of a chat, goal or memory.")
    inbox: int = _count(64, 1, 65_536, "Requests waiting in one session.")
    inbox_seconds: float = _seconds(
        5, 0.01, 300, "Seconds in which a session has to take a request in; after that it is refused."
    )
    chats_queued: int = _count(64, 1, 4_096, "Messages of one session that wait for their answers.")
    outbox_frames: int = _count(1_024, 16, 1_048_576, "Frames waiting for one link before it is closed.")
    outbox_bytes: int = _count(
        1_048_576, 65_536, 1_073_741_824, "Bytes waiting for one link before it is closed."
    )
    write_seconds: float = _seconds(10, 0.1, 600, "Seconds that one write to a link may take.")
    frames_per_second: float = _seconds(
        20_000, 1, 10_000_000, "Websocket frames a second from one link, sustained; twice as many in a burst."
    )
    bytes_per_second: float = _seconds(
        67_108_864,
        65_536,
        1e12,
        "Bytes of websocket frames a second from one link, sustained; twice as many in a burst.",
    )
    fast_links: bool = _text(
        True, "Decode frames by the daemon's own codec; false leaves links to trio-websocket throughout."
    )
    queries: int = _count(16, 1, 1_024, "Memory and history queries of one session at once.")
    goals_queued: int = _count(32, 1, 4_096, "Goals of one session that wait or run.")
    goals_total: int = _count(4_096, 1, 1_048_576, "Goals that wait or run, all awake sessions together.")
    tasks_queued: int = _count(1_024, 1, 1_048_576, "Tasks of one session that wait to be started.")
    tasks_total: int = _count(
        16_384, 1, 16_777_216, "Tasks that wait to be started, all awake sessions together."
    )
    principal_frames_per_second: float = _seconds(
        0, 0, 10_000_000, "Messages a second of one principal, twice as many in a burst; 0 is no limit."
    )
    principal_bytes_per_second: float = _seconds(
        0, 0, 1e12, "Bytes of messages a second of one principal, twice as many in a burst; 0 is no limit."
    )
    principal_attaches_per_second: float = _seconds(
        0, 0, 1_000_000, "Attaches a second of one principal, twice as many in a burst; 0 is no limit."
    )
    watch_seconds: float = _seconds(
        0.25,
        0.01,
        60,
        "Seconds, at least, between two agent.state frames of a watch, or two words of a running task.",
    )
    attach_handshakes: int = _count(256, 1, 65_536, "Handshakes at once, from accept to session.ack.")


class Memory(Section):
    """Working memory of a session, and what is kept behind it."""

    max_entries: int = _count(64, 4, 65_536, "Active entries in working memory.")
    max_bytes: int = _count(16_384, 1_024, 16_777_216, "UTF-8 bytes of the active entries in working memory.")
    max_tokens: int = _count(
        0, 0, 16_777_216, "Estimated tokens of the active entries in working memory; 0 is no limit."
    )
    max_tombstones: int = _count(64, 1, 65_536, "Tombstones in working memory, counted apart from entries.")
    max_summaries: int = _count(64, 1, 65_536, "Summaries in working memory, counted apart from entries.")
    max_summary_bytes: int = _count(8_192, 256, 16_777_216, "UTF-8 bytes of all summaries in working memory.")
    summary_bytes: int = _count(160, 32, 65_536, "UTF-8 bytes of one summary.")
    keep_archives: int = _count(24, 0, 1_000_000, "Dated archives kept a session; 0 is no limit.")
    keep_archive_days: int = _count(30, 0, 36_500, "Days for which an archive is kept; 0 is no limit.")
    keep_entries_days: int = _count(
        0, 0, 36_500, "Days for which the full text of a memory is kept; 0 keeps it for ever."
    )


class MemoryManager(Section):
    """The sweep that compacts working memory between turns."""

    interval_seconds: float = _seconds(5, 0.05, 86_400, "Seconds between two sweeps over changed sessions.")
    entry_ratio: float = _seconds(
        0.75, 0.1, 1, "Part of memory.max_entries, 0.1 to 1, from which entries are compacted."
    )
    byte_ratio: float = _seconds(
        0.9, 0.1, 1, "Part of memory.max_bytes, 0.1 to 1, from which entries are compacted."
    )
    batch: int = _count(2, 1, 1_024, "Entries compacted in one step.")


class Planner(Section):
    """From the text of a goal to its tasks."""

    max_tasks: int = _count(32, 1, 1_024, "Tasks of one goal; the plan frame reports what lies beyond.")


class Workers(Section):
    """Who carries out tasks."""

    per_session: int = _count(2, 1, 1_024, "Tasks of one session that run at once.")
    total: int = _count(8, 1, 4_096, "Tasks that run at once, shared fairly between sessions.")
    task_seconds: float = _seconds(60, 0.1, 86_400, "Seconds that one task may run.")
    goal_seconds: float = _seconds(3_600, 0.1, 2_592_000, "Seconds from acceptance to the end of a goal.")
    queue_seconds: float = _seconds(
        1_800,
        0,
        2_592_000,
        "Seconds from acceptance of a goal after which no task of it is started; 0: until its end.",
    )
    chat_seconds: float = _seconds(
        600, 0.1, 2_592_000, "Seconds from acceptance of a message after which it is not answered any more."
    )
    document_directories: tuple[FilePath, ...] = _list("Folders that research may read, a list of paths.")


class Heartbeat(Section):
    """The sign of life that a session gives by itself."""

    enabled: bool = _text(True, "Send heartbeats that nobody asked for.")
    interval_seconds: float = _seconds(30, 0.05, 86_400, "Seconds between two heartbeats of a session.")
    jitter_seconds: float = _seconds(
        5, 0, 3_600, "Seconds, at most, by which a heartbeat comes later than its interval."
    )


class Events(Section):
    """The event log from which links resume."""

    keep_count: int = _count(4_096, 16, 10_000_000, "Newest events kept a session.")
    keep_days: int = _count(7, 1, 36_500, "Days for which events are kept.")
    requests_kept: int = _count(
        1_024, 16, 1_000_000, "Newest request ids a session remembers, to do each request once."
    )


class Sessions(Section):
    """The life of a session in the daemon's memory."""

    hibernate_seconds: float = _seconds(
        60, 0.05, 2_592_000, "Seconds without link and work after which a session goes to sleep on disk."
    )


class Store(Section):
    """The database and its one thread."""

    queue: int = _count(4_096, 16, 1_048_576, "Submissions waiting for the store's thread.")
    batch: int = _count(256, 1, 65_536, "Submissions committed in one transaction.")
    backlog_bytes: int = _count(
        16_777_216, 65_536, 1_073_741_824, "Bytes held in memory while the disk cannot be written."
    )
    synchronous: Literal["full", "normal"] = _text(
        "full", "full: a power cut loses nothing acknowledged; normal: only a crash of the daemon does not."
    )


class Keepalive(Section):
    """Pings that find dead links."""

    interval_seconds: float = _seconds(
        240,
        0.1,
        3_600,
        "Seconds between two pings of a silent link; the kernel's keepalive finds dead machines.",
    )
    timeout_seconds: float = _seconds(
        300, 0.1, 7_200, "Seconds of silence after which a link is closed; more than interval_seconds."
    )


class Overload(Section):
    """When the whole daemon has too much to do: the door then answers 503 until it is over."""

    lag_seconds: float = _seconds(0.5, 0, 60, "Seconds by which the loop may be late; 0 is no limit.")
    store_seconds: float = _seconds(3, 0, 600, "Seconds that a write may wait for the disk; 0 is no limit.")
    memory_bytes: int = _count(
        0, 0, 1 << 46, "Resident bytes of the daemon; 0 takes nine tenths of the unit's MemoryHigh."
    )


class Shutdown(Section):
    """How the daemon stops."""

    grace_seconds: float = _seconds(
        10, 0, 600, "Seconds in which sessions finish after SIGTERM; a second SIGTERM ends at once."
    )


class Log(Section):
    """What the operator reads."""

    level: Literal["debug", "info", "warning", "error"] = _text("info", "debug, info, warning or error.")
    format: Literal["auto", "text", "json", "journal"] = _text(
        "auto", "text, json, journal, or auto: journal when systemd reads standard error, else text."
    )


class Settings(BaseModel):
    """All sections. Made by `config.load`; made directly it is the defaults and the arguments alone."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    listen: Listen = Listen()
    state: State = State()
    agents: Agents = Agents()
    limits: Limits = Limits()
    memory: Memory = Memory()
    memory_manager: MemoryManager = MemoryManager()
    planner: Planner = Planner()
    workers: Workers = Workers()
    heartbeat: Heartbeat = Heartbeat()
    events: Events = Events()
    sessions: Sessions = Sessions()
    store: Store = Store()
    keepalive: Keepalive = Keepalive()
    overload: Overload = Overload()
    shutdown: Shutdown = Shutdown()
    log: Log = Log()


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
"""Section name to model, in the order of the file."""

KEYS: tuple[str, ...] = tuple(
    f"{section}.{key}" for section, model in SECTIONS.items() for key in model.model_fields
)
"""Every `section.key`, in the order of the file."""


def contradictions(settings: Settings) -> list[tuple[tuple[str, ...], str]]:
    """Return what is wrong between settings that are right one by one: (keys, reason) each."""
    listen, limits, workers = settings.listen, settings.limits, settings.workers
    keepalive, memory = settings.keepalive, settings.memory
    certificate, key = listen.tls_certificate is not None, listen.tls_key is not None
    checks: list[tuple[bool, tuple[str, ...], str]] = [
        (
            certificate and not key,
            ("listen.tls_certificate",),
            "is set without listen.tls_key; set both or neither",
        ),
        (
            key and not certificate,
            ("listen.tls_key",),
            "is set without listen.tls_certificate; set both or neither",
        ),
        (
            not (listen.loopback or listen.insecure or certificate or key),
            ("listen.address",),
            f"{listen.address} is not loopback: set tls_certificate and tls_key, or insecure = true",
        ),
        (
            limits.message_bytes > limits.frame_bytes,
            ("limits.message_bytes", "limits.frame_bytes"),
            "must not be more than limits.frame_bytes",
        ),
        (
            limits.frame_bytes > limits.outbox_bytes,
            ("limits.outbox_bytes", "limits.frame_bytes"),
            "must hold at least one frame of limits.frame_bytes",
        ),
        (
            memory.summary_bytes > memory.max_summary_bytes,
            ("memory.summary_bytes", "memory.max_summary_bytes"),
            "must not be more than memory.max_summary_bytes",
        ),
        (
            workers.task_seconds > workers.goal_seconds,
            ("workers.task_seconds", "workers.goal_seconds"),
            "must not be more than workers.goal_seconds",
        ),
        (
            keepalive.timeout_seconds <= keepalive.interval_seconds,
            ("keepalive.timeout_seconds", "keepalive.interval_seconds"),
            "must be more than keepalive.interval_seconds, or every link is closed before its ping",
        ),
    ]
    return [(keys, reason) for wrong, keys, reason in checks if wrong]
