"""What all steps of one run share: who asks for it, what it may use, and where its events go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.recipe import Recipe
from bundle_loader.delegation.run import Run
from bundle_loader.delegation.sessions import Sessions
from bundle_loader.recipes.checkpoints import Checkpoints
from bundle_loader.recipes.result import RunEvent

Approve: TypeAlias = Callable[[str, str], Awaitable["bool | tuple[bool, str | None] | None"]]
"""Asked with a step's id and what is to be approved: True, False, either with a note, or None where nobody can say now."""


class FindRecipe(Protocol):
    """Finds the recipe that a name means, beside the file of the recipe that names it."""

    def __call__(self, name: str, beside: str = "") -> Recipe: ...


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run that is asked for."""

    recipe: Recipe
    variables: Mapping[str, Any] = field(default_factory=dict)
    provider: str | None = None
    """For this run: a filter on whichever list wins; with `model` the one that is asked."""
    model: str | None = None
    local_only: bool = False
    workdir: str | Path | None = None
    """Where commands run; None for the working directory."""
    approve: Approve | None = None
    trusted: bool = True
    """False refuses recipes with shell or Python steps."""
    isolate: bool = False
    """Commands see the working directory and little else, where the system can do that."""
    origin: str = ""
    """Kept with the run for whoever goes on with it."""


@dataclass(slots=True)
class Context:
    """The run that is under way."""

    bundle: Bundle
    prepare: Callable[..., Awaitable[Run]]
    find_recipe: FindRecipe
    checkpoints: Checkpoints
    request: RunRequest
    workdir: Path
    emit: Callable[[RunEvent], None]
    clock: Callable[[], float]
    environment: Mapping[str, str]
    always: Mapping[str, Any]
    """The variables that every recipe of the run has."""
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    sessions: Sessions | None = None
    simulated: bool = False
    """All that the run asks is simulated."""
    made_up: bool = False
    """Nobody has said what simulated models answer: their answers have the keys that the recipe reads of them."""
    shapes: dict[tuple[str, str, str], dict[str, Any] | None] = field(default_factory=dict)
    """File, recipe and step -> the shape that is expected of its answer, where answers are made up."""
    warnings: dict[str, None] = field(default_factory=dict)
    steps: int = 0
    """How many steps were begun."""

    def warn(self, *said: str) -> None:
        """Say something once."""
        self.warnings.update(dict.fromkeys(said))
