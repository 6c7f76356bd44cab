"""`value`: the decorator of plain data that nobody changes after it is made.

To the type checker it is `dataclasses.dataclass`, so that `frozen=True` is held where code is written.
At run time an instance is an ordinary slotted one: a frozen one sets each field through
`object.__setattr__`, which made the dozen records of a request a tenth of what the request costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen, slots):
        """Make a slotted dataclass that compares and hashes by its fields."""
        if not (frozen and slots):
            raise TypeError("a value is frozen and slotted")
        return dataclass(slots=True, unsafe_hash=True)


__all__ = ["value"]
