"""A Python callable as a model sees it: name, description, the schema of its parameters, and what checks the arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from bundle_loader.errors import RequestError
from bundle_loader.messages import ToolSpec


@dataclass(frozen=True, slots=True)
class Signature:
    """What is known of a callable without holding it."""

    spec: ToolSpec
    arguments: type[BaseModel]
    """Checks and converts what a model gives."""
    renamed: Mapping[str, str]
    """Fields of `arguments` -> parameters, where a parameter's own name cannot be a field's."""


_KNOWN: WeakKeyDictionary[Callable[..., Any], Signature] = WeakKeyDictionary()
"""Nothing in a signature may lead back to its callable: those made for one delegation are to go with it."""


def signature_of(function: Callable[..., Any]) -> Signature:
    """Raises RequestError for a callable whose parameters a model cannot fill."""
    try:
        known = _KNOWN.get(function)
    except TypeError:
        known = None
    if known is None:
        known = _made(function)
        with suppress(TypeError):
            _KNOWN[function] = known
    return known


def _made(function: Callable[..., Any]) -> Signature:
    name = getattr(function, "__name__", None)
    if not callable(function) or not name or name == "<lambda>":
        raise RequestError(f"{function!r} cannot be a tool: give a named function, or a Tool")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise RequestError(f"the tool '{name}' yields its results, and nobody would collect them; return a list")
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except (NameError, TypeError, ValueError) as error:
        raise RequestError(f"the tool '{name}' has a signature that cannot be read: {error}") from None
    fields: dict[str, Any] = {}
    renamed: dict[str, str] = {}
    for own, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise RequestError(f"the tool '{name}' has the parameter '{parameter}', which a model cannot fill by name")
        kind = Any if parameter.annotation is parameter.empty else parameter.annotation
        default = ... if parameter.default is parameter.empty else parameter.default
        if own.startswith("_") or hasattr(BaseModel, own):
            other = _free(f"parameter_{own.strip('_')}", {*parameters, *fields})
            renamed[other] = own
            fields[other] = (kind, Field(default, alias=own))
        else:
            fields[own] = (kind, default)
    try:
        arguments = create_model(name, __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True), **fields)
        schema = arguments.model_json_schema(schema_generator=_Schema)
    except PydanticUserError as error:
        raise RequestError(f"the tool '{name}' has a parameter that a model cannot fill: {error.message}") from None
    schema.pop("title", None)
    return Signature(ToolSpec(name, inspect.getdoc(function) or "", schema), arguments, renamed)


def _free(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name


class _Schema(GenerateJsonSchema):
    """A default that JSON does not know is left out of the schema: the model need not know it."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012
