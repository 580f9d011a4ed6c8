"""Layers folded into one bundle, with the origin of every value kept beside it.

4. Every value keeps its origin (file, line) and what it replaced (composition).
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as MappingOf
from collections.abc import Sequence as SequenceOf
from typing import Final

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.budget import Budget, WrittenBudget
from bundle_loader.declared.bundle import SELF, Bundle, Contribution
from bundle_loader.declared.composition import Composition, Folded
from bundle_loader.declared.context import parts_of, text_of
from bundle_loader.declared.finish import Finisher
from bundle_loader.declared.finish_budgets import finish_budgets
from bundle_loader.declared.fold import fold, has_tombstones
from bundle_loader.declared.laid import laid
from bundle_loader.declared.layer import AgentFile, Layer
from bundle_loader.declared.mended import Path, not_following
from bundle_loader.declared.model_order import finish_model_order
from bundle_loader.declared.prices import DeclaredPrice, finish_prices
from bundle_loader.declared.recipe_laying import lay_recipes, lint_recipes
from bundle_loader.declared.route_tests import finish_tests
from bundle_loader.declared.settings import SettingsFile, trusting
from bundle_loader.declared.settled import in_force
from bundle_loader.declared.settled_budgets import not_mandatory, settled_layer, with_mandatory
from bundle_loader.declared.settled_tiers import Gone, fitting_layer
from bundle_loader.declared.tables import NOT_IN_FORCE, TRUSTED_ONLY, WrittenBundle
from bundle_loader.declared.tree import Mapping, Scalar, core, is_null, plain
from bundle_loader.errors import Fault

_TO_ROOT: Final = "is taken from the root bundle only; write it in the bundle that is loaded"


def compose(
    layers: SequenceOf[Layer],
    name: str | None = None,
    faults: SequenceOf[Fault] = (),
    settings: SequenceOf[SettingsFile] = (),
    *,
    trusted: bool = True,
    lost: Iterable[Path] = (),
) -> Bundle:
    """One bundle from `layers`, least derived first; the last gives its name, version and description.

    `faults` are what finding the layers had to say; they are kept with the bundle's own. `settings` are laid over all layers.
    `trusted` is false where nobody but a stranger's project chose the root bundle: the keys of `TRUSTED_ONLY` are not taken
    from it. `lost` are tables, and names in them, that could not be read: who misses them is not at fault.

    What faults took out of a file is not missed by the others; whether such a bundle may be used is for the caller to say.
    """
    done = _lay_all(layers, settings, lost, trusted=trusted)
    root = layers[-1]
    finisher = Finisher(done.header or root.header, done, _alone(layers, settings))
    agents = _finish_agents(done, finisher)
    hidden = {key: agent for key, folded in done.hidden.items() if (agent := finisher.agent(folded)) is not None}
    budgets, wrong_budgets = _finish_budgets(layers, settings, finisher)
    prices, wrong_prices = _finish_prices(layers, settings, finisher)
    tests, wrong_tests = finish_tests(finisher.written, finisher.header)
    recipes = lay_recipes(layers, None if ("tiers",) in done.lost else [*finisher.tiers, *done.names_lost("tiers")])
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
        model_order=finish_model_order(finisher.written.model_order),
        **finisher.profiles()._asdict(),
        roles=finisher.roles,
        providers=finisher.providers(),
        mcp_servers=finisher.mcp_servers(),
        vars=finisher.vars(),
        context="\n\n".join(text for layer in layers if (text := text_of(layer))),
        extra={key: core(plain(node)) for key, node in finisher.header.entries.items() if key in NOT_IN_FORCE},
        layers=tuple(layer.name for layer in layers),
        tests=tests,
        budgets=budgets,
        prices=prices,
        recipes=recipes.recipes,
        **in_force(settings, finisher, agents, set(done.agents)),
    )
    done.faults += [*finisher.faults, *wrong_tests, *wrong_budgets, *wrong_prices]
    bundle._broken_recipes = recipes.broken
    bundle._context_parts = tuple(part for layer in layers for part in parts_of(layer))
    bundle._laid = laid(layers, settings)
    bundle._settings, bundle._trusted = tuple(settings), trusted
    bundle._lost, bundle._ranks = frozenset(done.lost), (done.rank, done.tier_rank)
    _keep_origins(bundle, done, finisher)
    bundle._problems = _problems(bundle, done, layers, settings, [*faults, *recipes.faults])
    return bundle


def _lay_all(
    layers: SequenceOf[Layer], settings: SequenceOf[SettingsFile], lost: Iterable[Path], *, trusted: bool
) -> Composition:
    gone = Gone()
    while True:
        done = _lay_with(gone, layers, settings, lost, trusted=trusted)
        if not gone.more:
            done.faults += gone.faults
            return done
        gone.more = False


def _lay_with(
    gone: Gone, layers: SequenceOf[Layer], settings: SequenceOf[SettingsFile], lost: Iterable[Path], *, trusted: bool
) -> Composition:
    done = Composition(
        lost={*lost, *(path for one in layers for path in one.lost), *(path for one in settings for path in one.lost)}
    )
    for index, layer in enumerate(layers):
        is_root = layer is layers[-1]
        _lay(done, layer, index, is_root=trusted and is_root, remedy=trusting(settings) if is_root else _TO_ROOT)
    for index, file in enumerate(settings, len(layers)):
        layer, refused = settled_layer(file, done.header, settings)
        layer = fitting_layer(layer, done.header, settings[index - len(layers) :], gone)
        done.faults += [*file.faults, *refused]
        _lay(done, layer, index, is_root=True)
    return done


def _problems(
    bundle: Bundle,
    done: Composition,
    layers: SequenceOf[Layer],
    settings: SequenceOf[SettingsFile],
    found: SequenceOf[Fault],
) -> tuple[Fault, ...]:
    """Everything that is wrong, without what only follows from the faults of single files."""
    of_files = {*(fault for one in layers for fault in one.faults), *(fault for one in settings for fault in one.faults)}
    first = of_files.union(found, *(source.faults for layer in layers for source in layer.agent_files))
    later = {*done.faults, *(() if done.lost else lint_recipes(bundle))}
    return tuple(sorted({*first, *not_following(later, first)}))


def _keep_origins(bundle: Bundle, done: Composition, finisher: Finisher) -> None:
    """What was written about each noun, and which agents could not be made of it."""
    bundle._broken = {key: tuple(found) for key, found in finisher.broken.items()}
    bundle._flawed = finisher.flawed
    bundle._header = finisher.header
    bundle._contributions = {key: folded.contributions for key, folded in (done.hidden | done.agents).items()}


def _finish_prices(
    layers: SequenceOf[Layer], settings: SequenceOf[SettingsFile], finisher: Finisher
) -> tuple[tuple[DeclaredPrice, ...], list[Fault]]:
    files = [*(layer.file for layer in layers), *(file.file for file in settings)]
    order = {file: place for place, file in enumerate(files)}
    return finish_prices(finisher.written.prices, finisher.header, order)


def _finish_budgets(
    layers: SequenceOf[Layer], settings: SequenceOf[SettingsFile], finisher: Finisher
) -> tuple[dict[str, Budget], list[Fault]]:
    """The budgets of all layers, those that nobody can undo among them, and what is wrong with them."""
    tiers = list(finisher.tiers)
    written = finisher.written.budgets
    composed, faults = finish_budgets(written, finisher.header, tiers, {file.file for file in settings})
    faults = [fault for fault in faults if not _names_lost_budget(fault, written or {}, finisher)]
    budgets, more = with_mandatory(composed, settings, tiers)
    elsewhere = [file.tree for file in settings if file.origin != "organisation"]
    return budgets, [*faults, *more, *not_mandatory([*(layer.header for layer in layers), *elsewhere])]


def _names_lost_budget(fault: Fault, written: MappingOf[str, WrittenBudget | None], finisher: Finisher) -> bool:
    """Whether a budget misses a budget or a tier that was taken away for a fault of its own."""
    for name, budget in written.items():
        share = budget.share.of if budget is not None and budget.share is not None else None
        if share is not None and fault.key == f"budgets.{name}.share.of":
            return finisher.names.is_lost("budgets", share)
        if budget is not None and budget.emergency is not None and fault.key == f"budgets.{name}.emergency":
            return finisher.names.is_lost("tiers", budget.emergency)
    return False


def _alone(layers: SequenceOf[Layer], settings: SequenceOf[SettingsFile]) -> WrittenBundle | None:
    """What the only layer says, which need not be checked again where it removes nothing of its own."""
    return None if len(layers) > 1 or settings or has_tombstones(layers[0].header) else layers[0].written


def _lay(done: Composition, layer: Layer, index: int, *, is_root: bool, remedy: str = "") -> None:
    done.faults += layer.faults
    done.rank[layer.file] = index
    for table in ("tiers", "budgets"):
        _note_removed(done, layer, table)
    tiers = layer.header.entries.get("tiers")
    done.tier_rank.update(dict.fromkeys(tiers.entries, index) if isinstance(tiers, Mapping) else {})
    folded = fold(done.header, layer.header if is_root else _without_trusted(done, layer, remedy))
    assert isinstance(folded, Mapping)
    done.header = folded
    agents = layer.header.entries.get("agents")
    if agents is not None and is_null(agents):
        done.removed |= {("agents", name): f"{agents.file}:{agents.line}" for name in done.agents}
        done.agents.clear()
    for source in layer.agent_files:
        done.faults += source.faults
        done.rank[source.file] = index
        _lay_file(done, layer, source)
    done.changed()
    for name, patch in layer.patches.items():
        _lay_patch(done, layer, name, patch)
    done.changed()


def _note_removed(done: Composition, layer: Layer, table: str) -> None:
    """Where a layer removes names of a table, for whoever misses them."""
    node = layer.header.entries.get(table)
    below = done.header.entries.get(table) if done.header is not None else None
    if node is not None and is_null(node) and isinstance(below, Mapping):
        done.removed |= {(table, name): f"{node.file}:{node.line}" for name in below.entries}
    for name, value in node.entries.items() if isinstance(node, Mapping) else ():
        done.removed.pop((table, name), None)
        if is_null(value):
            done.removed[table, name] = f"{value.file}:{value.line}"


def _without_trusted(done: Composition, layer: Layer, remedy: str) -> Mapping:
    """Where providers listen, what models cost, and which MCP servers are started, is the root bundle's to say.

    An included one could send a key to a server of its own, undo a budget with a price of 0, or have a program run.
    """
    header = layer.header
    refused = [key for key in TRUSTED_ONLY if key in header.entries]
    if not refused:
        return header
    for key in refused:
        line, column = header.keys[key]
        done.faults.append(Fault(layer.file, line, column, key, remedy, "warning", "not-from-here"))
    entries = {key: value for key, value in header.entries.items() if key not in refused}
    return Mapping(entries, header.keys, header.file, header.line, header.column)


def _lay_file(done: Composition, layer: Layer, source: AgentFile) -> None:
    """3. An agent *file* replaces an inherited agent of the same name whole (a warning says so; `bundle:agent` still reaches the
    hidden one) (composition).

    A file with faults takes the place of what it was to replace too: nobody runs the inherited one by mistake.
    """
    below = done.agents.get(source.name)
    if below is not None:
        if below.bundle == layer.name and below.source is not None:
            if not (source.is_read and below.source.is_read):
                return
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
        Contribution(layer.name, source.file, True, source),
    ]
    done.agents[source.name] = Folded(source.name, layer.name, source, (), contributions)


def _lay_patch(done: Composition, layer: Layer, name: str, patch: Mapping | Scalar) -> None:
    """3. An inline mapping patches an inherited agent of the same name (composition); `null` removes it."""
    below = done.agents.get(name)
    if isinstance(patch, Scalar):
        if below is None and not done.is_lost("agents", name):
            owner = done.alias_of(name)
            near = f"; '{name}' is an alias of '{owner}': remove '{owner}'" if owner else done.hints.near(name, list(done.agents))
            message = f"removes an agent that is not there{near}"
            done.faults.append(
                Fault(patch.file, patch.line, patch.column, f"agents.{name}", message, "warning", "nothing-to-change")
            )
        done.agents.pop(name, None)
        done.removed["agents", name] = f"{patch.file}:{patch.line}"
        return
    contribution = Contribution(layer.name, layer.file, False, patch)
    flawed = name in layer.flawed
    if below is None:
        flawed = flawed or done.is_lost("agents", name)
        if name != SELF and not flawed and not any(key in patch.entries for key in ("description", "extends")):
            owner = done.alias_of(name)
            if owner is not None:
                message = f"'{name}' is an alias of '{owner}'; patch '{owner}'"
                done.faults.append(Fault(patch.file, *_place(layer, name), f"agents.{name}", message, rule="nothing-to-change"))
                return
            gone = done.removed.get(("agents", name))
            files = [] if gone else [agent.name for agent in done.agents.values() if agent.source is not None]
            near = f": {gone} removes it" if gone else done.hints.near(name, files)
            message = f"no agent '{name}' to patch{near}; an agent of its own needs a description"
            level = "error" if near and not gone else "warning"
            done.faults.append(Fault(patch.file, *_place(layer, name), f"agents.{name}", message, level, "nothing-to-change"))
        done.agents[name] = Folded(name, layer.name, None, (patch,), [contribution], flawed=flawed)
        return
    laid_over = (*below.patches, patch)
    wrote = [*below.contributions, contribution]
    done.agents[name] = Folded(name, below.bundle, below.source, laid_over, wrote, flawed=flawed or below.flawed)


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
