"""The numbers as text for Prometheus. Imported when somebody first asks: to be ready takes none of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from typing_extensions import override

from spiderwebd.metrics import Histogram, Metrics


def render(metrics: Metrics) -> bytes:
    """Return everything in the Prometheus text format, refreshed by who counts elsewhere."""
    for refresh in metrics.before_render:
        refresh()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(metrics))
    return generate_latest(registry)


class _Numbers(Collector):
    """The numbers as prometheus-client wants them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield one family a name."""
        numbers = self._metrics
        yield _gauge("links", "Open links.", numbers.links)
        yield _gauge("sessions_awake", "Sessions that are awake.", numbers.sessions_awake)
        yield _gauge("goals_open", "Goals that wait or run.", numbers.goals_open)
        yield _gauge("store_queue", "Submissions waiting for the store's thread.", numbers.store_queue)
        yield _gauges("queue_depth", "What waits, by queue.", "queue", numbers.queue_depth)
        yield _gauges(
            "queue_oldest_seconds", "Age of the oldest that waits.", "queue", numbers.queue_oldest_seconds
        )
        yield _gauge("fairness_ratio", "Longest over median wait for a slot.", numbers.fairness_ratio)
        yield _gauge("overloaded", "Whether new links are shed.", numbers.overloaded)
        yield _gauge("loop_tasks", "Tasks of the loop.", numbers.loop_tasks)
        yield _gauge("storage_degraded", "Whether the disk cannot be written now.", numbers.storage_degraded)
        yield _gauge(
            "storage_backlog_bytes", "Records that wait for the disk.", numbers.storage_backlog_bytes
        )
        yield _gauge("resident_bytes", "Resident memory.", numbers.resident_bytes)
        yield _gauge(
            "last_heartbeat_timestamp_seconds",
            "When a session last had its heartbeat, Unix time; 0 before the first.",
            numbers.last_heartbeat_ms / 1000,
        )
        yield _counter("heartbeats", "Heartbeats that came due by themselves.", numbers.heartbeats)
        yield _counter("links_opened", "Links opened.", numbers.links_opened)
        yield _counters("links_refused", "Connections refused at the door.", "code", numbers.links_refused)
        yield _counters("goals", "Goals that reached a state.", "state", numbers.goals)
        yield _counters("tasks", "Tasks that reached a state.", "state", numbers.tasks)
        yield _counter(
            "requests_received", "Requests that came, attaches included.", numbers.requests_received
        )
        yield _counter("requests_served", "Requests answered at once, not kept.", numbers.requests_served)
        yield _counter("requests_accepted", "Requests accepted.", numbers.requests_accepted)
        yield _gauge("requests_running", "Accepted requests being carried out.", numbers.requests_running)
        yield _gauge("requests_queued", "Accepted requests that wait.", numbers.requests_queued)
        yield _counters(
            "requests_ended",
            "Accepted requests by outcome.",
            "outcome",
            {
                "answered": numbers.requests_answered,
                "failed": numbers.requests_failed,
                "cancelled": numbers.requests_cancelled,
                "expired": numbers.requests_expired,
            },
        )
        yield _counters("requests_refused", "Requests refused.", "code", numbers.requests_refused)
        yield _counters("faults", "Bugs held by a wall.", "wall", numbers.faults)
        yield _counter("outbox_drops", "Links closed because their outbox was full.", numbers.outbox_drops)
        yield _counter("log_drops", "Log lines lost.", numbers.log_drops)
        yield _counters(
            "drops",
            "What was not told one by one, by kind.",
            "kind",
            {
                "link": numbers.outbox_drops,
                "log_line": numbers.log_drops,
                "progress": numbers.progress_coalesced,
                "state": numbers.states_coalesced,
            },
        )
        yield _histogram("commit_seconds", "Seconds of one transaction.", numbers.commit_seconds)
        yield _histogram(
            "inbox_wait_seconds",
            "Seconds that the oldest of what a session took in had waited.",
            numbers.inbox_wait_seconds,
        )
        yield _histogram(
            "goal_wait_seconds",
            "Seconds from accepting a goal to its first started task.",
            numbers.goal_wait_seconds,
        )
        yield _histogram(
            "task_wait_seconds", "Seconds from queueing a task to its worker.", numbers.task_wait_seconds
        )
        yield _histogram(
            "chat_wait_seconds",
            "Seconds from accepting a message to the beginning of its answer.",
            numbers.chat_wait_seconds,
        )
        yield _histogram(
            "store_lag_seconds", "Seconds that the oldest write has waited.", numbers.store_lag_seconds
        )
        yield _histogram("loop_lag_seconds", "Seconds the loop woke up late.", numbers.loop_lag_seconds)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"spiderwebd_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"spiderwebd_{name}", text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return _filled(GaugeMetricFamily(f"spiderwebd_{name}", text, labels=[label]), values)


def _counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return _filled(CounterMetricFamily(f"spiderwebd_{name}", text, labels=[label]), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]) -> Metric:
    for label, figure in sorted(values.items()):
        family.add_metric([label], figure)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(
        f"spiderwebd_{name}", text, buckets=histogram.buckets(), sum_value=histogram.total
    )
