"""What rooms live by follows the settings; tests/core/test_limits.py holds what is announced of it."""

from __future__ import annotations

import pytest

from spiderwebd.config import ConfigError, Loaded
from spiderwebd.config_settings import Settings
from spiderwebd.house_rules import InForce, link_limits_of, principal_rates_of


def _loaded(**limits: float) -> Loaded:
    return Loaded(Settings.model_validate({"limits": limits}), {}, ())


def test_a_reload_replaces_what_new_links_live_by() -> None:
    """The limits of links and principals are made once for each configuration, not for each link."""
    after = _loaded(outbox_frames=77, principal_attaches_per_second=3)
    in_force = InForce(_loaded(), lambda: after)
    assert in_force.link_limits == link_limits_of(Settings())
    in_force.reload()
    assert in_force.link_limits == link_limits_of(after.settings)
    assert in_force.link_limits.outbox_frames == 77
    assert in_force.rates == principal_rates_of(after.settings)


def test_a_refused_reload_leaves_all_as_it_was() -> None:
    """A configuration that cannot be read replaces nothing."""

    def refuse() -> Loaded:
        raise ConfigError("no")

    in_force = InForce(_loaded(outbox_frames=77), refuse)
    before = in_force.loaded
    with pytest.raises(ConfigError):
        in_force.reload()
    assert in_force.loaded is before
    assert in_force.link_limits.outbox_frames == 77
