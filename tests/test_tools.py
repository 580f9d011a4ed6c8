"""Python callables as tools: the schema that a model sees, the arguments that arrive, the text that it is told."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from bundle_loader import RequestError, Tool
from bundle_loader.delegation.tool_output import MAX_RESULT
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.messages import ToolCall, ToolResult, ToolSpec


class Place(BaseModel):
    """A place."""

    city: str
    country: str = "NO"


@dataclass
class Spot:
    x: int


def search(
    query: Annotated[str, Field(description="what to look for")],
    limit: int = 10,
    kinds: list[Literal["page", "file"]] | None = None,
    near: Place | None = None,
) -> dict[str, Any]:
    """Search things.

    In all places.
    """
    return {"query": query, "limit": limit, "kinds": kinds, "near": near}


async def run(*tools: Any, **arguments: Any) -> ToolResult:
    """The result of calling the first of the tools."""
    box = ToolBox(tools)
    (result,) = await box.run([ToolCall("1", box.specs[0].name, arguments)])
    return result


def test_a_schema_is_made_from_the_signature() -> None:
    spec = Tool.of(search).spec
    assert spec.name == "search"
    assert spec.description == "Search things.\n\nIn all places."
    assert spec.schema["type"] == "object"
    assert spec.schema["required"] == ["query"]
    assert spec.schema["additionalProperties"] is False
    properties = spec.schema["properties"]
    assert list(properties) == ["query", "limit", "kinds", "near"]
    assert properties["query"]["description"] == "what to look for"
    assert (properties["limit"]["type"], properties["limit"]["default"]) == ("integer", 10)
    assert spec.schema["$defs"]["Place"]["required"] == ["city"]


async def test_arguments_are_checked_and_converted() -> None:
    got: list[Any] = []

    def keep(place: Place, count: int, rest: str = "default") -> None:
        got.append((place, count, rest))

    assert (await run(keep, place={"city": "Oslo"}, count="3")).text == "null"
    assert got == [(Place(city="Oslo"), 3, "default")]
    wrong = await run(keep, place={"town": "Oslo"}, count="many")
    assert wrong.is_error
    assert wrong.text.startswith("wrong arguments: place.city: Field required; count: Input should be a valid integer")
    assert len(got) == 1


@pytest.mark.parametrize(
    "name", ["schema", "json", "copy", "dict", "validate", "model_config", "model_dump", "_private", "model_x"]
)
async def test_a_parameter_may_have_any_name(name: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def echo({name}: int, other: int = 2): return [{name}, other]", space)
    assert list(Tool.of(space["echo"]).spec.schema["properties"]) == [name, "other"]
    assert (await run(space["echo"], **{name: 1})).text == "[1, 2]"
    assert f"{name}: " in (await run(space["echo"], **{name: "x"})).text
    assert (await run(space["echo"], **{f"parameter_{name}": 1})).is_error


async def test_names_that_would_be_one_field_stay_apart() -> None:
    def both(_x: int, x: int, parameter_x: int) -> Any:
        return [_x, x, parameter_x]

    assert (await run(both, _x=1, x=2, parameter_x=3)).text == "[1, 2, 3]"


def test_a_tool_that_was_made_for_one_delegation_goes_with_it() -> None:
    def made() -> tuple[Any, weakref.ref[Counter]]:
        counter = Counter()

        def count(amount: int) -> int:
            return counter.add(amount)

        return count, weakref.ref(counter)

    count, counter = made()
    assert Tool.of(count).spec is Tool.of(count).spec, "its schema is made once"
    del count
    gc.collect()
    assert counter() is None


class Counter:
    """Its bound methods are tools."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, amount: int) -> int:
        self.count += amount
        return self.count


async def test_a_bound_method_keeps_its_self() -> None:
    first, second = Counter(), Counter()
    assert (await run(first.add, amount=2)).text == "2"
    assert (await run(second.add, amount=5)).text == "5"
    assert (first.count, second.count) == (2, 5)


def test_what_cannot_be_a_tool_is_refused() -> None:
    def variadic(*args: int) -> None: ...
    def keywords(**more: int) -> None: ...
    def positional(a: int, /) -> None: ...
    def unknown(a: Nowhere) -> None: ...  # type: ignore[name-defined] # noqa: F821

    def callback(f: Callable[[int], int]) -> None: ...
    def each() -> Iterator[int]:
        yield 1

    async def each_later() -> AsyncIterator[int]:
        yield 1

    for function, words in (
        (callback, "has a parameter that a model cannot fill: Cannot generate a JsonSchema"),
        (each, "the tool 'each' yields its results, and nobody would collect them; return a list"),
        (each_later, "'each_later' yields its results"),
        (variadic, r"the parameter '\*args: "),
        (keywords, r"the parameter '\*\*more: "),
        (positional, "the parameter 'a: "),
        (unknown, "a signature that cannot be read: name 'Nowhere' is not defined"),
        (lambda a: a, "give a named function, or a Tool"),
        (functools.partial(search, limit=1), "give a named function, or a Tool"),
        ("search", "give a named function, or a Tool"),
    ):
        with pytest.raises(RequestError, match=words):
            Tool.of(function)  # type: ignore[arg-type]


async def test_a_tool_with_a_schema_of_its_own_gets_its_arguments_as_they_are() -> None:
    spec = ToolSpec("raw", "As it is.", {"type": "object", "properties": {"a": {"type": "integer"}}})
    tool = Tool(spec, lambda **arguments: sorted(arguments.items()))
    assert Tool.of(tool) is tool
    assert (await run(tool, b="x", a="1")).text == '[["a", "1"], ["b", "x"]]'


async def test_results_become_text() -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd"

    endless: list[Any] = []
    endless.append(endless)
    results = {
        "text": "plain",
        "mapping": {"ä": 1},
        "none": None,
        "model": Place(city="Oslo"),
        "object": Odd(),
        "dataclass": [Spot(1), {"at": Spot(2)}],
        "models": {"places": (Place(city="Oslo"),)},
        "set": {3},
        "time": datetime(2026, 1, 2, tzinfo=UTC),
        "keys": {("a", 1): 2},
        "endless": endless,
        "bytes": b"\xff",
        "file name": "caf\udce9.txt",
        "two halves": "\ud83d\ude00",
    }

    def give(name: str) -> Any:
        return results[name]

    assert [(await run(give, name=name)).text for name in results] == [
        "plain",
        '{"ä": 1}',
        "null",
        '{"city":"Oslo","country":"NO"}',
        '"odd"',
        '[{"x": 1}, {"at": {"x": 2}}]',
        '{"places": [{"city": "Oslo", "country": "NO"}]}',
        "[3]",
        '"2026-01-02T00:00:00Z"',
        '{"a,1": 2}',
        "[[...]]",
        "b'\\xff'",
        "caf\ufffd.txt",
        "😀",
    ]


async def test_a_long_result_is_cut_and_says_so() -> None:
    def long(size: int) -> str:
        return "x" * size

    assert (await run(long, size=MAX_RESULT)).text == "x" * MAX_RESULT
    assert (await run(long, size=MAX_RESULT + 7)).text == "x" * MAX_RESULT + "\n[cut: 7 more characters]"


async def test_what_a_tool_raises_is_told_to_the_model() -> None:
    def fails() -> None:
        raise ValueError("no such file")

    async def fails_later() -> None:
        raise TimeoutError("too slow")

    async def is_cancelled() -> None:
        raise asyncio.CancelledError

    async def leaves() -> None:
        raise SystemExit(3)

    told = [await run(tool) for tool in (fails, fails_later, is_cancelled, leaves)]
    assert [result.is_error for result in told] == [True] * 4
    assert [result.text for result in told] == [
        "ValueError: no such file",
        "TimeoutError: too slow",
        "CancelledError: something that it waited for was cancelled",
        "SystemExit: 3",
    ]


async def test_a_blocking_tool_does_not_hold_up_the_loop() -> None:
    free = threading.Event()

    def blocks() -> str:
        return "released" if free.wait(5) else "stuck"

    async def releases() -> str:
        free.set()
        return "done"

    box = ToolBox([blocks, releases])
    results = await asyncio.wait_for(box.run([ToolCall("1", "blocks", {}), ToolCall("2", "releases", {})]), 3)
    assert [result.text for result in results] == ["released", "done"]
    assert [result.call_id for result in results] == ["1", "2"]


def test_what_an_agent_allows() -> None:
    def a() -> None: ...
    def b() -> None: ...

    assert [spec.name for spec in ToolBox([a, b]).specs] == ["a", "b"]
    assert ToolBox([a, b], ()).specs == ()
    allowed = ToolBox([a, b], ("c", "b"))
    assert [spec.name for spec in allowed.specs] == ["b"]
    assert allowed.missing == ("c",)
