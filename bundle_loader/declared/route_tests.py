"""The `tests` of a composed bundle: from what was written to final values."""

from __future__ import annotations

from bundle_loader.declared.preference import Preference
from bundle_loader.declared.tables import Expectation, RouteTest, WrittenBundle, WrittenRouteTest
from bundle_loader.declared.tree import Mapping, path_text, position, written_path
from bundle_loader.errors import Fault


def finish_tests(written: WrittenBundle, header: Mapping) -> tuple[tuple[RouteTest, ...], list[Fault]]:
    """The tests of the composed header, in its order, and what is wrong with them; the n-th stands at `tests[n]` there."""
    faults: list[Fault] = []
    tests = []
    for index, test in enumerate(written.tests or ()):
        found = _wrong(test)
        if found:
            faults += [_fault(header, ("tests", index, *path), message) for path, message in found]
        else:
            tests.append(_finished(test))
    return tuple(tests), faults


def _wrong(test: WrittenRouteTest) -> list[tuple[tuple[str | int, ...], str]]:
    found: list[tuple[tuple[str | int, ...], str]] = []
    if test.agent is None:
        found.append((("agent",), "is missing; name the agent that is routed"))
    if test.expect is None or not test.expect.model_dump(exclude_none=True):
        found.append((("expect",), "says nothing; write what the route must come to, such as {model: claude-haiku-*}"))
    for index, element in enumerate(test.preferences or ()):
        if element.base or element.tier is not None:
            message = "a caller's own list has providers and models only; write provider/glob, or 'tier' beside 'agent'"
            found.append((("preferences", index), message))
    return found


def _finished(test: WrittenRouteTest) -> RouteTest:
    assert test.agent is not None
    assert test.expect is not None
    said = test.model_dump(include={"name", "agent", "provider", "model", "tier", "role", "profile", "stage", "parent"})
    preferences = None
    if test.preferences is not None:
        preferences = tuple(
            Preference(provider=item.provider or "", model=item.model or "", config=item.config or {})
            for item in test.preferences
        )
    expect = Expectation(**{**test.expect.model_dump(), "rejected": tuple(test.expect.rejected or ())})
    return RouteTest(**said, preferences=preferences, expect=expect)


def _fault(header: Mapping, path: tuple[str | int, ...], message: str) -> Fault:
    return Fault(*position(header, path), path_text(written_path(header, path)), message, rule="route-test")
