"""Values compare and hash by their fields, have slots, and are only made frozen."""

from __future__ import annotations

import pytest

from spiderwebd.core.records import EventRecord
from spiderwebd.core.values import value


def test_a_value_is_what_its_fields_are() -> None:
    """Equal fields make equal values, in sets too; there is no room for anything else."""
    one, other = (EventRecord(1, 2, "pong", "r", "{}", 3) for _ in range(2))
    assert one == other
    assert len({one, other}) == 1
    with pytest.raises(AttributeError):
        one.note = "more"  # type: ignore[attr-defined]  # that is the point


@pytest.mark.parametrize(("frozen", "slots"), [(False, True), (True, False)])
def test_nothing_else_is_called_a_value(frozen: bool, slots: bool) -> None:
    """What may change, or has a dict, is an ordinary dataclass."""
    with pytest.raises(TypeError, match="frozen and slotted"):

        @value(frozen=frozen, slots=slots)
        class Loose:
            field: int
