"""The daemon's numbers: plain ones that the rooms change, made into text by `exposition` when asked for.

Adding one costs an integer addition. No key of a Counter holds a session key, a principal or anything
else without a bound: they become labels.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

COMMIT_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Seconds: an fsync takes a fraction of a millisecond on flash, tens of them on a slow disk."""
WAIT_BOUNDS = (0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
"""Seconds: a free slot takes a task at once, a full queue holds it until its deadline."""
LAG_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds: below 10 ms nobody notices, above 1 s pings are late."""


class Histogram:
    """Counts of observations by upper bound; the last bucket has none."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value; a value equal to a bound belongs below it, as Prometheus has it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return (upper bound, observations up to it), cumulative, ending with +Inf."""
        rows: list[tuple[str, float]] = []
        seen = 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            seen += count
            rows.append((bound, seen))
        return rows


@dataclass(slots=True)
class Metrics:
    """The daemon's numbers. Gauges say what is now; everything else only grows."""

    links: int = 0
    """Gauge: open links."""
    sessions_awake: int = 0
    """Gauge: sessions with an open nursery."""
    goals_open: int = 0
    """Gauge: goals that wait or run."""
    store_queue: int = 0
    """Gauge: submissions waiting for the store's thread."""
    queue_depth: dict[str, int] = field(default_factory=dict)
    """Gauge: what waits, by queue: store, inbox, chats, goals, tasks (to be started), slots (started)."""
    queue_oldest_seconds: dict[str, float] = field(default_factory=dict)
    """Gauge: how long the oldest in each queue has waited."""
    fairness_ratio: float = 1.0
    """Gauge: longest over median wait for a slot, of the sessions' means lately."""
    overloaded: bool = False
    """Gauge: new links are shed."""
    loop_tasks: int = 0
    """Gauge: tasks of the loop."""
    storage_degraded: bool = False
    """Gauge: the disk cannot be written, or does not answer."""
    storage_backlog_bytes: int = 0
    """Gauge: records in memory that the disk does not have yet."""
    resident_bytes: int = 0
    """Gauge: resident memory."""
    last_heartbeat_ms: int = 0
    """Gauge: when a session last had its heartbeat, wall clock, Unix time; 0 before the first."""
    heartbeats: int = 0
    """Heartbeats that came due by themselves."""
    links_opened: int = 0
    links_refused: Counter[str] = field(default_factory=Counter)
    """Connections refused at the door, by stable code."""
    goals: Counter[str] = field(default_factory=Counter)
    """Goals that reached a state, by state."""
    tasks: Counter[str] = field(default_factory=Counter)
    """Tasks that reached a state, by state."""
    requests_received: int = 0
    """Requests that came: every client frame but ping, pong and disconnect, and each attach."""
    requests_served: int = 0
    """Answered at once since nothing of it had to be kept, or left by their link before that."""
    requests_accepted: int = 0
    """Accepted by a session: on record, and owed an outcome."""
    requests_answered: int = 0
    requests_failed: int = 0
    requests_cancelled: int = 0
    requests_expired: int = 0
    requests_refused: Counter[str] = field(default_factory=Counter)
    """Refusals by stable code."""
    requests_running: int = 0
    """Gauge: accepted requests that are being carried out."""
    requests_queued: int = 0
    """Gauge: accepted requests that wait."""
    requests_left: int = 0
    """Accepted requests without an outcome of sessions that are not awake."""
    faults: Counter[str] = field(default_factory=Counter)
    """Bugs that a wall held, by wall (session, link, ...)."""
    outbox_drops: int = 0
    """Links closed because their outbox was full."""
    states_coalesced: int = 0
    """Changes that a watching link was not told one by one, the latest standing for them."""
    progress_coalesced: int = 0
    """Words of running tasks that were not told, the latest standing for them."""
    log_drops: int = 0
    """Log lines lost."""
    commit_seconds: Histogram = field(default_factory=lambda: Histogram(COMMIT_BOUNDS))
    inbox_wait_seconds: Histogram = field(default_factory=lambda: Histogram(WAIT_BOUNDS))
    """From the coming of a request, or of a result, to the step that takes it in: the oldest of each step."""
    goal_wait_seconds: Histogram = field(default_factory=lambda: Histogram(WAIT_BOUNDS))
    """From accepting a goal to the first of its tasks that is started."""
    task_wait_seconds: Histogram = field(default_factory=lambda: Histogram(WAIT_BOUNDS))
    """From queueing a task to the worker that has it."""
    chat_wait_seconds: Histogram = field(default_factory=lambda: Histogram(WAIT_BOUNDS))
    """From accepting a message to the beginning of its answer."""
    store_lag_seconds: Histogram = field(default_factory=lambda: Histogram(LAG_BOUNDS))
    """How long the oldest write has waited, looked at as often as the loop's lag."""
    loop_lag_seconds: Histogram = field(default_factory=lambda: Histogram(LAG_BOUNDS))
    before_render: list[Callable[[], None]] = field(default_factory=list)
    """Called before each rendering, to set the numbers that somebody else counts."""
