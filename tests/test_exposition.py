"""What is counted is what Prometheus reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from spiderwebd.exposition import render
from spiderwebd.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, str], float]:
    """Read a rendering as Prometheus does: (name, its labels' values) to value."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(render(metrics).decode())
        for sample in family.samples
    }


def test_everything_is_there_from_the_start() -> None:
    """A fresh daemon already shows its numbers as 0, all under its own name."""
    found = samples(Metrics())
    assert all(name.startswith("spiderwebd_") for name, _ in found)
    assert found["spiderwebd_links", ""] == 0
    assert found["spiderwebd_requests_ended_total", "expired"] == 0
    assert found["spiderwebd_commit_seconds_count", ""] == 0


def test_numbers_reach_the_rendering() -> None:
    """Each gauge, counter and label appears with the value it was given."""
    metrics = Metrics(links=3, sessions_awake=2, goals_open=1, store_queue=9)
    metrics.links_opened += 5
    metrics.requests_received += 20
    metrics.requests_served += 7
    metrics.requests_running, metrics.requests_queued = 1, 2
    metrics.queue_depth["tasks"] = 4
    metrics.queue_oldest_seconds["tasks"] = 1.5
    metrics.states_coalesced = 5
    metrics.requests_accepted += 7
    metrics.requests_answered += 4
    metrics.requests_failed += 1
    metrics.requests_cancelled += 2
    metrics.requests_refused["queue_full"] += 6
    metrics.goals["complete"] += 1
    metrics.tasks["blocked"] += 2
    metrics.faults["link"] += 1
    metrics.outbox_drops += 1
    metrics.log_drops = 8
    metrics.links_refused["unauthorized"] += 4
    metrics.loop_tasks = 17
    found = samples(metrics)
    assert {key: value for key, value in found.items() if value and "bucket" not in key[0]} == {
        ("spiderwebd_links", ""): 3,
        ("spiderwebd_sessions_awake", ""): 2,
        ("spiderwebd_goals_open", ""): 1,
        ("spiderwebd_store_queue", ""): 9,
        ("spiderwebd_links_opened_total", ""): 5,
        ("spiderwebd_links_refused_total", "unauthorized"): 4,
        ("spiderwebd_loop_tasks", ""): 17,
        ("spiderwebd_requests_received_total", ""): 20,
        ("spiderwebd_requests_served_total", ""): 7,
        ("spiderwebd_requests_running", ""): 1,
        ("spiderwebd_requests_queued", ""): 2,
        ("spiderwebd_queue_depth", "tasks"): 4,
        ("spiderwebd_queue_oldest_seconds", "tasks"): 1.5,
        ("spiderwebd_fairness_ratio", ""): 1,
        ("spiderwebd_drops_total", "link"): 1,
        ("spiderwebd_drops_total", "log_line"): 8,
        ("spiderwebd_drops_total", "state"): 5,
        ("spiderwebd_requests_accepted_total", ""): 7,
        ("spiderwebd_requests_ended_total", "answered"): 4,
        ("spiderwebd_requests_ended_total", "failed"): 1,
        ("spiderwebd_requests_ended_total", "cancelled"): 2,
        ("spiderwebd_requests_refused_total", "queue_full"): 6,
        ("spiderwebd_goals_total", "complete"): 1,
        ("spiderwebd_tasks_total", "blocked"): 2,
        ("spiderwebd_faults_total", "link"): 1,
        ("spiderwebd_outbox_drops_total", ""): 1,
        ("spiderwebd_log_drops_total", ""): 8,
    }


def test_numbers_that_somebody_else_counts_are_fetched_first() -> None:
    """`before_render` sets a number at each rendering."""
    metrics = Metrics()
    lines = iter([3, 5])

    def refresh() -> None:
        metrics.log_drops = next(lines)

    metrics.before_render.append(refresh)
    assert samples(metrics)["spiderwebd_log_drops_total", ""] == 3
    assert samples(metrics)["spiderwebd_log_drops_total", ""] == 5


@given(st.lists(st.floats(0, 20), max_size=50))
def test_buckets_only_grow_and_end_with_all(values: list[float]) -> None:
    """Cumulative buckets never fall, the last one counts every observation, and the sum is theirs."""
    metrics = Metrics()
    for value in values:
        metrics.loop_lag_seconds.observe(value)
    counts = [count for _, count in metrics.loop_lag_seconds.buckets()]
    assert counts == sorted(counts)
    found = samples(metrics)
    assert found["spiderwebd_loop_lag_seconds_count", ""] == len(values)
    assert found["spiderwebd_loop_lag_seconds_bucket", "+Inf"] == len(values)
    assert found["spiderwebd_loop_lag_seconds_sum", ""] == pytest.approx(sum(values))
    for bound in metrics.loop_lag_seconds.bounds:
        assert found["spiderwebd_loop_lag_seconds_bucket", str(bound)] == sum(v <= bound for v in values)
