"""Layers folded into one bundle, with the origin of every value kept beside it.

4. Every value keeps its origin (file, line) and what it replaced (composition).
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from functools import partial, reduce

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.bundle import SELF, Bundle, Contribution
from bundle_loader.declared.context import parts_of, text_of
from bundle_loader.declared.finish import Finisher
from bundle_loader.declared.finish_budgets import finish_budgets
from bundle_loader.declared.fold import fold, fold_agent, has_tombstones
from bundle_loader.declared.laid import laid
from bundle_loader.declared.layer import AgentFile, Layer
from bundle_loader.declared.recipe_laying import lay_recipes, lint_recipes
from bundle_loader.declared.route_tests import finish_tests
from bundle_loader.declared.settings import SettingsFile
from bundle_loader.declared.settled import in_force
from bundle_loader.declared.tables import NOT_IN_FORCE, WrittenBundle
from bundle_loader.declared.tree import Mapping, Scalar, core, is_null, plain
from bundle_loader.errors import Fault, Hints


@dataclass(slots=True)
class Folded:
    """One agent between folding and finishing."""

    name: str
    bundle: str
    source: AgentFile | None
    patches: tuple[Mapping, ...] = ()
    """What is laid over the file, least derived first; without a file the first is the agent itself."""
    contributions: list[Contribution] = field(default_factory=list)
    hidden: bool = False
    """True once a more derived file has replaced it."""

    @property
    def label(self) -> str:
        """What it is reached by."""
        return f"{self.bundle}:{self.name}" if self.hidden else self.name

    @property
    def as_written(self) -> bool:
        """True where it is exactly what its file says."""
        return self.source is not None and not self.patches

    @property
    def tree(self) -> Mapping:
        """Everything that was written about the agent, folded anew at each call: thousands of trees would be kept for nothing."""
        below = [] if self.source is None else [self.source.tree]
        return reduce(fold_agent, [*below, *self.patches])


@dataclass(slots=True)
class Composition:
    """Everything folded so far."""

    header: Mapping | None = None
    agents: dict[str, Folded] = field(default_factory=dict)
    hidden: dict[str, Folded] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    rank: dict[str, int] = field(default_factory=dict)
    """File -> the place of its layer. One slot: an agent file ranks as the bundle that includes it."""
    tier_rank: dict[str, int] = field(default_factory=dict)
    broken: dict[str, tuple[Fault, ...]] = field(default_factory=dict)
    """Agents whose own file has faults."""
    removed: dict[str, str] = field(default_factory=dict)
    """Agent -> where a layer removed it."""
    hints: Hints = field(default_factory=Hints)

    def find(self, name: str) -> Folded | None:
        """The agent of a name, or of `bundle:agent`, be it hidden or not."""
        bundle, colon, short = name.rpartition(":")
        if name in self.hidden:
            return self.hidden[name]
        found = self.agents.get(short)
        if found is None or not colon or any(written.bundle == bundle for written in found.contributions):
            return found
        return None

    def hide(self, name: str) -> str:
        """Take an agent out of the way of a file of the same name; gives the name that still reaches it."""
        below = self.agents.pop(name)
        below.hidden = True
        self.hidden[below.label] = below
        return below.label


def compose(
    layers: SequenceOf[Layer],
    name: str | None = None,
    faults: SequenceOf[Fault] = (),
    settings: SequenceOf[SettingsFile] = (),
    *,
    trusted: bool = True,
) -> Bundle:
    """One bundle from `layers`, least derived first; the last gives its name, version and description.

    `faults` are what finding the layers had to say; they are kept with the bundle's own. `settings` are laid over all layers.
    `trusted` is false where nobody but a stranger's project chose the root bundle: it may not say where providers listen.
    """
    done = Composition()
    for index, layer in enumerate(layers):
        _lay(done, layer, index, is_root=trusted and index == len(layers) - 1)
    root = layers[-1]
    for index, file in enumerate(settings, len(layers)):
        done.faults += file.faults
        _lay(done, file.layer, index, is_root=True)
    finisher = Finisher(done.header or root.header, done, _alone(layers, settings))
    agents = _finish_agents(done, finisher)
    hidden = {key: agent for key, folded in done.hidden.items() if (agent := finisher.agent(folded)) is not None}
    budgets, wrong_budgets = finish_budgets(finisher.written.budgets, finisher.header, list(finisher.tiers))
    tests, wrong_tests = finish_tests(finisher.written, finisher.header)
    recipes = lay_recipes(layers, finisher.tiers)
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
        context="\n\n".join(text for layer in layers if (text := text_of(layer))),
        extra={key: core(plain(node)) for key, node in finisher.header.entries.items() if key in NOT_IN_FORCE},
        layers=tuple(layer.name for layer in layers),
        tests=tests,
        budgets=budgets,
        recipes=recipes.recipes,
        **in_force(settings, finisher, set(done.agents)),
    )
    done.faults += [*finisher.faults, *wrong_tests, *wrong_budgets]
    bundle._problems = tuple(sorted({*faults, *done.faults}))
    broken = {**done.broken, **{key: tuple(found) for key, found in finisher.broken.items()}}
    bundle._broken = {key: value for key, value in broken.items() if key not in agents}
    bundle._broken_recipes = recipes.broken
    bundle._problems = tuple(sorted({*bundle._problems, *recipes.faults, *lint_recipes(bundle)}))
    bundle._header = finisher.header
    bundle._context_parts = tuple(part for layer in layers for part in parts_of(layer))
    bundle._contributions = {key: folded.contributions for key, folded in (done.hidden | done.agents).items()}
    bundle._laid = laid(layers, settings)
    return bundle


def _alone(layers: SequenceOf[Layer], settings: SequenceOf[SettingsFile]) -> WrittenBundle | None:
    """What the only layer says, which need not be checked again where it removes nothing of its own."""
    return None if len(layers) > 1 or settings or has_tombstones(layers[0].header) else layers[0].written


def _lay(done: Composition, layer: Layer, index: int, *, is_root: bool) -> None:
    done.faults += layer.faults
    done.rank[layer.file] = index
    tiers = layer.header.entries.get("tiers")
    if isinstance(tiers, Mapping):
        for tier in tiers.entries:
            done.tier_rank[tier] = index
    folded = fold(done.header, layer.header if is_root else _without_providers(done, layer))
    assert isinstance(folded, Mapping)
    done.header = folded
    if is_null(layer.header.entries.get("agents")):
        done.agents.clear()
        done.broken.clear()
    for source in layer.agent_files:
        done.faults += source.faults
        done.rank[source.file] = index
        if not source.good:
            _lay_broken(done, layer, source)
        else:
            _lay_file(done, layer, source)
    for name, patch in layer.patches.items():
        _lay_patch(done, layer, name, patch)


def _without_providers(done: Composition, layer: Layer) -> Mapping:
    """Where providers listen is the root bundle's to say: an included one could send a key to a server of its own."""
    header = layer.header
    if "providers" not in header.entries:
        return header
    line, column = header.keys["providers"]
    message = "is taken from the root bundle only; write it in the bundle that is loaded"
    done.faults.append(Fault(layer.file, line, column, "providers", message, "warning", "not-from-here"))
    entries = {key: value for key, value in header.entries.items() if key != "providers"}
    return Mapping(entries, header.keys, header.file, header.line, header.column)


def _lay_broken(done: Composition, layer: Layer, source: AgentFile) -> None:
    """A file with faults still takes the place of what it was to replace: nobody runs the inherited one by mistake."""
    done.broken[source.name] = tuple(fault for fault in source.faults if fault.level == "error")
    below = done.agents.get(source.name)
    if below is not None and below.bundle != layer.name:
        done.hide(source.name)


def _lay_file(done: Composition, layer: Layer, source: AgentFile) -> None:
    """3. An agent *file* replaces an inherited agent of the same name whole (a warning says so; `bundle:agent` still reaches the
    hidden one) (composition).
    """
    below = done.agents.get(source.name)
    if below is not None:
        if below.bundle == layer.name and below.source is not None:
            first = below.source.file
            done.faults.append(
                Fault(source.file, 1, 1, "name", f"agent '{source.name}' is also written in {first}; rename one of them")
            )
            return
        still = done.hide(source.name)
        message = f"agent '{source.name}' replaces the one of bundle '{below.bundle}', which '{still}' still reaches"
        done.faults.append(Fault(source.file, 1, 1, "name", message, "warning", "agent-replaced"))
    contributions = [
        *(below.contributions if below else ()),
        Contribution(layer.name, source.file, True, partial(_tree_of, source)),
    ]
    done.broken.pop(source.name, None)
    done.agents[source.name] = Folded(source.name, layer.name, source, (), contributions)


def _lay_patch(done: Composition, layer: Layer, name: str, patch: Mapping | Scalar) -> None:
    """3. An inline mapping patches an inherited agent of the same name (composition); `null` removes it."""
    below = done.agents.get(name)
    if isinstance(patch, Scalar):
        if below is None and name not in done.broken:
            message = f"removes an agent that is not there{done.hints.near(name, list(done.agents))}"
            done.faults.append(
                Fault(patch.file, patch.line, patch.column, f"agents.{name}", message, "warning", "nothing-to-change")
            )
        done.agents.pop(name, None)
        done.broken.pop(name, None)
        done.removed[name] = f"{patch.file}:{patch.line}"
        return
    if below is None and name in done.broken:
        return
    contribution = Contribution(layer.name, layer.file, False, lambda: patch)
    if below is None:
        if name != SELF and not any(key in patch.entries for key in ("description", "extends")):
            gone = done.removed.get(name)
            files = [] if gone else [agent.name for agent in done.agents.values() if agent.source is not None]
            near = f": {gone} removes it" if gone else done.hints.near(name, files)
            message = f"no agent '{name}' to patch{near}; an agent of its own needs a description"
            level = "error" if near and not gone else "warning"
            done.faults.append(Fault(patch.file, *_place(layer, name), f"agents.{name}", message, level, "nothing-to-change"))
        done.agents[name] = Folded(name, layer.name, None, (patch,), [contribution])
        return
    laid_over = (*below.patches, patch)
    done.agents[name] = Folded(name, below.bundle, below.source, laid_over, [*below.contributions, contribution])


def _tree_of(source: AgentFile) -> Mapping:
    return source.tree


def _place(layer: Layer, name: str) -> tuple[int, int]:
    agents = layer.header.entries["agents"]
    assert isinstance(agents, Mapping)
    return agents.keys[name]


def _finish_agents(done: Composition, finisher: Finisher) -> dict[str, Agent]:
    agents: dict[str, Agent] = {}
    for name, folded in done.agents.items():
        agent = finisher.agent(folded)
        if agent is not None:
            agents[name] = agent
    taken: dict[str, str] = {}
    for _, agent in sorted(agents.items()):
        for alias in agent.aliases:
            other = alias if alias in agents and alias != agent.name else taken.setdefault(alias, agent.name)
            if other != agent.name:
                message = f"'{alias}' already reaches agent '{other}'; the alias of '{agent.name}' is not used"
                done.faults.append(Fault(agent.file, 1, 1, "aliases", message, "warning", "alias-taken"))
    return agents
