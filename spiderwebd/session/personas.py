"""Who each agent is right now: merged identities, kept until one of their files changes.

A change on disk is picked up by the next look, without reconnecting. Conflicts and unusable files are
logged once for each state of the files, not at every look.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from spiderwebd.clock import Clock
from spiderwebd.core.identity import Identity
from spiderwebd.session.agents import AgentFolder
from spiderwebd.work.blocking import RunBlocking

KEPT = 256
"""Identities kept at once; an agent id costs nothing to make up, so there must be a bound."""


FRESH_SECONDS = 1.0
"""So many links that attach in one second cost one look at the disk."""


@dataclass(frozen=True, slots=True)
class Persona:
    """One agent's identity, as of one state of its files."""

    agent: str
    identity: Identity
    digest: str
    """Tells clients whether the identity is another one (Identity.digest)."""
    fingerprint: tuple[tuple[int, ...], ...]


@dataclass(slots=True)
class Personas:
    """Looks identities up off the loop."""

    folder: AgentFolder
    blocking: RunBlocking
    on_notice: Callable[[str, str], None]
    """(agent, message): a conflict between layers, or a file that cannot be used."""
    clock: Clock
    _kept: OrderedDict[str, Persona] = field(default_factory=OrderedDict, init=False)
    _looked: dict[str, float] = field(default_factory=dict, init=False)

    async def current(self, agent: str) -> Persona:
        """Return the agent's identity as its files are, or were up to FRESH_SECONDS ago.

        Raises Refused for an invalid id.
        """
        known = self._kept.get(agent)
        now = self.clock.monotonic()
        if known is not None and now - self._looked.get(agent, 0.0) < FRESH_SECONDS:
            return known
        persona = await self.blocking(lambda: self._look(agent, known))
        self._looked[agent] = now
        if persona is not known:
            self._keep(persona)
        return persona

    def known_digest(self, agent: str) -> str:
        """Return the digest of the last look, or an empty text before the first."""
        known = self._kept.get(agent)
        return "" if known is None else known.digest

    def _look(self, agent: str, known: Persona | None) -> Persona:
        fingerprint = self.folder.fingerprint(agent)
        if known is not None and known.fingerprint == fingerprint:
            return known
        identity = self.folder.identity(agent)
        return Persona(agent, identity, identity.digest, fingerprint)

    def _keep(self, persona: Persona) -> None:
        self._kept[persona.agent] = persona
        self._kept.move_to_end(persona.agent)
        while len(self._kept) > KEPT:
            forgotten, _ = self._kept.popitem(last=False)
            del self._looked[forgotten]
        for conflict in persona.identity.conflicts:
            self.on_notice(persona.agent, conflict.message)
        for problem in persona.identity.problems:
            self.on_notice(persona.agent, problem.message)
