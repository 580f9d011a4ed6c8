"""The kit for tests of agents and of the hosts that use them: scripted models, a host around them, and what to assert.

Nothing of it touches the network, the wall clock or the user's folders, and none of it needs a test runner.
"""

from __future__ import annotations

from bundle_loader.providers.simulated import Reply, SimulatedProvider
from bundle_loader.testing.assertions import (
    assert_asked,
    assert_attempts,
    assert_events,
    assert_route,
    collected,
    event,
)
from bundle_loader.testing.clock import StillClock
from bundle_loader.testing.hosts import ScriptedHost, ScriptedSyncHost, scripted_host, scripted_sync_host
from bundle_loader.testing.replies import calls, fails, structured
from bundle_loader.testing.script import Asked, Expected, ScriptError, by_turn, expecting

__all__ = [
    "Asked",
    "Expected",
    "Reply",
    "ScriptError",
    "ScriptedHost",
    "ScriptedSyncHost",
    "SimulatedProvider",
    "StillClock",
    "assert_asked",
    "assert_attempts",
    "assert_events",
    "assert_route",
    "by_turn",
    "calls",
    "collected",
    "event",
    "expecting",
    "fails",
    "scripted_host",
    "scripted_sync_host",
    "structured",
]
