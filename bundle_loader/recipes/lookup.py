"""Which recipe a name means: a file by its path, else one of the bundle's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.recipe import Recipe
from bundle_loader.errors import DeclarationError, RequestError, did_you_mean
from bundle_loader.sources.files import real, root_of
from bundle_loader.sources.recipes import SUFFIXES, load_recipe

MOST_NAMED: Final = 12
"""Recipes that are listed where a name means none of them."""


class Recipes:
    """The recipes that a run can name. Paths start in the folder `here`, by default the working directory."""

    def __init__(self, bundle: Bundle, here: Path | None = None) -> None:
        self.bundle = bundle
        self.here = (here or Path.cwd()).resolve()

    def find(self, name: str, beside: str = "") -> Recipe:
        """The recipe that a name means; `beside` is the file of the recipe whose step names it.

        1. A path that ends in .yaml or .yml, from the folder of `beside` (whose root it may not leave), else from the working
        directory. 2. A recipe of the bundle: by its name or its file's (`task-loop`, `task-loop.yaml`), also behind the name of
        the bundle that brought it (`foundation:task-loop`). Raises DeclarationError where it has faults, and RequestError
        where there is none, with the nearest names.
        """
        said = name.strip()
        if not said or "\0" in said:
            raise RequestError("no recipe is named; write a path such as recipes/review.yaml, or the name of one of the bundle's")
        path = self._file(said, beside)
        if path is not None:
            return self._of_bundle(path) or load_recipe(path)
        return self._named(said)

    def is_file(self, name: str) -> bool:
        """Whether a name means a file by its path."""
        return self._file(name.strip(), "") is not None

    def _file(self, name: str, beside: str) -> Path | None:
        """The file at a path; None where there is none."""
        if not name.endswith(SUFFIXES):
            return None
        if not beside:
            try:
                path = self.here / Path(name).expanduser()
                return path if path.is_file() else None
            except (OSError, RuntimeError):
                return None
        asker = real(beside)
        path = real(asker.parent / name)
        if not path.is_file():
            return None
        if not path.is_relative_to(root_of(asker)):
            raise RequestError(f"recipe '{name}' leads out of {root_of(asker)}, which holds {beside}; keep it inside")
        return path

    def _of_bundle(self, path: Path) -> Recipe | None:
        """The bundle's own recipe of that file, as it was checked with the bundle."""
        file = real(path)
        return next((recipe for recipe in self.bundle.recipes.values() if real(recipe.file) == file), None)

    def _named(self, name: str) -> Recipe:
        bundle, _, short = name.rpartition(":")
        stem = Path(short).name.removesuffix(".yaml").removesuffix(".yml")
        for word in dict.fromkeys((short, stem)):
            try:
                return self.bundle.recipe(f"{bundle}:{word}" if bundle else word)
            except DeclarationError:
                raise
            except RequestError:
                continue
        if short.endswith(SUFFIXES):
            ends = "/" + short.removeprefix("./")
            for recipe in self.bundle.recipes.values():
                if bundle in ("", recipe.bundle) and ("/" + Path(recipe.file).as_posix()).endswith(ends):
                    return recipe
        raise RequestError(f"{self._no_such(name, short)}{self._near(stem)}")

    def _no_such(self, name: str, short: str) -> str:
        if short == name and name.endswith(SUFFIXES):
            return f"no file '{name}' in {self.here}, and no recipe of that name in bundle '{self.bundle.name}'"
        return f"no recipe '{name}' in bundle '{self.bundle.name}'"

    def _near(self, stem: str) -> str:
        known = sorted(self.bundle.recipes)
        beside = next((stem + suffix for suffix in SUFFIXES if stem and (self.here / (stem + suffix)).is_file()), None)
        if beside is not None:
            return f"; there is a file of that name: write {beside}"
        near = did_you_mean(stem, known)
        if near or not known:
            return near or ", which has no recipes; write the path of a file"
        more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
        return f"; it has {', '.join(known[:MOST_NAMED])}{more}"
