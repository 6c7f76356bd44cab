"""The nursery tree: what starts in which order, and what stops in the reverse of it.

house ⊃ store ⊃ links ⊃ sessions and sweeps ⊃ accept. To stop: accept ends first, sessions come to
rest until the deadline, links say goodbye, the store commits what is left, the house closes.
"""

from __future__ import annotations

import json
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import trio

from spiderwebd import __version__, log, systemd
from spiderwebd.clock import Clock, SystemClock
from spiderwebd.config import ConfigError, Loaded
from spiderwebd.config_settings import Settings
from spiderwebd.core.codes import Close, Code, Refused
from spiderwebd.house_rules import (
    announced_limits,
    door_rules_of,
    link_limits_of,
    overload_of,
    principal_rates_of,
    rules_of,
)
from spiderwebd.log_events import EventName
from spiderwebd.metrics import Metrics
from spiderwebd.pulse import Pulse, resident_bytes
from spiderwebd.session import figures, sweeps
from spiderwebd.session.agents import AgentFolder
from spiderwebd.session.desk import HouseDesk
from spiderwebd.session.personas import Personas
from spiderwebd.session.ports import House
from spiderwebd.session.registry import Registry, fresh_id
from spiderwebd.store.legacy import import_directory
from spiderwebd.store.store import DATABASE, Store, open_store
from spiderwebd.tokens import DEFAULT_NAME, Principal, TokenError, TokenFile
from spiderwebd.wire.conversation import Reception
from spiderwebd.wire.door import Door
from spiderwebd.wire.keepalive import KeepaliveSweep
from spiderwebd.wire.link import LinkEnd
from spiderwebd.wire.listen import Endpoint, adopt, local_url, open_tcp, open_unix, with_tls
from spiderwebd.wire.quotas import PrincipalRates
from spiderwebd.work.blocking import InThreads
from spiderwebd.work.documents import DocumentFolders
from spiderwebd.work.slots import FairSlots

LINK_GOODBYE_SECONDS = 2.5
"""From 1001 to the last closed socket; a link's own bound is 2 s."""
ADDRESS_FILE = "address"
"""Where clients on the same machine find the address; removed at the end."""
EXTENSION_SECONDS = 30.0
"""How much more time systemd is asked for at once while starting, and beyond the grace while stopping."""
HANDSHAKE_SECONDS = 0.5
"""For handshakes that were accepted before the stop; who takes longer is refused with draining."""
FAULT_EVENTS: dict[str, EventName] = {
    "session": "session_fault",
    "chat": "work_fault",
    "query": "work_fault",
    "task": "work_fault",
    "link": "link_fault",
    "door": "link_fault",
}
"""The operator event of a fault, by the wall that held it; anything else is a loop."""
REVOCATION_SECONDS = 2.0
"""Between two looks at the tokens; a look is one stat while nothing changes."""
PREDECESSOR_FILES = (".spiderweb-ltm", ".spiderweb-session-state.json")
BLOCKING_THREADS = 4
"""Threads for workers' files and documents; the store has its own."""


@dataclass(slots=True)
class Daemon:
    """One run of the service; `main` is what trio runs."""

    loaded: Loaded
    reload: Callable[[], Loaded]
    """Reads the configuration again; raises ConfigError, and then the old one stays."""
    ready_json: bool = False
    clock: Clock = field(default_factory=SystemClock)
    metrics: Metrics = field(default_factory=Metrics)
    _stop: trio.Event = field(default_factory=trio.Event)
    _starting: trio.CancelScope = field(default_factory=trio.CancelScope)
    _drain_scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _tls: ssl.SSLContext | None = None
    _storage_changed: Callable[[], None] = lambda: None
    _rates: PrincipalRates = field(default_factory=PrincipalRates)
    _house: House | None = None
    _pulse: Pulse | None = None

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings

    async def main(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            SpiderwebError: an address cannot be bound, a token file or database cannot be used.
        """
        log.event("started", version=__version__)
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
                on_salvage=lambda report: log.event("storage_salvaged", reason=report.summary),
                on_state=self._on_storage,
                on_fault=lambda error, about: self._on_fault("store", error),
                on_commit=self.metrics.commit_seconds.observe,
            ) as store:
                await self._serve(store, tokens)
            house_nursery.cancel_scope.cancel(reason="the daemon has stopped")
        log.event("stopped")

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
                on_fault=self._on_fault,
            ),
            personas=Personas(agents, blocking, self._on_identity, self.clock),
            on_fault=self._on_fault,
            fresh_id=fresh_id,
            announced_limits=announced_limits(settings),
            inbox_limit=settings.limits.inbox,
            query_limit=settings.limits.queries,
            watch_seconds=settings.limits.watch_seconds,
            metrics=self.metrics,
        )
        self._house = house
        registry = Registry(house, settings.limits.sessions, settings.sessions.hibernate_seconds)
        keepalive = KeepaliveSweep(
            idle_seconds=settings.keepalive.interval_seconds,
            silent_seconds=settings.keepalive.timeout_seconds,
        )
        self._rates = principal_rates_of(settings)
        verify = partial(self._verify, tokens)
        reception = Reception(
            registry=registry,
            keepalive=keepalive,
            verify=verify,
            limits=lambda: link_limits_of(self.settings),
            connect_seconds=settings.limits.connect_seconds,
            inbox_seconds=settings.limits.inbox_seconds,
            on_attach=self._on_attach,
            on_refused=lambda peer: log.event("authentication_refused", peer=peer),
            on_end=self._on_link_end,
            links_per_principal=lambda: self.settings.limits.links_per_principal,
            rates=lambda: self._rates,
            metrics=self.metrics,
        )
        door = Door(
            door_rules_of(settings),
            serve_link=reception.serve_link,
            verify=verify,
            readiness=lambda: self._readiness(store),
            metrics=self.metrics.render,
            may_read_metrics=lambda principal, peer: principal is not None,
            on_fault=lambda where, error: self._on_fault(where, error, ""),
            overload=lambda: "" if self._pulse is None else self._pulse.overload.reason,
        )
        self._storage_changed = registry.note_storage
        self.metrics.before_render.append(partial(self._refresh, registry, door, store))
        pulse = Pulse(
            store.writer,
            self.metrics,
            status=partial(self._status, registry, door, store),
            on_stall=self._on_stall,
            overload=overload_of(settings),
            on_overload=self._on_overload,
            watchdog_seconds=systemd.watchdog_seconds(),
        )
        self._pulse = pulse
        endpoints = await self._listen()
        address_file = settings.state.directory / ADDRESS_FILE
        try:
            async with trio.open_nursery() as links:
                async with trio.open_nursery() as sessions:
                    await sessions.start(registry.run, name="registry")
                    for loop in self._loops(registry, keepalive, store, pulse, reception, tokens):
                        sessions.start_soon(loop)
                    async with trio.open_nursery() as accept:
                        listeners = [endpoint.listener for endpoint in endpoints]
                        await accept.start(
                            partial(trio.serve_listeners, door.serve, listeners, handler_nursery=links),
                            name="accept",
                        )
                        address_file.write_text(local_url(endpoints[0], tls=self._tls is not None) + "\n")
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
        if not any((directory / name).exists() for name in PREDECESSOR_FILES):
            return
        report = import_directory(directory / DATABASE, directory, DEFAULT_NAME)
        if report.snapshots or report.problems:
            log.event(
                "legacy_imported",
                snapshots=report.snapshots,
                sessions=report.sessions,
                entries=report.entries,
                problems=len(report.problems),
            )
        for problem in report.problems:
            log.get_logger(__name__).warning("a file of the earlier program was passed over", reason=problem)

    async def _drain(self, registry: Registry) -> None:
        log.event("stopping", grace_seconds=self.settings.shutdown.grace_seconds)
        grace = self.settings.shutdown.grace_seconds
        systemd.notify(
            STOPPING=1,
            STATUS=f"draining for at most {grace:g} s",
            EXTEND_TIMEOUT_USEC=int((grace + EXTENSION_SECONDS) * 1_000_000),
        )
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
        if listen.tls_certificate is None or listen.tls_key is None:
            return endpoints
        self._tls = context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(listen.tls_certificate, listen.tls_key)
        return [with_tls(each, context) if each.transport == "tcp" else each for each in endpoints]

    def _loops(
        self,
        registry: Registry,
        keepalive: KeepaliveSweep,
        store: Store,
        pulse: Pulse,
        reception: Reception,
        tokens: TokenFile,
    ) -> Sequence[Callable[[], Awaitable[object]]]:
        settings = self.settings
        found: list[Callable[[], Awaitable[object]]] = [
            partial(
                sweeps.memory_manager_sweep, registry, lambda: self.settings.memory_manager.interval_seconds
            ),
            partial(sweeps.hibernation_sweep, registry),
            partial(sweeps.deadline_sweep, registry),
            partial(store.retain, lambda: self.settings, clock=self.clock, on_removed=registry.note_removals),
            keepalive.run,
            partial(self._revocations, reception, tokens),
            pulse.probe_lag,
            pulse.beat,
        ]
        if settings.heartbeat.enabled:
            random = Random()  # noqa: S311  # spreads load, guards nothing
            found.append(partial(sweeps.heartbeat_sweep, registry, settings.heartbeat.jitter_seconds, random))
        return found

    async def _revocations(self, reception: Reception, tokens: TokenFile) -> None:
        """End the links of revoked tokens, soon after; a file that cannot be read revokes nobody."""
        while True:
            await trio.sleep(REVOCATION_SECONDS)
            try:
                reception.close_revoked({token.name for token in tokens.list()})
            except TokenError as error:
                log.get_logger(__name__).error("tokens cannot be checked; nobody gets in", reason=str(error))

    async def _signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as arrivals:
            task_status.started()
            async for number in arrivals:
                if number == signal.SIGHUP:
                    self._reload()
                elif self._stop.is_set():
                    self._drain_scope.cancel(reason="a second signal: now")
                else:
                    self._stop.set()

    async def _extend_start(self) -> None:
        """Ask systemd for more time while a migration or a recovery keeps the daemon from being ready."""
        with self._starting:
            while True:
                systemd.notify(EXTEND_TIMEOUT_USEC=int(EXTENSION_SECONDS * 1_000_000), STATUS="starting")
                await trio.sleep(EXTENSION_SECONDS / 3)

    def _reload(self) -> None:
        systemd.reloading()
        try:
            loaded = self.reload()
            self._renew_certificate(loaded.settings)
        except (ConfigError, OSError) as error:  # ssl.SSLError is an OSError
            log.event("reload_refused", reason=str(error))
            systemd.notify(READY=1, STATUS="reload refused; the old configuration stays")
            return
        self.loaded = loaded
        log.set_level(loaded.settings.log.level)
        if self._house is not None:
            self._house.rules = rules_of(loaded.settings)
            self._house.announced_limits = announced_limits(loaded.settings)
        self._rates = principal_rates_of(loaded.settings)
        log.event("reloaded")
        systemd.notify(READY=1, STATUS="serving")

    def _renew_certificate(self, settings: Settings) -> None:
        """Serve new links with the certificate as its files are now; raises OSError and keeps the old."""
        listen = settings.listen
        if self._tls is not None and listen.tls_certificate is not None and listen.tls_key is not None:
            # Tried on a context of its own first: a key that does not fit must not half replace the old.
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                listen.tls_certificate, listen.tls_key
            )
            self._tls.load_cert_chain(listen.tls_certificate, listen.tls_key)

    def _say_ready(self, endpoints: Sequence[Endpoint]) -> None:
        self._starting.cancel(reason="the daemon is ready")
        addresses = [endpoint.address for endpoint in endpoints]
        if self.ready_json:
            line = {"event": "ready", "listen": addresses[0], "addresses": addresses, "version": __version__}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        log.event("ready", listen=", ".join(addresses))
        systemd.notify(READY=1, STATUS=f"serving on {', '.join(addresses)}")

    def _verify(self, tokens: TokenFile, token: str) -> Principal | None:
        try:
            return tokens.verify(token)
        except TokenError as error:
            log.get_logger(__name__).error("tokens cannot be checked; nobody gets in", reason=str(error))
            return None

    def _readiness(self, store: Store) -> Refused | None:
        if store.writer.degraded:
            return Refused("The disk cannot be written; the store is degraded.", Code.STORAGE_UNAVAILABLE)
        if self._pulse is not None and self._pulse.stalled:
            return Refused("The store does not answer; the disk stalls.", Code.STORAGE_UNAVAILABLE)
        return None

    def _refresh(self, registry: Registry, door: Door, store: Store) -> None:
        metrics, writer = self.metrics, store.writer.statistics
        figures.collect(metrics, registry)
        metrics.links = door.links
        metrics.log_drops = log.dropped()
        metrics.store_queue = metrics.queue_depth["store"] = writer.depth
        metrics.queue_oldest_seconds["store"] = writer.oldest_seconds
        metrics.overloaded = self._pulse is not None and bool(self._pulse.overload.reason)
        metrics.resident_bytes = resident_bytes()

    def _status(self, registry: Registry, door: Door, store: Store) -> str:
        depth = store.writer.statistics.depth
        degraded = f"; storage degraded: {store.writer.degraded}" if store.writer.degraded else ""
        return f"{len(registry.awake)} sessions awake, {door.links} links, {depth} writes queued{degraded}"

    def _on_stall(self, stalled: bool) -> None:
        if stalled:
            log.event("storage_degraded", reason="the store does not answer; the disk stalls")
        else:
            log.event("storage_recovered")

    def _on_identity(self, agent: str, message: str) -> None:
        log.get_logger(__name__).warning("an identity file has a fault", agent=agent, reason=message)

    def _on_overload(self, reason: str) -> None:
        if reason:
            log.event("overload_began", reason=reason)
        else:
            log.event("overload_ended")

    def _on_attach(self, principal: Principal, agent: str, key: str, peer: str) -> None:
        self.metrics.links_opened += 1
        log.event(
            "attach", principal=principal.name, role=principal.role.value, agent=agent, session=key, peer=peer
        )

    def _on_link_end(self, end: LinkEnd, key: str) -> None:
        if end.code == Close.SLOW_CONSUMER:
            self.metrics.outbox_drops += 1
        log.get_logger(__name__).debug("link ended", code=end.code, reason=end.reason, session=key)

    def _on_fault(self, where: str, error: BaseException, key: str = "") -> None:
        self.metrics.faults[where] += 1
        log.event(FAULT_EVENTS.get(where, "loop_fault"), where=where, session=key, exc_info=error)

    def _on_storage(self, degraded: bool, reason: str) -> None:
        self._storage_changed()
        if degraded:
            log.event("storage_degraded", reason=reason)
        else:
            log.event("storage_recovered")
