"""The table of providers: `table.yaml` as frozen rows, found by id or alias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

Adapter = Literal["anthropic", "openai", "google", "ollama", "copilot", "compatible", "azure-openai", "bedrock", "vertex", "none"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_LOCAL_NAMES = frozenset({"localhost", "host.docker.internal"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRow:
    """What is known of one provider without asking it."""

    id: str
    adapter: Adapter
    aliases: tuple[str, ...] = ()
    base_url: str | None = None
    """The vendor's own address; None where no adapter needs one."""
    base_url_variable: str | None = None
    """The environment variable that replaces `base_url`."""
    key_variables: tuple[str, ...] = ()
    """The environment variables that may hold the key; the first that is set wins."""
    key_required: bool = True
    local: bool = False
    """It runs on this machine or a private network, where the address agrees (`is_private`)."""
    cost: Literal["free", "paid"] = "paid"
    free_models: tuple[str, ...] = ("*",)
    """The ids that are free where `cost` is free (patterns)."""
    requests_per_minute: int | None = None
    limit_windows: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """`requests` or `tokens` -> what the vendor's limit headers of that name count by, where it is not a minute."""
    prices: str | None = None
    """The provider's id in genai-prices."""
    config: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """Neutral config key -> the vendor's key; a dot is a place inside a mapping."""
    refuses: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)
    """Neutral config key -> patterns of the models that do not take it; `!pattern` is an exception.

    So for `output_schema`, and for `output_schema_with_tools` where only both together are too much.
    """
    at_most: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    """Neutral config key -> the largest value that is taken."""
    output_field: str = "max_tokens"
    """The request's field for the most tokens of an answer."""
    call_ids: str = "[a-zA-Z0-9_-]{1,64}"
    """A pattern that the ids of tool calls must match whole."""
    stream_usage: bool = True
    """Usage in a stream has to be asked for."""
    reasoning_back: str | None = None
    """The field of an assistant message in which the vendor wants its reasoning back."""
    keep_alive: bool = True
    """False where each request must have a connection of its own."""
    user_after_tool: bool = True
    """False where a user's message may not follow the results of tools: a word of the assistant is put between them."""
    takes: tuple[str, ...] = ("image/*",)
    """Kinds of files whose bytes it takes in a user's message (patterns of media types)."""
    fetches: tuple[str, ...] = ("image/*",)
    """Kinds of files that it fetches from an address itself."""
    addresses: tuple[str, ...] = ("https", "http")
    """The schemes of the addresses that it fetches from."""
    output_schema: Literal["json_schema", "json_object", "words"] = "json_schema"
    """How it takes the schema of an answer: whole, only the wish for JSON, or in no field of a request."""
    api: Literal["chat", "responses"] = "chat"
    """Which of OpenAI's protocols it is spoken to in."""
    responses_models: tuple[str, ...] = ()
    """The ids (patterns) that are served by the responses protocol only."""
    models_path: str = "models"
    """The path of the model list, below the base URL."""
    cost_field: str | None = None
    """The field of `usage` in which the vendor says what it charges."""
    cost_unit: Decimal = Decimal(1)
    """What one of `cost_field` is, in US dollars."""
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: _NOTHING)
    """Pattern of ids -> fields of `ModelInfo` that the vendor's list leaves out; what the list says always wins."""
    instances_only: bool = False
    """It is used only under `providers:`, since it has no address of its own."""
    needs: tuple[str, ...] = ()
    """The settings that an instance cannot do without."""
    api_version: str | None = None
    """The version of the API that is asked for."""
    key_files: tuple[str, ...] = ()
    """Those of `key_variables` that name a file with the key."""
    not_keys: tuple[str, ...] = ()
    """Variables that others take for credentials of this provider, and that are not supported here."""
    messages_models: tuple[str, ...] = ()
    """The ids that are spoken to in Anthropic's protocol (patterns); the rest in OpenAI's."""
    why_none: str | None = None
    """Why `adapter` is none, in words."""


@cache
def rows() -> Mapping[str, ProviderRow]:
    """Every row by its id, in the table's order. Read from disk once."""
    text = Path(__file__).with_name("table.yaml").read_text(encoding="utf-8")
    written: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return MappingProxyType({id: _row(id, fields) for id, fields in written.items()})


@cache
def _names() -> Mapping[str, str]:
    """Every id and alias, in lower case -> id."""
    return MappingProxyType({name.lower(): row.id for row in rows().values() for name in (row.id, *row.aliases)})


def canonical(name: str) -> str:
    """The id that an id or alias stands for, in any case; a name that the table lacks is given back as it is."""
    return _names().get(name.strip().lower(), name)


def row(name: str) -> ProviderRow | None:
    """The row of an id or alias, in any case, or None."""
    return rows().get(canonical(name))


@cache
def key_variables() -> frozenset[str]:
    """Every variable in which a provider of the table looks for its key."""
    return frozenset(name for row in rows().values() for name in row.key_variables)


@cache
def key_files() -> frozenset[str]:
    """Those of them that name a file."""
    return frozenset(name for row in rows().values() for name in row.key_files)


def sold_as(id: str, kind: str | None) -> tuple[ProviderRow | None, tuple[str, ...]]:
    """The row of a provider, or of what an instance is one of, and the names under which prices of its own are declared."""
    found = row(kind) if kind else row(id)
    return found, (found.id, *found.aliases) if found is not None and canonical(id) == found.id else ()


def _row(id: str, fields: Mapping[str, Any]) -> ProviderRow:
    frozen: dict[str, Any] = {key: Decimal(value) if key == "cost_unit" else _frozen(value) for key, value in fields.items()}
    return ProviderRow(id=id, **frozen)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return MappingProxyType({key: _frozen(inner) for key, inner in value.items()})
    return tuple(value) if isinstance(value, list) else value


def is_private(url: str) -> bool:
    """True when a URL names this machine or a private address. A name that would have to be looked up is not private."""
    host = (urlsplit(url if "//" in url else f"//{url}").hostname or "").rstrip(".")
    if host in _LOCAL_NAMES or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_private or address.is_loopback


def shown(url: str | None) -> str:
    """An address without the user, password and query that it may hold."""
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
