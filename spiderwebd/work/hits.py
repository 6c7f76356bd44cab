"""What a search of memories brings, as research and chat see it, and how it is cited."""

from __future__ import annotations

from typing import Protocol


class Hit(Protocol):
    """One memory that matches. Read only; the store's own rows may serve."""

    @property
    def memory_id(self) -> int:
        """Its id, which means something only together with its session."""

    @property
    def role(self) -> str:
        """user, assistant, system, tool or tool_result."""

    @property
    def content(self) -> str:
        """The full text."""

    @property
    def score(self) -> float:
        """The larger, the better."""

    @property
    def own(self) -> bool:
        """Whether it belongs to the session that asks; ids of others cannot be loaded there."""


def cited(hit: Hit) -> str:
    """Return the id as people write it: `#12`, and where it counts when it is another session's."""
    return f"#{hit.memory_id}" if hit.own else f"#{hit.memory_id} of another session"
