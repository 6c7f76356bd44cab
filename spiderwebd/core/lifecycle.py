"""One word for where a session stands, for people and dashboards; `mode` and counters say it in figures."""

from __future__ import annotations

LIFECYCLE = {
    "draining": "The daemon stops: what runs may end, nothing further is begun.",
    "degraded": "The disk cannot be written: work goes on as long as memory holds it.",
    "paused": "Goals are open, and `resume` lets them go on.",
    "running": "A worker has at least one task.",
    "dispatching": "Tasks are started, and wait for one of the daemon's slots.",
    "planning": "A message is being answered; no task is started.",
    "waiting": "Something is open, and nothing of it is under way.",
    "blocked": "Nothing is open, and the last goal ended with a task that nobody could do.",
    "idle": "Nothing is open.",
}
"""Every word with its meaning; the first that applies is told."""


def word(
    *,
    draining: bool,
    degraded: bool,
    paused: bool,
    goals: int,
    active: int,
    working: int,
    chats: int,
    answering: bool,
    blocked: bool,
) -> str:
    """Return the first word of LIFECYCLE that applies.

    `goals` and `chats` count what is open, `active` the tasks started, `working` those a worker has.
    """
    applies = {
        "draining": draining,
        "degraded": degraded,
        "paused": paused and goals > 0,
        "running": working > 0,
        "dispatching": active > 0,
        "planning": answering,
        "waiting": goals > 0 or chats > 0,
        "blocked": blocked,
    }
    return next((name for name, applying in applies.items() if applying), "idle")
