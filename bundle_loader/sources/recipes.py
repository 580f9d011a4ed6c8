"""Recipe files: those that a bundle includes, and one by its path."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from bundle_loader.declared.frontmatter import Document, read_yaml_document
from bundle_loader.declared.layer import Layer, looks_like_bundle
from bundle_loader.declared.recipe import Recipe
from bundle_loader.declared.recipe_finish import RecipeFile, looks_like_recipe, read_recipe
from bundle_loader.declared.tree import Mapping
from bundle_loader.errors import DeclarationError, Fault
from bundle_loader.sources.files import Reader
from bundle_loader.sources.included import included_files

SUFFIXES: Final = (".yaml", ".yml")


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """The recipe of a file. Raises DeclarationError with every fault of it."""
    found = check_recipe(path)
    if found.recipe is None:
        raise DeclarationError([fault for fault in found.faults if fault.level == "error"])
    return found.recipe


def is_recipe(path: str | os.PathLike[str]) -> bool:
    """Whether a file is to be read as a recipe: a YAML file that does not declare a bundle."""
    file = Path(path)
    if file.suffix not in SUFFIXES:
        return False
    values = _document(file, Reader()).values
    return values is None or looks_like_recipe(values) or not looks_like_bundle(values)


def check_recipe(path: str | os.PathLike[str]) -> RecipeFile:
    """What a recipe file holds, with every fault, warning and note."""
    return read_recipe(_document(Path(path), Reader()))


def read_recipes(layer: Layer, path: Path, reader: Reader, bundles: Collection[str]) -> list[Fault]:
    """Give a layer the recipe files that its bundle file `path` includes; what is wrong with the include itself.

    `bundles` are the files of the bundles that are being laid: a pattern beside them does not take them for recipes.
    """
    recipes = layer.header.entries.get("recipes")
    include = recipes.entries.get("include") if isinstance(recipes, Mapping) else None
    names, faults, _ = included_files(include, "recipes.include", path, reader, suffixes=SUFFIXES, without=bundles)
    for name in names:
        document = _document(Path(name), reader)
        if document.values is not None and not looks_like_recipe(document.values) and looks_like_bundle(document.values):
            faults.append(Fault(document.file, 1, 1, "", "is a bundle, not a recipe; it is left out here", "note"))
            continue
        layer.recipe_files.append(read_recipe(document, layer.name))
    return faults


def _document(path: Path, reader: Reader) -> Document:
    shown = reader.shown(path)
    try:
        return read_yaml_document(reader.read(path), shown)
    except DeclarationError as error:
        document = Document(shown, "", 1)
        document.faults += error.faults
        return document
