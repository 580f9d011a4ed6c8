"""Budgets of settings over those of bundles: whose word counts, and what nobody can undo."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from typing import Final

from bundle_loader.declared.budget import CEILINGS, Budget
from bundle_loader.declared.finish_budgets import finish_budgets
from bundle_loader.declared.layer import Layer
from bundle_loader.declared.settings import SettingsFile
from bundle_loader.declared.tree import Mapping, Node, is_null, position, says_true
from bundle_loader.errors import Fault

MANDATORY: Final = "organisation:"
"""How the ids of budgets begin that the organisation made mandatory; the id that it gave them follows."""


def settled_layer(file: SettingsFile, below: Mapping | None, settings: Sequence[SettingsFile]) -> tuple[Layer, list[Fault]]:
    """The layer of a settings file over the header of all that lies `below`, its budgets made fit for that.

    1. A budget that settings write whole (its ceiling and its window, or a share) is what they say: a bundle, which a stranger
       may have written, mixes no scope of its own into it. What is not whole is a patch, as in bundles.
    2. The settings of a project that is not trusted may add budgets; those that somebody else declares they can neither change
       nor remove.
    """
    layer = file.layer
    node = layer.header.entries.get("budgets")
    if node is None:
        return layer, []
    stranger = file.origin == "project" and not file.trusted
    taken = _ids(below) | {id for other in settings if other is not file for id in _ids(other.tree)} if stranger else set()
    faults: list[Fault] = []
    kept: Node = node
    if isinstance(node, Mapping):
        entries = {}
        for name, written in node.entries.items():
            if stranger and (name in taken or is_null(written)):
                faults.append(_refused(node, name))
            else:
                entries[name] = _whole(written)
        kept = Mapping(entries, node.keys, node.file, node.line, node.column)
    elif stranger:
        faults.append(_refused(layer.header, "budgets"))
        kept = Mapping({}, {}, node.file, node.line, node.column)
    header = layer.header
    laid = Mapping({**header.entries, "budgets": kept}, header.keys, header.file, header.line, header.column)
    return Layer(layer.name, layer.file, laid, ""), faults


def _ids(header: Mapping | None) -> set[str]:
    budgets = header.entries.get("budgets") if header is not None else None
    return set(budgets.entries) if isinstance(budgets, Mapping) else set()


def _refused(node: Mapping, name: str) -> Fault:
    message = "an untrusted project's settings may add budgets, not change or remove those of others; it is left out"
    key = name if name == "budgets" else f"budgets.{name}"
    return Fault(node.file, *node.keys[name], key, message, "warning", "not-from-here")


def _whole(written: Node) -> Node:
    if not isinstance(written, Mapping):
        return written
    said = {key for key, value in written.entries.items() if not is_null(value)}
    if "share" in said or ("per" in said and said.intersection(CEILINGS)):
        return Mapping(written.entries, written.keys, written.file, written.line, written.column, True)
    return written


def with_mandatory(
    budgets: MappingOf[str, Budget], settings: Sequence[SettingsFile], tiers: Sequence[str]
) -> tuple[dict[str, Budget], list[Fault]]:
    """The budgets with those that the organisation made mandatory, and what is wrong with these.

    A mandatory budget is what the organisation's settings alone say. It holds beside whatever bundles, projects and users
    declare under the same id, with an account of its own.
    """
    final = dict(budgets)
    faults: list[Fault] = []
    for file in settings:
        if file.origin != "organisation":
            continue
        named = [name for name, value in (file.written.budgets or {}).items() if value is not None and value.mandatory]
        if not named:
            continue
        own, found = finish_budgets(file.written.budgets, file.tree, tiers, (file.file,))
        faults += found
        for name in named:
            if name not in own:
                continue
            if final.get(name) == own[name]:
                del final[name]
            final[f"{MANDATORY}{name}"] = own[name].model_copy(update={"id": f"{MANDATORY}{name}"})
    return final, faults


def not_mandatory(headers: Sequence[Mapping]) -> list[Fault]:
    """`mandatory: true` where it does nothing: anywhere but in the organisation's settings."""
    faults = []
    for header in headers:
        budgets = header.entries.get("budgets")
        for name, written in budgets.entries.items() if isinstance(budgets, Mapping) else ():
            value = written.entries.get("mandatory") if isinstance(written, Mapping) else None
            if says_true(value):
                path = ("budgets", name, "mandatory")
                message = "only the organisation's settings can be mandatory; it is a budget like any other"
                faults.append(Fault(*position(header, path), ".".join(path), message, "warning", "settings"))
    return faults
