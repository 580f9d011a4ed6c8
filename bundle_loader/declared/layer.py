"""One bundle file with its agent files, read and checked each for itself, before composition."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from bundle_loader.declared.agent import WrittenAgent
from bundle_loader.declared.context import ContextFile, ContextPart
from bundle_loader.declared.formats.amplifier import FORM, is_amplifier, read_amplifier
from bundle_loader.declared.frontmatter import Document
from bundle_loader.declared.recipe_finish import RecipeFile
from bundle_loader.declared.tables import NOT_IN_FORCE, WrittenBundle, WrittenInclude
from bundle_loader.declared.tree import Mapping, Node, Scalar, is_null
from bundle_loader.declared.written import check, check_values
from bundle_loader.errors import Fault

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
        """The located tree of the header in our own keys, built anew at each call."""
        header = self.document.header
        return read_amplifier(header)[0] if self.form == FORM else header


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
    faults: list[Fault] = field(default_factory=list)
    written: WrittenBundle | None = None
    """What its header says, checked; None where it has faults."""


def read_agent(document: Document) -> AgentFile:
    """An agent of our own form, or of Amplifier's."""
    stem = PurePosixPath(document.file.replace("\\", "/")).stem
    values = document.values
    if values is None:
        return AgentFile(stem, document, None, "own", {})
    if is_amplifier(values):
        return _read_amplifier(document, stem)
    written, found = check_values(WrittenAgent, values, lambda: document.header)
    document.faults += found
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
    faults += found
    layer = Layer(_bundle_name(header, stem), document.file, header, document.body, document.body_line, faults=faults)
    layer.written = written
    agents = header.entries.get("agents")
    if isinstance(agents, Mapping):
        for name, node in agents.entries.items():
            if name == "include":
                _, found = check(
                    WrittenInclude, Mapping({name: node}, agents.keys, layer.file, agents.line, agents.column), ("agents",)
                )
                faults += found
            else:
                _patch(layer, agents, name, node)
    for key in NOT_IN_FORCE:
        if key in header.entries and not is_null(header.entries[key]):
            line, column = header.keys[key]
            faults.append(
                Fault(document.file, line, column, key, "is read and kept, but nothing acts on it yet", "note", "not-in-force")
            )
    return layer


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
        if "name" in node.entries:
            found.append(
                Fault(
                    layer.file, *node.keys["name"], f"agents.{name}.name", "a patch keeps the name of its agent; remove the key"
                )
            )
        layer.faults += found
        if not found:
            layer.patches[name] = node
    else:
        layer.faults.append(
            Fault(layer.file, line, column, f"agents.{name}", "write a patch ('key: value' lines), or null to remove the agent")
        )
