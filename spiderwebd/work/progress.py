"""What a running task says of how far it is: the latest word, for whoever tells it."""

from __future__ import annotations


class Progress:
    """Written by a worker, also in a thread of its own; each word takes the place of the one before."""

    __slots__ = ("said", "word")

    def __init__(self) -> None:
        self.word = ""
        """The latest."""
        self.said = 0
        """How many there were."""

    def say(self, word: str) -> None:
        """Take the place of what was said before."""
        self.word = word
        self.said += 1
