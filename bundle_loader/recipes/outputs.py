"""What a step gives on: text, the JSON in it, and whether that fits a schema."""

from __future__ import annotations

from typing import Any

from bundle_loader.declared.recipe import Step
from bundle_loader.delegation.structured import NotFitting, expected
from bundle_loader.errors import RequestError, StepFailed
from bundle_loader.recipes.done import Done
from bundle_loader.recipes.failures import Mistake
from bundle_loader.recipes.json_text import clean_json, json_in
from bundle_loader.recipes.values import plain

_SHOWN = 120


async def output_of(step: Step, done: Done) -> Any:
    """The output of a step, a plain JSON value.

    1. With a schema it is the JSON that was given, and must fit.
    2. With `parse_json` it is the JSON in the text: the whole of it, in a fence, or within.
    3. Else a text that is a JSON object or list as a whole is that; any other text stays text.
    Raises StepFailed.
    """
    if step.output_schema is not None and not done.data:
        value = _json(done.output) if done.text else done.output
        await check_schema(step.output_schema, value)
        return value
    if not done.text:
        return done.output
    if step.parse_json:
        return _json(done.output)
    found = clean_json(done.output)
    return done.output if found is None else found


async def check_schema(schema: dict[str, Any], value: Any) -> None:
    """Raises StepFailed with all that does not fit."""
    try:
        (await expected(schema)).check(plain(value))
    except RequestError as error:
        raise Mistake(str(error)) from None
    except NotFitting as error:
        raise StepFailed("the output does not fit its output_schema: " + "; ".join(error.faults)) from None


def _json(text: str) -> Any:
    try:
        return json_in(text)
    except ValueError as error:
        shown = " ".join(text[: _SHOWN * 2].split())
        begins = f": {shown[:_SHOWN]!r}{'...' if len(text) > _SHOWN else ''}" if shown else ""
        raise StepFailed(
            f"the output {error}{begins}", remedy="see that it prints JSON, or remove 'parse_json' and 'output_schema'"
        ) from None
