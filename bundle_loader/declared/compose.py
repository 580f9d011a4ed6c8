"""Layers folded into one bundle, with the origin of every value kept beside it."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from functools import partial

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.bundle import Bundle, Contribution
from bundle_loader.declared.finish import Finisher
from bundle_loader.declared.fold import fold, fold_agent
from bundle_loader.declared.layer import AgentFile, Layer
from bundle_loader.declared.tables import NOT_IN_FORCE
from bundle_loader.declared.tree import Mapping, Scalar, core, plain
from bundle_loader.errors import Fault


@dataclass(slots=True)
class Folded:
    """One agent between folding and finishing."""

    name: str
    bundle: str
    folded: Mapping | None
    """None: exactly what `source` says."""
    source: AgentFile | None
    contributions: list[Contribution] = field(default_factory=list)

    @property
    def tree(self) -> Mapping:
        """Everything that was written about the agent, folded."""
        if self.folded is None:
            assert self.source is not None
            self.folded = self.source.tree
        return self.folded


@dataclass(slots=True)
class Composition:
    """Everything folded so far."""

    header: Mapping | None = None
    agents: dict[str, Folded] = field(default_factory=dict)
    hidden: dict[str, Folded] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    rank: dict[str, int] = field(default_factory=dict)
    """File -> the place of its layer; an agent file ranks as the bundle that includes it."""
    tier_rank: dict[str, int] = field(default_factory=dict)
    broken: dict[str, tuple[Fault, ...]] = field(default_factory=dict)


def compose(layers: SequenceOf[Layer], name: str | None = None) -> Bundle:
    """One bundle from `layers`, least derived first; the last gives its name, version and description."""
    done = Composition()
    for index, layer in enumerate(layers):
        _lay(done, layer, index)
    root = layers[-1]
    finisher = Finisher(done.header or root.header, done.rank, done.tier_rank)
    agents = _finish_agents(done, finisher)
    hidden = {key: agent for key, folded in done.hidden.items() if (agent := finisher.agent(folded, {})) is not None}
    identity = plain(root.header.entries.get("bundle") or Mapping({}, {}, root.file, 1, 1)) or {}
    bundle = Bundle(
        name=name or root.name,
        version=str(identity.get("version") or ""),
        description=str(identity.get("description") or ""),
        agents=agents,
        hidden=hidden,
        tiers=finisher.tiers,
        tier_order=finisher.tier_order(),
        default=finisher.default(),
        profiles=finisher.profiles(),
        roles=finisher.roles,
        providers=finisher.providers(),
        vars=finisher.vars(),
        context="\n\n".join(layer.body for layer in layers if layer.body.strip()),
        extra={key: core(plain(node)) for key, node in finisher.header.entries.items() if key in NOT_IN_FORCE},
        layers=tuple(layer.name for layer in layers),
    )
    done.faults += finisher.faults
    for fault_name, faults in finisher.broken.items():
        done.broken[fault_name] = tuple(faults)
    bundle._problems = tuple(sorted(set(done.faults)))
    bundle._broken = {key: value for key, value in done.broken.items() if key not in agents}
    bundle._header = finisher.header
    bundle._contributions = {folded.name: folded.contributions for folded in done.agents.values()}
    return bundle


def _lay(done: Composition, layer: Layer, index: int) -> None:
    done.faults += layer.faults
    done.rank[layer.file] = index
    tiers = layer.header.entries.get("tiers")
    if isinstance(tiers, Mapping):
        for tier in tiers.entries:
            done.tier_rank[tier] = index
    folded = fold(done.header, layer.header)
    assert isinstance(folded, Mapping)
    done.header = folded
    for source in layer.agent_files:
        done.faults += source.faults
        done.rank[source.file] = index
        if source.written is None:
            done.broken[source.name] = tuple(fault for fault in source.faults if fault.level == "error")
        else:
            _lay_file(done, layer, source)
    for name, patch in layer.patches.items():
        _lay_patch(done, layer, name, patch)


def _lay_file(done: Composition, layer: Layer, source: AgentFile) -> None:
    """Rule 3: an agent file replaces an inherited agent of the same name whole; a warning says so."""
    below = done.agents.get(source.name)
    if below is not None:
        if below.bundle == layer.name and below.source is not None:
            first = below.source.file
            done.faults.append(
                Fault(source.file, 1, 1, "name", f"agent '{source.name}' is also written in {first}; rename one of them")
            )
            return
        still = f"{below.bundle}:{source.name}"
        done.hidden[still] = below
        message = f"agent '{source.name}' replaces the one of bundle '{below.bundle}', which '{still}' still reaches"
        done.faults.append(Fault(source.file, 1, 1, "name", message, "warning"))
    contributions = [
        *(below.contributions if below else ()),
        Contribution(layer.name, source.file, True, partial(_tree_of, source)),
    ]
    done.agents[source.name] = Folded(source.name, layer.name, None, source, contributions)


def _lay_patch(done: Composition, layer: Layer, name: str, patch: Mapping | Scalar) -> None:
    below = done.agents.get(name)
    if isinstance(patch, Scalar):
        if below is None:
            done.faults.append(
                Fault(patch.file, patch.line, patch.column, f"agents.{name}", "removes an agent that is not there", "warning")
            )
        done.agents.pop(name, None)
        return
    contribution = Contribution(layer.name, layer.file, False, lambda: patch)
    if below is None:
        done.agents[name] = Folded(name, layer.name, patch, None, [contribution])
        return
    tree = fold_agent(below.tree, patch)
    done.agents[name] = Folded(name, below.bundle, tree, below.source, [*below.contributions, contribution])


def _tree_of(source: AgentFile) -> Mapping:
    return source.tree


def _finish_agents(done: Composition, finisher: Finisher) -> dict[str, Agent]:
    agents: dict[str, Agent] = {}
    for name, folded in done.agents.items():
        agent = finisher.agent(folded, done.agents)
        if agent is not None:
            agents[name] = agent
    return agents
