"""spiderwebd: an agent runtime that an operator can trust as a system service."""

__version__ = "0.1.0"
