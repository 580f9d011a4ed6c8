"""The agents that a recipe names and that the bundle which runs it does not have; who stands in for them in simulations."""

from __future__ import annotations

from typing import Final

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.recipe import AgentStep, Recipe
from bundle_loader.errors import DeclarationError, RequestError
from bundle_loader.recipes.context import FindRecipe
from bundle_loader.recipes.reached import reached

_PLAIN: Final = "self"
"""The agent that every bundle has."""


def agents_missing(recipe: Recipe, find: FindRecipe, bundle: Bundle) -> list[str]:
    """Why a real run is refused: each step, here or in a recipe below, whose agent is not there, with what mends it.

    An agent whose name is only known when its step is reached is looked for then.
    """
    return [f"{_and(said)} {_remedy(name, bundle)}" for said, name in _missing(recipe, find, bundle)]


def agents_stood_in_for(recipe: Recipe, find: FindRecipe, bundle: Bundle) -> list[str]:
    """The same steps, and who does them in a simulated run."""
    return [_told(said, name, bundle) for said, name in _missing(recipe, find, bundle)]


def stand_in(recipe: Recipe, step: str, name: str, bundle: Bundle) -> tuple[str, str | None]:
    """The agent that does a step of a simulated run, and a warning where that is another one than it names."""
    said = _absent(recipe, step, name, bundle)
    return (name, None) if said is None else (_standing(name, bundle), _told(said, name, bundle))


def _missing(recipe: Recipe, find: FindRecipe, bundle: Bundle) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for one in reached(recipe, find):
        for step in one.walk():
            if isinstance(step.action, AgentStep) and "{{" not in step.action.agent:
                said = _absent(one, step.id, step.action.agent, bundle)
                if said is not None:
                    found[said] = step.action.agent
    return list(found.items())


def _absent(recipe: Recipe, step: str, name: str, bundle: Bundle) -> str | None:
    """That an agent is not there, with the place; None where it is, or has faults, which are told of when it is asked."""
    try:
        bundle.agent(name)
    except DeclarationError:
        return None
    except RequestError as error:
        file, line, column = recipe.text_place(step, "agent")
        return f"{file}:{line}:{column}: step '{step}': {error}"
    return None


def _told(said: str, name: str, bundle: Bundle) -> str:
    return f"{_and(said)} '{_standing(name, bundle)}' stands in for it, as this is simulated: a real run is refused"


def _and(said: str) -> str:
    return said if said.endswith("?") else f"{said};"


def _standing(name: str, bundle: Bundle) -> str:
    """1. The bundle's own agent of that name, whoever's is meant. 2. The plain one, where something says its model. 3. The first
    of the bundle that says something about models."""
    short = name.rpartition(":")[2]
    if short in bundle.agents:
        return short
    if bundle.settings_default is not None or bundle.default_profile in bundle.profiles:
        return _PLAIN
    return next((agent.name for _, agent in sorted(bundle.agents.items()) if agent.slot is not None), _PLAIN)


def _remedy(name: str, bundle: Bundle) -> str:
    whose, colon, short = name.rpartition(":")
    if colon and whose not in bundle.layers:
        remedy = f"bundle '{whose}' is not part of it: write its path under 'includes', or run with a --bundle that includes it"
        return f"{remedy}, or name an agent that is there"
    return f"name one that is there, or include the bundle that has '{short}'"
