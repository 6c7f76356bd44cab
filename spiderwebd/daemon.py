"""The nursery tree: what starts in which order, and what stops in the reverse of it.

house ⊃ store ⊃ links ⊃ sessions and sweeps ⊃ accept. To stop: accept ends first, sessions come to
rest until the deadline, links say goodbye, the store commits what is left, the house closes.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import trio

from spiderwebd import systemd
from spiderwebd.clock import Clock, SystemClock
from spiderwebd.config import Loaded
from spiderwebd.config_settings import Settings
from spiderwebd.core.codes import Close, StorageUnavailable
from spiderwebd.house_rules import (
    InForce,
    announced_limits,
    door_rules_of,
    overload_of,
    rules_of,
)
from spiderwebd.metrics import Metrics
from spiderwebd.pulse import Pulse
from spiderwebd.reporting import EXTENSION_SECONDS, Reporter, Rooms
from spiderwebd.session import sweeps
from spiderwebd.session.agents import AgentFolder
from spiderwebd.session.desk import HouseDesk
from spiderwebd.session.personas import Personas
from spiderwebd.session.ports import House
from spiderwebd.session.registry import Registry, fresh_id
from spiderwebd.store.legacy import import_directory
from spiderwebd.store.store import DATABASE, Store, open_store
from spiderwebd.tokens import DEFAULT_NAME, Principal, TokenError, TokenFile
from spiderwebd.wire.certificate import Certificate
from spiderwebd.wire.conversation import Reception
from spiderwebd.wire.door import Door
from spiderwebd.wire.keepalive import KeepaliveSweep
from spiderwebd.wire.listen import Endpoint, adopt, local_url, open_tcp, open_unix, refuse_exposed, with_tls
from spiderwebd.work.blocking import InThreads
from spiderwebd.work.documents import DocumentFolders
from spiderwebd.work.slots import FairSlots

LINK_GOODBYE_SECONDS = 2.5
"""From 1001 to the last closed socket; a link's own bound is 2 s."""
ADDRESS_FILE = "address"
"""Where clients on the same machine find the address; removed at the end."""
HANDSHAKE_SECONDS = 0.5
"""For handshakes that were accepted before the stop; who takes longer is refused with draining."""
REVOCATION_SECONDS = 2.0
"""Between two looks at the tokens; a look is one stat while nothing changes."""
LOOP_PAUSE_SECONDS = 5.0
"""From a bug in a loop to its next try: seldom enough that one which always fails floods no log."""
PREDECESSOR_FILES = (".spiderweb-ltm", ".spiderweb-session-state.json")
BLOCKING_THREADS = 4
"""Threads for workers' files and documents; the store has its own."""


Loop = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Daemon:
    """One run of the service; `main` is what trio runs."""

    loaded: Loaded
    """The settings to start with."""
    reload: Callable[[], Loaded]
    """Reads the configuration again; raises ConfigError, and then the old one stays."""
    ready_json: bool = False
    clock: Clock = field(default_factory=SystemClock)
    metrics: Metrics = field(default_factory=Metrics)
    _in_force: InForce = field(init=False)
    _report: Reporter = field(init=False)
    _stop: trio.Event = field(default_factory=trio.Event)
    _starting: trio.CancelScope = field(default_factory=trio.CancelScope)
    _drain_scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _storage_changed: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._in_force = InForce(self.loaded, self.reload)
        self._report = Reporter(self.metrics, ready_json=self.ready_json)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._in_force.settings

    async def main(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            SpiderwebError: an address cannot be bound, a token file or database cannot be used.
        """
        self._report.started()
        directory = self.settings.state.directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        tokens = TokenFile(directory, self.clock)
        tokens.ensure_default()
        async with trio.open_nursery() as house_nursery:
            await house_nursery.start(self._signals, name="signals")
            house_nursery.start_soon(self._extend_start, name="start")
            await trio.to_thread.run_sync(self._import_predecessor, directory)
            async with open_store(
                directory / DATABASE,
                synchronous="FULL" if self.settings.store.synchronous == "full" else "NORMAL",
                batch=self.settings.store.batch,
                queue_submissions=self.settings.store.queue,
                backlog_bytes=self.settings.store.backlog_bytes,
                clock=self.clock,
                on_migrated=self._report.migrated,
                on_salvage=self._report.salvaged,
                on_state=self._on_storage,
                on_fault=lambda error, about: self._report.fault("store", error),
                on_commit=self.metrics.commit_seconds.observe,
            ) as store:
                await self._serve(store, tokens)
            house_nursery.cancel_scope.cancel(reason="the daemon has stopped")
        self._report.stopped()

    async def _serve(self, store: Store, tokens: TokenFile) -> None:
        settings = self.settings
        agents = AgentFolder(settings.agents.directory)
        blocking = InThreads(trio.CapacityLimiter(BLOCKING_THREADS))
        house = House(
            writer=store.writer,
            reader=store.reader,
            clock=self.clock,
            rules=rules_of(settings),
            desk=HouseDesk(
                reader=store.reader,
                writer=store.writer,
                agents=agents,
                files_root=settings.state.directory / "files",
                documents=DocumentFolders(settings.workers.document_directories),
                blocking=blocking,
                slots=FairSlots(settings.workers.total),
                task_seconds=lambda: self.settings.workers.task_seconds,
                on_fault=self._report.fault,
            ),
            personas=Personas(agents, blocking, self._report.identity, self.clock),
            on_fault=self._report.fault,
            fresh_id=fresh_id,
            announced_limits=announced_limits(settings),
            inbox_limit=settings.limits.inbox,
            inbox_seconds=settings.limits.inbox_seconds,
            query_limit=settings.limits.queries,
            watch_seconds=settings.limits.watch_seconds,
            metrics=self.metrics,
        )
        self._in_force.house = house
        registry = Registry(house, settings.limits.sessions, settings.sessions.hibernate_seconds)
        keepalive = KeepaliveSweep(
            idle_seconds=settings.keepalive.interval_seconds,
            silent_seconds=settings.keepalive.timeout_seconds,
        )
        verify = partial(self._verify, tokens)
        reception = Reception(
            registry=registry,
            keepalive=keepalive,
            verify=verify,
            limits=lambda: self._in_force.link_limits,
            connect_seconds=settings.limits.connect_seconds,
            on_attach=self._report.attached,
            on_refused=self._report.refused,
            on_end=self._report.link_ended,
            links_per_principal=lambda: self.settings.limits.links_per_principal,
            rates=lambda: self._in_force.rates,
            metrics=self.metrics,
        )
        pulse = Pulse(
            store.writer,
            self.metrics,
            status=self._report.status,
            on_stall=partial(self._on_stall, house),
            overload=overload_of(settings),
            on_overload=self._report.overload,
            clock=self.clock,
            on_step=self._report.clock_stepped,
            waiting=lambda: registry.busy,
            watchdog_seconds=systemd.watchdog_seconds(),
        )
        door = Door(
            door_rules_of(settings),
            serve_link=reception.serve_link,
            verify=verify,
            readiness=pulse.refusal,
            metrics=self._metrics_text,
            may_read_metrics=lambda principal, peer: principal is not None,
            on_fault=self._report.fault,
            overload=lambda: pulse.overload.reason,
        )
        self._storage_changed = registry.note_storage
        self.metrics.links_refused = door.refused
        self._in_force.overload = pulse.overload
        self._report.rooms = Rooms(registry, door, store.writer, pulse)
        self.metrics.before_render.append(self._report.refresh)
        endpoints = await self._listen()
        address_file = settings.state.directory / ADDRESS_FILE
        try:
            async with trio.open_nursery() as links:
                async with trio.open_nursery() as sessions:
                    await sessions.start(registry.run, name="registry")
                    for name, loop in self._loops(
                        registry, keepalive, store, pulse, reception, tokens
                    ).items():
                        sessions.start_soon(self._walled, name, loop, name=name)
                    async with trio.open_nursery() as accept:
                        listeners = [endpoint.listener for endpoint in endpoints]
                        await accept.start(
                            partial(trio.serve_listeners, door.serve, listeners, handler_nursery=links),
                            name="accept",
                        )
                        address_file.write_text(
                            local_url(endpoints[0], tls=self._in_force.certificate is not None) + "\n"
                        )
                        self._say_ready(endpoints)
                        await self._stop.wait()
                        accept.cancel_scope.cancel(reason="the daemon stops")
                    with trio.move_on_after(HANDSHAKE_SECONDS):
                        # Who was accepted before the stop is served; the next instance has the rest.
                        await door.arrivals_done()
                    door.draining = True
                    await self._drain(registry)
                    sessions.cancel_scope.cancel(reason="the daemon stops")
                keepalive.close_all(Close.GOING_AWAY)
                links.cancel_scope.deadline = trio.current_time() + LINK_GOODBYE_SECONDS
        finally:
            address_file.unlink(missing_ok=True)
            for endpoint in endpoints:
                endpoint.remove()

    def _import_predecessor(self, directory: Path) -> None:
        """Take over what the predecessor left in the state directory; its own files stay as they are."""
        if any((directory / name).exists() for name in PREDECESSOR_FILES):
            self._report.imported(import_directory(directory / DATABASE, directory, DEFAULT_NAME))

    async def _drain(self, registry: Registry) -> None:
        grace = self.settings.shutdown.grace_seconds
        self._report.draining(grace)
        deadline = trio.current_time() + grace
        with self._drain_scope:
            await registry.drain(deadline)

    async def _listen(self) -> list[Endpoint]:
        listen = self.settings.listen
        inherited = adopt(systemd.listen_sockets())
        if inherited:
            endpoints = inherited
        else:
            endpoints = await open_tcp(listen.host, listen.port)
            if listen.unix_socket is not None:
                endpoints.append(open_unix(listen.unix_socket))
        self._in_force.certificate = certificate = Certificate.of(listen)
        if certificate is None:
            if inherited and not listen.insecure:
                refuse_exposed(inherited)
            return endpoints
        context = certificate.context
        return [with_tls(each, context) if each.transport == "tcp" else each for each in endpoints]

    def _loops(
        self,
        registry: Registry,
        keepalive: KeepaliveSweep,
        store: Store,
        pulse: Pulse,
        reception: Reception,
        tokens: TokenFile,
    ) -> dict[str, Loop]:
        """Return what runs for all until the daemon stops, by name."""
        settings = self.settings
        found: dict[str, Loop] = {
            "memory manager": partial(
                sweeps.memory_manager_sweep, registry, lambda: self.settings.memory_manager.interval_seconds
            ),
            "hibernation": partial(sweeps.hibernation_sweep, registry),
            "deadlines": partial(sweeps.deadline_sweep, registry),
            "telemetry": partial(sweeps.telemetry_sweep, registry),
            "retention": partial(
                store.retain, lambda: self.settings, clock=self.clock, on_removed=registry.note_removals
            ),
            "keepalive": keepalive.run,
            "revocation": partial(self._revocations, reception, tokens),
            "lag probe": pulse.probe_lag,
            "watchdog": pulse.beat,
        }
        if settings.heartbeat.enabled:
            random = Random()  # noqa: S311  # spreads load, guards nothing
            found["heartbeat"] = partial(
                sweeps.heartbeat_sweep, registry, settings.heartbeat.jitter_seconds, random
            )
        return found

    async def _walled(self, name: str, loop: Loop) -> None:
        """Run a loop until cancelled; a bug in it costs the round it was in, and a pause."""
        while True:
            try:
                await loop()
            except StorageUnavailable:
                pass  # the disk or the store's end: told by others, and no fault of the loop
            except Exception as error:
                self._report.fault(name, error)
            await trio.sleep(LOOP_PAUSE_SECONDS)

    async def _revocations(self, reception: Reception, tokens: TokenFile) -> None:
        """End the links of revoked tokens, soon after; a file that cannot be read revokes nobody."""
        while True:
            await trio.sleep(REVOCATION_SECONDS)
            try:
                reception.close_revoked({token.name for token in tokens.list()})
            except TokenError as error:
                self._report.tokens_unreadable(error)

    async def _signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as arrivals:
            task_status.started()
            async for number in arrivals:
                if number == signal.SIGHUP:
                    self._report.reload(self._in_force.reload)
                elif self._stop.is_set():
                    self._drain_scope.cancel(reason="a second signal: now")
                else:
                    self._stop.set()

    async def _extend_start(self) -> None:
        with self._starting:
            while True:
                self._report.still_starting()
                await trio.sleep(EXTENSION_SECONDS / 3)

    def _say_ready(self, endpoints: Sequence[Endpoint]) -> None:
        self._starting.cancel(reason="the daemon is ready")
        self._report.ready([endpoint.address for endpoint in endpoints])

    def _metrics_text(self) -> bytes:
        from spiderwebd.exposition import render  # its library need not be there to be ready

        return render(self.metrics)

    def _verify(self, tokens: TokenFile, token: str) -> Principal | None:
        try:
            return tokens.verify(token)
        except TokenError as error:
            self._report.tokens_unreadable(error)
            return None

    def _on_stall(self, house: House, stalled: bool) -> None:
        house.stalled = stalled
        self._storage_changed()
        self._report.stalled(stalled)

    def _on_storage(self, degraded: bool, reason: str) -> None:
        self._storage_changed()
        self._report.storage(degraded, reason)
