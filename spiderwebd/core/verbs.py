"""The words for what a worker can do: three kinds of worker, and every verb."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """The three built-in workers."""

    RESEARCH = "research"
    EXECUTION = "execution"
    STATUS = "status"


class Verb(StrEnum):
    """Everything a built-in worker can do."""

    REMEMBER = "remember"
    FORGET = "forget"
    LOAD = "load"
    SUMMARIZE = "summarize"
    WRITE = "write"
    CREATE = "create"
    APPEND = "append"
    READ = "read"
    LIST = "list"
    DELETE = "delete"
    COPY = "copy"
    MOVE = "move"
    MAKE_DIRECTORY = "make directory"
    COUNT = "count"
    REPORT = "report"
    SEARCH = "search"
    SEARCH_FILES = "search files"
    SEARCH_MEMORIES = "search memories"
