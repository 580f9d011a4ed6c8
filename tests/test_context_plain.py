"""A delegation context is plain data: as JSON and pickled it goes to another process and comes back with nothing lost."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from bundle_loader import DelegationContext, Message
from bundle_loader.declared.preference import Preference
from bundle_loader.delegation.context import SpawnLimits
from bundle_loader.ledger.budgets import Cap
from bundle_loader.messages import Blob, Text, Thinking, ToolCall, ToolResult, ToolSpec, user
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.request import DecidedBy
from bundle_loader.testing import calls, fails, scripted_host
from tests.support.hosting import worker

ECHO = """
import pickle, sys
from bundle_loader import DelegationContext
way = sys.argv[1]
read = sys.stdin.buffer.read()
found = pickle.loads(read) if way == "pickle" else DelegationContext.from_json(read)
assert isinstance(found, DelegationContext)
sys.stdout.buffer.write(pickle.dumps(found) if way == "pickle" else found.to_json().encode())
"""


def elsewhere(context: DelegationContext, way: str) -> DelegationContext:
    """The context after it has been read and written by another process."""
    sent = pickle.dumps(context) if way == "pickle" else context.to_json().encode()
    done = subprocess.run([sys.executable, "-c", ECHO, way], input=sent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found = pickle.loads(done.stdout) if way == "pickle" else DelegationContext.from_json(done.stdout)
    assert isinstance(found, DelegationContext)
    return found


def every(value: Any) -> Any:
    """Everything that a value holds, with its types: also what its own equality leaves out."""
    if is_dataclass(value) and not isinstance(value, type):
        return type(value), {field.name: every(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, BaseModel):
        return type(value), {name: every(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return dict, [(every(key), every(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [every(item) for item in value]
    return type(value), value


RICH = ModelInfo(
    id="m-1",
    created=datetime(2026, 5, 1, 12, 30, tzinfo=UTC),
    window=200_000,
    capabilities=frozenset({"tools", "vision"}),
    aliases=("m", "m-latest"),
    prices={"input": "0.000001"},
    local=False,
    from_table=frozenset({"window"}),
    extra={"line": "m", "nested": {"list": [1, 2.5, None, True]}, "pair": (1, 2)},
)
WHOLE = DelegationContext(
    id="a1",
    parent="b2",
    root="c3",
    depth=2,
    agent="worker",
    instruction="Do the work.\n\u2028 ünïcode \x00",
    task="Now",
    messages=(
        user(
            "See", Blob(bytes(range(256)), "image/png"), Blob(None, "application/pdf", url="https://example.org/a.pdf", name="a")
        ),
        Message(
            "assistant",
            (
                Thinking("Hm", "anthropic", {"signature": "s", "kind": "Text"}),
                Text("I look."),
                ToolCall("id-1", "look", {"kind": "Text", "base64": "QQ==", "$": 1, "deep": [{"$": "tuple"}]}, "google", "sig"),
            ),
        ),
        Message("tool", (ToolResult("id-1", "look", "seen", True, (Blob(b"\xff", "image/jpeg"),)),)),
    ),
    candidate=Candidate(
        "anthropic",
        "m-1",
        Preference(provider="anthropic", model="m-*", config={"reasoning_effort": "low", "list": [1, "2"]}, optional=True),
        {"temperature": 0.2, "stop": ["a"], "one": 1, "float": 1.0},
        RICH,
        replace(RICH, id="m-0"),
        stands_for="m-latest",
    ),
    remaining=(Candidate("ollama", "q", Preference(provider="ollama", model="*"), local=True, simulated=True),),
    decided_by=DecidedBy.PIN,
    limits=SpawnLimits(12.5, 3.0, 60.0, 7, 120.0, 15.0),
    config={"nothing": None, "nan": float("inf"), "bytes": b"\x00\xff", "amount": Decimal("0.10")},
    tools=(ToolSpec("look", "Look.", {"type": "object", "properties": {"x": {"enum": ["a", None, 1]}}}),),
    bundle="team",
    bundle_hash="abc",
    tier="budget",
    profile="cost",
    stage="summary",
    role="fast",
    local_only=True,
    turns_done=3,
    tags=("nightly", "ü"),
    output_schema={"type": "object", "properties": {"ok": {"type": "boolean"}}},
    repaired=True,
    session="s-1",
    caps=(Cap("a1", "worker", Decimal("0.050")), Cap("b2", "lead", Decimal("1E+2"))),
)


def test_every_field_is_filled() -> None:
    """So that a field that is added is looked at here."""
    usual = DelegationContext("", None, "", 0, "", "", "", (), None, (), DecidedBy.CALLER, SpawnLimits(0, 0, 0, 0))
    assert [field.name for field in fields(WHOLE) if getattr(WHOLE, field.name) == getattr(usual, field.name)] == []


@pytest.mark.parametrize("way", ["json", "pickle"])
def test_a_context_survives_another_process(way: str) -> None:
    found = elsewhere(WHOLE, way)
    assert every(found) == every(WHOLE)
    assert found == WHOLE


async def test_what_hosts_hand_on_survives_another_process(tmp_path: Path) -> None:
    """The contexts of a real delegation: a fallback between turns, tools, overrides, a cap."""
    seen: list[DelegationContext] = []

    class Watching:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def spawn(self, context: DelegationContext, meter: Any, tools: Any) -> Any:
            seen.append(context)
            return self.inner.spawn(context, meter, tools)

    def look(what: str, often: int = 1) -> str:
        """Look."""
        return what * often

    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "openai/gpt-5-mini", limits={"max_cost": 0.5})
    scripts = {"anthropic": [calls("look", what="x"), fails("503")], "openai": ["Seen."]}
    async with scripted_host(bundle, scripts) as host:
        host._open.spawner = Watching(host._open.spawner)
        await host.delegate("worker", "Look", tools=[look], config={"temperature": 0.1}, tags=["t"], messages=[user("Before")])
    assert [context.turns_done for context in seen] == [0, 1]
    for context in seen:
        assert every(elsewhere(context, "json")) == every(context)
        assert every(elsewhere(context, "pickle")) == every(context)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers() | st.just("$"), inner),
    max_leaves=20,
)


@given(ANYTHING)
def test_a_config_and_arguments_of_any_shape_come_back(value: Any) -> None:
    call = ToolCall("1", "tool", {"value": value})
    whole = replace(WHOLE, config={"value": value}, messages=(Message("assistant", (call,)),))
    try:
        text = whole.to_json().encode()
    except UnicodeEncodeError:
        return
    assert every(DelegationContext.from_json(text)) == every(whole)


def test_what_no_process_could_read_is_said() -> None:
    with pytest.raises(TypeError, match="a object cannot go to another process: '<object"):
        replace(WHOLE, config={"client": object()}).to_json()


def changed(**keys: Any) -> str:
    return json.dumps({**json.loads(WHOLE.to_json()), **keys})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "DelegationContext is a list, not an object"),
        ("{", "Expecting"),
        (changed(nothing=1), "DelegationContext has no 'nothing'"),
        (changed(depth="2"), "DelegationContext.depth is a str, not a int"),
        (changed(agent=None), "DelegationContext.agent is a NoneType, not a str"),
        (changed(decided_by="nobody"), "DelegationContext.decided_by cannot be read: 'nobody'"),
        (changed(messages={}), "DelegationContext.messages is a dict, not a list"),
        (changed(messages=[{"role": "system", "parts": []}]), r"messages\[0\].role is none of user, assistant, tool: 'system'"),
        (
            changed(messages=[{"role": "user", "parts": [{"kind": "Noise"}]}]),
            r"messages\[0\].parts\[0\] has a kind that is none of",
        ),
        (changed(messages=[{"role": "user", "parts": [{"kind": "Text"}]}]), r"messages\[0\].parts\[0\].*text"),
        (changed(config=[]), "DelegationContext.config is a list, not an object"),
        (changed(config={"x": {"$": "os.system", "of": "ls"}}), "there is no type 'os.system'"),
        (changed(caps=[{"delegation": "a", "agent": "b", "limit": "much"}]), r"caps\[0\].limit cannot be read"),
    ],
)
def test_what_is_no_context_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DelegationContext.from_json(text)
