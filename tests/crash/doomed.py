"""A daemon that SIGKILLs itself in the middle of something: a kill from outside seldom meets what is short.

`python -m tests.crash.doomed PLACE COUNT MICROSECONDS ARGUMENT...` is `spiderwebd ARGUMENT...`, killed so
long after PLACE was entered for the COUNT-th time. Retention comes soon and often, so that it can be met.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from spiderwebd.cli import main
from spiderwebd.store import indexing, retention, schema, store

PLACES: dict[str, tuple[Any, str]] = {
    "retention": (retention, "prune_slice"),
    "indexing": (indexing, "step"),
    "migration": (schema, "transaction"),
}
"""Module and function that is entered: a slice of retention, of the index, a step of the schema."""
RETENTION_SECONDS = 0.3


def fall(microseconds: int) -> None:
    """End this process by SIGKILL after so long, whatever its other threads do."""

    def wait() -> None:
        time.sleep(microseconds / 1e6)  # the random moment of the kill itself
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def doom(place: str, count: int, microseconds: int) -> None:
    """Let the COUNT-th entry of a place be the last."""
    module, name = PLACES[place]
    real: Callable[..., Any] = getattr(module, name)
    entered = 0

    def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal entered
        entered += 1
        if entered == count:
            fall(microseconds)
        return real(*arguments, **more)

    setattr(module, name, counted)
    store.RETENTION_FIRST_SECONDS = store.RETENTION_SECONDS = RETENTION_SECONDS


if __name__ == "__main__":
    doom(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    raise SystemExit(main(sys.argv[4:]))
