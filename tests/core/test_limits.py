"""One table of limits: complete, the same in the README, in the configuration and in session.ack."""

from __future__ import annotations

from pathlib import Path

import pytest

from spiderwebd.config_settings import KEYS, SECTIONS, Settings
from spiderwebd.core import limits
from spiderwebd.core.codes import MEANINGS
from spiderwebd.core.limits import ANNOUNCED_DEADLINES, LIMITS, Limit, Policy
from spiderwebd.house_rules import announced_limits

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_table_of_limits_is_the_code() -> None:
    """The README lists every limit with scope, policy, deadline and words, in this order, and no other."""
    section = README.split("\n### Limits and what happens at each\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    said = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    assert said == [limit.cells() for limit in LIMITS]


def test_every_limit_is_in_the_table_and_in_the_configuration() -> None:
    """No row names a key that is not configured, and no key of [limits] is left out of the table."""
    named = {limit.key for limit in LIMITS} | {limit.deadline for limit in LIMITS if limit.deadline}
    named |= set(ANNOUNCED_DEADLINES.values())
    assert named <= set(KEYS)
    beside = {"limits.fast_links", "limits.head_bytes", "limits.connect_seconds"}
    """No queues: how frames are decoded, and what one request head may be."""
    assert {f"limits.{key}" for key in SECTIONS["limits"].model_fields} - named == beside
    assert len({limit.key for limit in LIMITS}) == len(LIMITS)
    assert set(LIMITS) == {each for each in vars(limits).values() if isinstance(each, Limit)}


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.key)
def test_each_row_says_what_its_policy_needs(limit: Limit) -> None:
    """A refusal has a code; one that may pass has a delay; a wait has a deadline or ends by itself."""
    match limit.policy:
        case Policy.REFUSE | Policy.SHED | Policy.EVICT:
            assert limit.code is not None
            assert MEANINGS[limit.code].retry == (limit.retry_ms is not None)
        case Policy.CLOSE:
            assert limit.close is not None
        case Policy.WAIT:
            assert limit.deadline or limit is limits.STORE_QUEUE
        case Policy.DEFER | Policy.COALESCE | Policy.FORGET:
            assert limit.event
            assert limit.code is None


def test_session_ack_announces_the_figures_that_are_configured() -> None:
    """Each announced name carries the configured figure, times in milliseconds."""
    settings = Settings.model_validate({"limits": {"goals_total": 7}, "workers": {"chat_seconds": 2.5}})
    announced = announced_limits(settings)
    assert announced["goalsTotal"] == 7
    assert announced["chatMs"] == 2500
    names = [limit.announced for limit in LIMITS if limit.announced]
    assert sorted(announced) == sorted({*names, *ANNOUNCED_DEADLINES})
    assert all(isinstance(figure, int) for figure in announced.values())


def test_refusals_are_built_from_the_row() -> None:
    """As an exception and as a frame: code, delay, scope and key; a caller may know the delay better."""
    refused = limits.SESSIONS.refused("Full.")
    assert (refused.code, refused.retry_after_ms) == ("queue_full", limits.LONG_MS)
    assert (refused.scope, refused.limit) == ("daemon", "limits.sessions")
    assert limits.SESSIONS.refused("Full.", 7).retry_after_ms == 7
    assert limits.PRINCIPAL_FRAMES.error("Slow down.", "k-1", 40) == {
        "type": "error",
        "message": "Slow down.",
        "code": "rate_limited",
        "request": "k-1",
        "retry_after_ms": 40,
        "scope": "principal",
        "limit": "limits.principal_frames_per_second",
    }
