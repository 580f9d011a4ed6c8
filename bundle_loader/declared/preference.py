"""A preference: provider, model glob and config; and the lists that people write of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import isfinite
from typing import Annotated, Any
from typing import Final as Constant

from pydantic import AfterValidator, Field, field_validator, model_validator

from bundle_loader.declared.protected import protected_keys
from bundle_loader.declared.tree import path_text
from bundle_loader.declared.written import CoreMap, Final, Written, WrongWithin

MOST_TOKENS: Constant = 10_000_000
"""The highest `max_tokens`."""


def check_config(config: dict[str, Any] | None) -> dict[str, Any] | None:
    """A config without protected keys; raises ValueError that names every one, and where it stands."""
    rest = "may not be set in a config: models, messages, keys and addresses are not a bundle's to set"
    found = [(path, f"'{path_text(path)}' {rest}") for path in protected_keys(config)]
    found += [(path, f"'{path_text(path)}' is no finite number") for path in _not_finite(config or {})]
    tokens = (config or {}).get("max_tokens")
    if isinstance(tokens, (int, float)) and not 1 <= tokens <= MOST_TOKENS:
        found.append((("max_tokens",), f"'max_tokens' is a whole number from 1 to {MOST_TOKENS:,}"))
    if found:
        raise WrongWithin(found)
    return config


def _not_finite(value: Any) -> Iterator[tuple[str | int, ...]]:
    """Where a number stands that no request can carry."""
    if isinstance(value, float) and not isfinite(value):
        yield ()
    elif isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from ((key, *path) for path in _not_finite(inner))


def split_pair(text: str) -> tuple[str, str]:
    """`provider/glob` at its first slash. Raises ValueError where either side is missing."""
    provider, slash, model = text.partition("/")
    if not slash or not provider.strip() or not model.strip():
        raise ValueError(f"{text!r} is not 'provider/model-glob', such as anthropic/claude-haiku-*")
    return provider.strip(), model.strip()


class Preference(Final):
    """One provider and model glob that may do the work, with the vendor settings to use there.

    Also made from text: `Preference.parse("anthropic/claude-haiku-*")`.
    """

    provider: str = Field(min_length=1)
    model: str = Field(min_length=1)
    config: dict[str, Any] = Field(default_factory=dict)
    optional: bool = False
    """True: a glob that matches nothing is no news."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            provider, model = split_pair(value)
            return {"provider": provider, "model": model}
        if isinstance(value, (tuple, list)) and len(value) == 2:
            return {"provider": value[0], "model": value[1]}
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None}
        return value

    @field_validator("config")
    @classmethod
    def _no_protected_key(cls, value: dict[str, Any]) -> dict[str, Any]:
        check_config(value)
        return value

    @classmethod
    def parse(cls, value: Preference | str | tuple[str, str] | dict[str, Any]) -> Preference:
        """A preference from any form a caller may use. Raises ValueError (pydantic's is one) on anything else."""
        return value if isinstance(value, Preference) else cls.model_validate(value)

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"

    def __hash__(self) -> int:
        return hash((self.provider, self.model, self.optional))


class WrittenPreference(Written):
    """An element of a preferences list: a pair, `provider/glob`, `base` (the inherited list) or `{tier: name}`."""

    provider: str | None = None
    model: str | None = None
    config: CoreMap | None = None
    optional: bool | None = None
    tier: str | None = None
    base: bool = Field(default=False, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value == "base":
                return {"base": True}
            provider, model = split_pair(str(value))
            return {"provider": provider, "model": model}
        return value

    @field_validator("config")
    @classmethod
    def _no_protected_key(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return check_config(value)

    @model_validator(mode="after")
    def _is_whole(self) -> WrittenPreference:
        if self.base or (self.tier is None and self.provider and self.model):
            return self
        if self.tier is not None:
            if self.provider or self.model or self.config:
                raise ValueError("an element is either {tier: name} or a provider and a model, not both")
            return self
        missing = [name for name in ("provider", "model") if not getattr(self, name)]
        if missing:
            raise ValueError(f"{' and '.join(missing)} missing; write {{provider: anthropic, model: claude-haiku-*}}")
        return self


@lru_cache(maxsize=4096)
def _kept(
    provider: str | None, model: str | None, optional: bool | None, tier: str | None, base: bool
) -> list[WrittenPreference]:
    return []


def _shared(element: WrittenPreference) -> WrittenPreference:
    """One value for all elements that say the same: thousands of agents repeat a handful."""
    if element.config:
        return element
    kept = _kept(element.provider, element.model, element.optional, element.tier, element.base)
    if not kept:
        kept.append(element)
    return kept[0]


WrittenPreferences = list[Annotated[WrittenPreference, AfterValidator(_shared)]]
"""A preferences list as written."""
