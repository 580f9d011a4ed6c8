"""The tables of a bundle as written: tiers, profiles, roles, providers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias
from typing import Final as Final_

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator

from bundle_loader.declared.budget import Count, WrittenBudget
from bundle_loader.declared.mcp_server import WrittenMcpServer
from bundle_loader.declared.model_order import WrittenModelOrder
from bundle_loader.declared.preference import Preference, WrittenPreferences
from bundle_loader.declared.prices import WrittenPrice
from bundle_loader.declared.tree import core
from bundle_loader.declared.written import CoreMap, Duration, Final, Format, Texts, Written


def _tier_as_list(value: Any) -> Any:
    """A cell that is one word names a tier."""
    return [{"tier": str(value)}] if isinstance(value, str) else value


def _map_or_text(value: Any) -> Any:
    if value is None or isinstance(value, (dict, str)):
        return core(value)
    raise ValueError("write 'key: value' lines, or the name of a policy")


_POLICY_READ = {"anyOf": [{"type": "object"}, {"type": "string"}, {"type": "null"}]}
Cell = Annotated[WrittenPreferences, BeforeValidator(_tier_as_list)]
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
_REGION = re.compile(r"[a-z][a-z0-9-]{0,62}")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}")
Decider: TypeAlias = Literal["caller", "step", "pin", "agent", "bundle", "parent"]


MOST_CALLS: Final_ = 10_000
_PARTS: Mapping[str, tuple[re.Pattern[str], str]] = MappingProxyType(
    {
        "region": (_REGION, "eu-west-1"),
        "project": (_PROJECT, "my-project"),
        "api_version": (_VERSION, "2024-10-21"),
    }
)
"""Keys of a provider that stand in addresses -> what they look like, and an example."""


class WrittenIdentity(Written):
    """Which bundle this is."""

    name: str | None = None
    version: str | None = None
    description: str | None = None


_Limit: TypeAlias = Annotated[Duration, Field(gt=0)]


class WrittenTimeouts(Written):
    """How long the steps of one answer may take."""

    connect: _Limit | None = None
    first_token: _Limit | None = None
    idle: _Limit | None = None
    load: _Limit | None = None


_ADDRESS = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^https?://[^/@]*(/|$)"})]


class WrittenProvider(Written):
    """What a bundle says of a provider: where it listens, and which kind of provider an id of its own is."""

    kind: str | None = None
    base_url: _ADDRESS | None = None
    key_variable: Annotated[str, WithJsonSchema({"type": "string", "pattern": rf"^{_VARIABLE.pattern}$"})] | None = None
    region: Annotated[str, WithJsonSchema({"type": "string", "pattern": rf"^{_REGION.pattern}$"})] | None = None
    project: Annotated[str, WithJsonSchema({"type": "string", "pattern": rf"^{_PROJECT.pattern}$"})] | None = None
    api_version: Annotated[str, WithJsonSchema({"type": "string", "pattern": rf"^{_VERSION.pattern}$"})] | None = None
    models: Texts | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    max_calls: Annotated[int, Field(ge=1, le=MOST_CALLS)] | None = None
    timeouts: WrittenTimeouts | None = None
    proxy: _ADDRESS | None = None
    ca_file: Annotated[str, WithJsonSchema({"type": "string", "pattern": r"\S"})] | None = None

    @field_validator("region", "project", "api_version")
    @classmethod
    def _fits_an_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        pattern, example = _PARTS[str(info.field_name)]
        if value is not None and not pattern.fullmatch(value):
            raise ValueError(f"becomes part of an address; write one such as {example}")
        return value

    @field_validator("models")
    @classmethod
    def _are_ids(cls, value: list[str] | None) -> list[str] | None:
        for id in value or ():
            if any(sign in id for sign in "*?[") or any(sign.isspace() for sign in id):
                raise ValueError(f"'{id}' is no id; write what the provider serves, such as the names of deployments")
        return value

    @field_validator("base_url", "proxy")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("write an address that begins with http:// or https://")
        if value is not None and "@" in value.partition("://")[2].partition("/")[0]:
            raise ValueError("an address holds no user name or password; leave out what stands before the '@'")
        return value

    @field_validator("ca_file")
    @classmethod
    def _names_a_file(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or "\0" in value):
            raise ValueError("write the path of a file of certificates, such as ./corp.pem")
        if value is not None and "-----BEGIN" in value:
            raise ValueError("write the path of the file, not what is in it")
        return value

    @field_validator("key_variable")
    @classmethod
    def _names_a_variable(cls, value: str | None) -> str | None:
        if value is not None and not _VARIABLE.fullmatch(value):
            raise ValueError("write the name of an environment variable, such as ANTHROPIC_API_KEY, never the key itself")
        return value


class WrittenProfile(Written):
    """A profile: every key but these is a stage with its cell, and `default` is the cell of all others."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Cell | None]

    stage_profiles: dict[str, str | None] | None = None
    local_first: bool | None = None


PROFILE_KEYS: Final_ = frozenset(WrittenProfile.model_fields)
"""Keys of a profile that are no stages."""


class WrittenInclude(Written):
    """Files to take in, as globs relative to the bundle's own file."""

    include: Texts | None = None


class WrittenExpectation(Written):
    """What a route must come to; what is not said is not looked at."""

    provider: str | None = None
    model: str | None = None
    tier: str | None = None
    decided_by: Decider | None = None
    rejected: Texts | None = None


class WrittenRouteTest(Written):
    """A question to routing, as a caller may put it, and what must come of it."""

    name: str | None = None
    remove: bool | None = None
    agent: str | None = None
    preferences: WrittenPreferences | None = None
    provider: str | None = None
    model: str | None = None
    tier: str | None = None
    role: str | None = None
    profile: str | None = None
    stage: str | None = None
    parent: str | None = None
    expect: WrittenExpectation | None = None


class WrittenBundle(Written):
    """Every key that a bundle file may have. Agents are checked one by one, as patches."""

    format: Format | None = None
    bundle: WrittenIdentity | None = None
    includes: Texts | None = None
    agents: dict[str, Any] | None = None
    tiers: dict[str, WrittenPreferences | None] | None = None
    tier_order: Texts | None = None
    default: str | None = None
    model_order: WrittenModelOrder | None = None
    profiles: dict[str, WrittenProfile | None] | None = None
    default_profile: str | None = None
    roles: dict[str, Cell | None] | None = None
    providers: dict[str, WrittenProvider | None] | None = None
    vars: CoreMap | None = None
    context: WrittenInclude | None = None
    recipes: WrittenInclude | None = None
    tasks: CoreMap | None = None
    policy: Annotated[Any, BeforeValidator(_map_or_text), WithJsonSchema(_POLICY_READ)] = None
    budgets: dict[str, WrittenBudget | None] | None = None
    prices: dict[str, WrittenPrice | None] | None = None
    mcp_servers: dict[str, WrittenMcpServer | None] | None = None
    tests: list[WrittenRouteTest] | None = None


TRUSTED_ONLY: Final_[Mapping[str, str]] = MappingProxyType(
    {
        "providers": "where providers listen",
        "prices": "what models cost",
        "mcp_servers": "which MCP servers are started or asked",
    }
)
"""Keys of the root bundle and of trusted settings alone, and what they say."""

NOT_IN_FORCE = ("tasks", "policy")
"""Keys that are read and kept but that nothing acts on."""


class Timeouts(Final):
    """Seconds that the steps of one answer may take; None is what holds for all providers."""

    connect: float | None = None
    """To make a connection: 10 for all."""
    first_token: float | None = None
    """Until the answer begins, the connection included; it shortens the candidate's share, which holds for all."""
    idle: float | None = None
    """Between two parts of an answer: 60 for all."""
    load: float | None = None
    """Until the first answer of a local provider begins, which may have to load the model: 120 for all, or the share where
    that is more.
    """

    def over(self, others: Timeouts) -> Timeouts:
        """These, and where they say nothing the others."""
        return Timeouts(**{**others.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)})


class ProviderSettings(Final):
    """Where a provider listens, as the bundle has it; None is the provider's own default."""

    kind: str | None = None
    base_url: str | None = None
    key_variable: str | None = None
    region: str | None = None
    """Of a cloud."""
    project: str | None = None
    """Of a cloud."""
    api_version: str | None = None
    """Of a cloud's API; None is the table's."""
    models: tuple[str, ...] = ()
    """The ids that it serves, taken in place of its own list; empty asks it."""
    requests_per_minute: int | None = None
    """For each model family; None is what the provider table and the vendor's answers say."""
    tokens_per_minute: int | None = None
    max_calls: int | None = None
    """The most calls at a time; None is as many as there are."""
    timeouts: Timeouts = Timeouts()
    proxy: str | None = None
    """None is the environment's, and none at all for a local provider."""
    ca_file: str | None = None
    """A file of certificates that are trusted besides the system's; a relative path begins where the process stands."""


class Expectation(Final):
    """What a route must come to; None and empty are not looked at."""

    provider: str | None = None
    model: str | None = None
    """A glob, or an id as the provider lists it or as it stands for."""
    tier: str | None = None
    decided_by: Decider | None = None
    rejected: tuple[str, ...] = ()
    """`provider/model` as preferred, or a provider, that must be among the rejections."""


class RouteTest(Final):
    """A declared expectation of a route, with what a caller would say for it. `Bundle.header` has its place."""

    agent: str
    expect: Expectation
    name: str | None = None
    preferences: tuple[Preference, ...] | None = None
    provider: str | None = None
    model: str | None = None
    tier: str | None = None
    role: str | None = None
    profile: str | None = None
    stage: str | None = None
    parent: str | None = None
