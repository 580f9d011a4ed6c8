"""One bundle file with its agent files, read and checked each for itself, before composition."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from bundle_loader.declared.agent import WrittenAgent
from bundle_loader.declared.context import ContextFile, ContextPart
from bundle_loader.declared.finish_budgets import misfitting
from bundle_loader.declared.formats.amplifier import FORM, is_amplifier, read_amplifier
from bundle_loader.declared.frontmatter import Document
from bundle_loader.declared.mended import Path, mended
from bundle_loader.declared.recipe_finish import RecipeFile
from bundle_loader.declared.tables import NOT_IN_FORCE, WrittenBundle, WrittenInclude
from bundle_loader.declared.tree import Mapping, Node, Scalar, is_null
from bundle_loader.declared.written import check, check_values
from bundle_loader.errors import Fault, nearest

BUNDLE_KEYS = frozenset(WrittenBundle.model_fields) - frozenset(WrittenAgent.model_fields)


class AgentFile:
    """An agent file that was read; `good` unless it has faults."""

    __slots__ = ("document", "extra", "faults", "files", "form", "good", "name", "written")

    def __init__(self, name: str, document: Document, written: WrittenAgent | None, form: str, extra: dict[str, Any]) -> None:
        self.name = name
        self.document = document
        self.good = written is not None
        self.written = written
        """What was checked, until an agent is made of it; from then on the tree has it all."""
        self.form = form
        self.extra = extra
        self.files: tuple[ContextFile, ...] = ()
        """What its text mentions."""
        self.faults: list[Fault] = document.faults

    @property
    def file(self) -> str:
        """The file's name, as shown."""
        return self.document.file

    @property
    def tree(self) -> Mapping:
        """The located tree of the header in our own keys, built anew at each call; without what is faulty in it."""
        header = self.document.header
        tree = read_amplifier(header)[0] if self.form == FORM else header
        return tree if self.good else mended(WrittenAgent, tree).tree

    @property
    def errors(self) -> tuple[Fault, ...]:
        """Its faults, without warnings and notes."""
        return tuple(fault for fault in self.faults if fault.level == "error")

    @property
    def is_read(self) -> bool:
        """False where its header could not be taken apart: nobody knows what it says."""
        return self.document.values is not None


@dataclass(slots=True)
class Layer:
    """One bundle: its header, its inline patches, its agent files, its text."""

    name: str
    file: str
    header: Mapping
    body: str
    body_line: int = 1
    included: list[ContextPart] = field(default_factory=list)
    """Files that `context.include` led to and that no layer below has taken in."""
    mentioned: list[ContextPart] = field(default_factory=list)
    """Files that the text led to and that nothing before it has taken in."""
    agent_files: list[AgentFile] = field(default_factory=list)
    recipe_files: list[RecipeFile] = field(default_factory=list)
    patches: dict[str, Mapping | Scalar] = field(default_factory=dict)
    includes: list[str] = field(default_factory=list)
    """The files of the bundles that it includes, as written."""
    lost: set[Path] = field(default_factory=set)
    """Keys of its header that were taken out for a fault, and agents of its own that could not be found: who misses them is
    not at fault.
    """
    flawed: set[str] = field(default_factory=set)
    """Agents whose patch has faults; `patches` has the rest of it."""
    faults: list[Fault] = field(default_factory=list)
    written: WrittenBundle | None = None
    """What its header says, checked; without what is faulty in it."""


def read_agent(document: Document) -> AgentFile:
    """An agent of our own form, or of Amplifier's."""
    stem = PurePosixPath(document.file.replace("\\", "/")).stem
    values = document.values
    if values is None:
        return AgentFile(stem, document, None, "own", {})
    if is_amplifier(values):
        return _read_amplifier(document, stem)
    written, found = check_values(WrittenAgent, values, lambda: document.header)
    if found:
        document.faults += [*found, *mended(WrittenAgent, document.header).faults]
    document.release()
    name = values.get("name")
    good = written if not document.faults else None
    return AgentFile(str(name) if isinstance(name, str) else stem, document, good, "own", {})


def _read_amplifier(document: Document, stem: str) -> AgentFile:
    tree, extra, found = read_amplifier(document.header)
    document.release()
    document.faults += found
    written, faults = check(WrittenAgent, tree)
    judged = {fault.key.partition(".")[0] for fault in found if fault.level == "error"}
    faults += mended(WrittenAgent, tree).faults if faults else ()
    document.faults += [fault for fault in faults if fault.key.partition(".")[0] not in judged]
    name = tree.entries.get("name")
    good = written if not any(fault.level == "error" for fault in document.faults) else None
    return AgentFile(_text(name) or stem, document, good, FORM, extra)


def looks_like_bundle(values: dict[str, Any]) -> bool:
    """True for a header that declares a bundle rather than an agent."""
    return any(key in values for key in BUNDLE_KEYS) and not is_amplifier(values)


def read_layer(document: Document) -> Layer:
    """A bundle file: header and patches checked, agent files still to be added."""
    stem = PurePosixPath(document.file.replace("\\", "/")).stem
    faults = list(document.faults)
    header = document.header
    written, found = check_values(WrittenBundle, document.values, lambda: header)
    layer = Layer(_bundle_name(header, stem), document.file, header, document.body, document.body_line, faults=faults)
    if written is None:
        rest = mended(WrittenBundle, header)
        written = rest.written
        layer.header = rest.tree
        layer.lost |= rest.lost | _named_elsewhere(header, rest.lost)
        faults += [*found, *rest.faults]
    layer.written = written
    layer.faults += misfitting(written.budgets, layer.header)
    agents = layer.header.entries.get("agents")
    if isinstance(agents, Mapping):
        for name, node in agents.entries.items():
            if name == "include":
                include = Mapping({name: node}, agents.keys, layer.file, agents.line, agents.column)
                _, found = check(WrittenInclude, include, ("agents",))
                faults += found
                layer.lost |= {("agents",)} if found else set()
            else:
                _patch(layer, agents, name, node)
    for key in NOT_IN_FORCE:
        if key in header.entries and not is_null(header.entries[key]):
            line, column = header.keys[key]
            faults.append(
                Fault(document.file, line, column, key, "is read and kept, but nothing acts on it yet", "note", "not-in-force")
            )
    return layer


def _named_elsewhere(header: Mapping, lost: frozenset[Path]) -> set[Path]:
    """What stands under a key that was taken out for a misspelling of another: names that belong there."""
    found: set[Path] = set()
    for path in lost:
        node = header.entries.get(str(path[0])) if len(path) == 1 else None
        if not isinstance(node, Mapping):
            continue
        near = nearest(str(path[0]), list(WrittenBundle.model_fields), 1)
        if near and near[0] != path[0]:
            found |= {(near[0], name) for name in node.entries}
    return found


def _bundle_name(header: Mapping, stem: str) -> str:
    identity = header.entries.get("bundle")
    name = _text(identity.entries.get("name")) if isinstance(identity, Mapping) else None
    return name or stem


def _text(node: Node | None) -> str | None:
    return node.text if isinstance(node, Scalar) and not node.is_null else None


def _patch(layer: Layer, agents: Mapping, name: str, node: Any) -> None:
    line, column = agents.keys[name]
    if is_null(node):
        layer.patches[name] = node
    elif isinstance(node, Mapping):
        _, found = check(WrittenAgent, node, ("agents", name))
        patch = mended(WrittenAgent, node).tree if found else node
        if "name" in node.entries:
            found.append(
                Fault(
                    layer.file, *node.keys["name"], f"agents.{name}.name", "a patch keeps the name of its agent; remove the key"
                )
            )
        layer.faults += found
        layer.patches[name] = patch
        layer.flawed |= {name} if found else set()
    else:
        layer.patches[name] = Mapping({}, {}, layer.file, line, column)
        layer.flawed.add(name)
        layer.faults.append(
            Fault(layer.file, line, column, f"agents.{name}", "write a patch ('key: value' lines), or null to remove the agent")
        )
