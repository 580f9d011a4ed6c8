"""Where the bundle of a run came from: what is kept to find it again, and whether its commands may be run."""

from __future__ import annotations

import os
from typing import Final

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.recipe import Recipe
from bundle_loader.sources.files import real, shipped_folder

_SHIPPED: Final = "shipped:"


def origin_of(bundle: Bundle) -> str:
    """The file of the root bundle, for `file_of`; empty where it was made by no file."""
    root = next((layer for layer in reversed(bundle.laid) if not layer.settings), None)
    if root is None:
        return ""
    file, shipped = real(root.file), shipped_folder()
    # a shipped bundle is found again in whatever folder this package lies by then
    return f"{_SHIPPED}{file.relative_to(shipped).as_posix()}" if file.is_relative_to(shipped / "bundles") else str(file)


def file_of(origin: str) -> str | None:
    """The bundle file that `origin_of` has named; None for the default bundle."""
    if origin.startswith(_SHIPPED):
        return os.fspath(shipped_folder() / origin.removeprefix(_SHIPPED))
    return origin or None


def trusted_recipe(bundle: Bundle, recipe: Recipe) -> bool:
    """Whether a recipe may run commands: not one that a bundle brings which only a stranger's project chose.

    A recipe file that somebody names is theirs, and what is shipped is ours.
    """
    if bundle.trusted or not recipe.bundle:
        return True
    shipped = shipped_folder()
    return real(recipe.file).is_relative_to(shipped / "bundles")
