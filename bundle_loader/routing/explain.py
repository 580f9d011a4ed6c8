"""Why: who wrote each field of an agent and who lost, and which of those who may decide does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from bundle_loader.declared.agent import IDENTITY_KEYS, SLOT_KEYS, Agent
from bundle_loader.declared.bundle import SELF, Bundle, Contribution
from bundle_loader.declared.fold import is_base, is_keyed
from bundle_loader.declared.tree import Mapping, Node, Scalar, is_null, path_text, position
from bundle_loader.declared.tree import Sequence as List
from bundle_loader.masking import masked
from bundle_loader.routing.request import DecidedBy, Request
from bundle_loader.routing.select import DECIDERS, Selection, roles_lacking

Keys: TypeAlias = tuple[str, ...]

_LISTS: Final = ("provider_preferences", "content_fallback")
"""Fields whose element `base` keeps what was inherited."""
_RIVALS: Final = (SLOT_KEYS, ("content_fallback",))
"""Fields of which writing one clears the others, but for what its `base` keeps."""
PIN: Final = "pin"
"""The field under which the pins of settings stand."""
_USES_BASE: Final = re.compile(r"\{[{%][^}]*\bbase\b")


@dataclass(frozen=True, slots=True)
class Origin:
    """One writing of a field; `lost` says to whom, and is empty for what is in force."""

    field: str
    """`limits.timeout`: mappings merge key by key, so each key has an origin of its own."""
    value: str
    bundle: str
    file: str
    line: int
    lost: str = ""
    inherited: str = ""
    """The agent that it came from through `extends`."""

    def __str__(self) -> str:
        through = f", extending {self.inherited}" if self.inherited else ""
        whose = self.bundle if self.field == PIN else f"bundle {self.bundle}"
        text = f"{self.field} = {self.value}  {self.file}:{self.line} ({whose}{through})"
        return f"{text}: lost to {self.lost}" if self.lost else text


@dataclass(frozen=True, slots=True)
class _Layer:
    """What one contribution wrote: every leaf with its line."""

    written: Contribution
    inherited: str
    cut: str
    """Who replaced the whole of it."""
    tree: Mapping
    leaves: dict[Keys, tuple[Node, int]]

    def place(self, line: int) -> str:
        return f"{self.written.file}:{line} (bundle {self.written.bundle})"

    def origin(self, path: Keys, lost: str) -> Origin:
        node, line = self.leaves[path]
        return Origin(path_text(path), shown(node), self.written.bundle, self.written.file, line, lost, self.inherited)


def origins(bundle: Bundle, agent: str) -> list[Origin]:
    """Every writing of every field of an agent (or of a hidden `bundle:agent`): by field, the most derived first.

    Writings that it inherits through `extends` are among them, and its text as the field `instruction`.
    """
    layers = _lineage(bundle, agent)
    live = [layer for layer in layers if not layer.cut]
    paths: dict[str, dict[Keys, None]] = {}
    for layer in layers:
        for path in layer.leaves:
            paths.setdefault(path[0], {})[path] = None
    losses = {id(layer): _losses(layer, live[index + 1 :]) for index, layer in enumerate(live)}
    slots = {(id(layer), key): lost for rivals in _RIVALS for layer, key, lost in _slot_losses(bundle, live, rivals)}
    found = []
    for path in (path for group in paths.values() for path in group):
        for layer in reversed(layers):
            if path in layer.leaves:
                slot = slots.get((id(layer), path[0]))
                found.append(layer.origin(path, layer.cut or (losses[id(layer)].get(path, "") if slot is None else slot)))
    return found + _instructions(bundle, agent, layers) + _pins(bundle, agent)


def _pins(bundle: Bundle, agent: str) -> list[Origin]:
    """3. A pin in settings, user before organisation: every one that was written, the most derived first, and who lost."""
    found: list[Origin] = []
    chosen = bundle.pins.get(agent)
    lost = ""
    for file in reversed(bundle.settings):
        pins = file.tree.entries.get("agents")
        node = pins.entries.get(agent) if isinstance(pins, Mapping) else None
        if node is None:
            continue
        line = position(file.tree, ("agents", agent), key=True)[1]
        here = f"{file.file}:{line} ({file.layer.name})"
        holds = chosen is not None and chosen.setting == file.place("agents", agent)
        why = lost or ("" if holds or is_null(node) else "nobody: it is left out, as check says")
        mandate = bundle.mandates.get(agent)
        if lost and mandate is not None and mandate.setting == file.place("agents", agent):
            why += ", and still a gate: it is mandatory"
        found.append(Origin(PIN, shown(node), file.layer.name, file.file, line, why))
        lost = lost or (here if holds or is_null(node) else "")
    return found


def _lineage(bundle: Bundle, agent: str, above: tuple[str, ...] = ()) -> list[_Layer]:
    """The layers of an agent on those of the agent that it extends, least derived first."""
    own = bundle.contributions(agent)
    last = max((index for index, written in enumerate(own) if written.whole), default=0)
    cut = f"{own[last].file} (bundle {own[last].bundle})" if own else ""
    base = _base(bundle, own[last:])
    below: list[_Layer] = []
    if base is not None and base not in (*above, agent):
        below = [layer for layer in _lineage(bundle, base, (*above, agent)) if not layer.cut]
        below = [replace(layer, inherited=layer.inherited or base) for layer in below]
        below = [replace(layer, leaves=_without_identity(layer.leaves)) for layer in below]
    shared = {id(layer.written) for layer in below}
    return below + [
        _layer(written, cut if index < last else "") for index, written in enumerate(own) if id(written) not in shared
    ]


def _layer(written: Contribution, cut: str) -> _Layer:
    tree = written.tree
    return _Layer(written, "", cut, tree, dict(_leaves(tree)))


def _without_identity(leaves: dict[Keys, tuple[Node, int]]) -> dict[Keys, tuple[Node, int]]:
    return {path: leaf for path, leaf in leaves.items() if path[0] not in IDENTITY_KEYS}


def _leaves(tree: Mapping, above: Keys = ()) -> Iterator[tuple[Keys, tuple[Node, int]]]:
    for key, node in tree.entries.items():
        if isinstance(node, Mapping) and node.entries:
            yield from _leaves(node, (*above, key))
        else:
            yield (*above, key), (node, tree.keys[key][0])


def _base(bundle: Bundle, own: Sequence[Contribution]) -> str | None:
    """What reaches the agent that the most derived `extends` names."""
    node = next((node for written in reversed(own) if (node := written.tree.entries.get("extends")) is not None), None)
    if not isinstance(node, Scalar) or node.is_null:
        return None
    if bundle.contributions(node.text):
        return node.text
    owner, colon, short = node.text.rpartition(":")
    if not colon:
        return next((name for name, agent in sorted(bundle.agents.items()) if short in agent.aliases), None)
    return short if any(written.bundle == owner for written in bundle.contributions(short)) else None


def _losses(layer: _Layer, later: Sequence[_Layer]) -> dict[Keys, str]:
    """The leaves that a more derived layer replaces or removes, and the most derived that does."""
    lost: dict[Keys, str] = {}
    for other in reversed(later):
        for path, (node, _) in layer.leaves.items():
            lines = [line for above, (value, line) in other.leaves.items() if _replaces(above, value, path, node)]
            if lines:
                lost.setdefault(path, other.place(lines[0]))
    return lost


def _replaces(above: Keys, value: Node, below: Keys, node: Node) -> bool:
    """3. Mappings merge key by key. Lists replace, except lists of mappings that bear an `id`, `name` or `module`."""
    if above == below:
        keyed = isinstance(value, List) and isinstance(node, List) and is_keyed(value) and is_keyed(node)
        return not keyed and not (isinstance(value, Mapping) and isinstance(node, Mapping))
    short = min(len(above), len(below))
    outer = value if len(above) < len(below) else node
    return above[:short] == below[:short] and not isinstance(outer, Mapping)


def _slot_losses(bundle: Bundle, live: Sequence[_Layer], rivals: tuple[str, ...]) -> Iterator[tuple[_Layer, str, str]]:
    """Who lost a slot to whom: writing any of its fields clears them all, but for what `base` keeps."""
    winner, splicing = "", False
    for layer in reversed(live):
        present = [key for key in rivals if key in layer.tree.entries]
        if not present:
            continue
        lists = [key for key in present if key in _LISTS and isinstance(layer.tree.entries[key], List)]
        tiers = [key for key in present if key == "tier" and not is_null(layer.tree.entries[key])]
        redefined = _redefined(bundle, layer) if splicing and lists and tiers else ""
        kept = (tiers if redefined else lists or tiers)[:1] if splicing else []
        for key in present:
            yield layer, key, "" if key in kept else redefined or winner
        own = lists[:1] if not winner else [key for key in lists if key in kept]
        splicing = any(is_base(item) for key in own for item in _items(layer.tree.entries[key]))
        winner = winner or layer.place(layer.tree.keys[present[0]][0])


def _redefined(bundle: Bundle, layer: _Layer) -> str:
    """What takes the place of the list of a layer for whoever writes `base`, where its tier was redefined since."""
    tier = layer.tree.entries["tier"]
    if not isinstance(tier, Scalar) or bundle.header is None or not bundle.follows_tier(layer.tree):
        return ""
    file, line, _ = position(bundle.header, ("tiers", tier.text), key=True)
    return f"its tier {tier.text}, which {file}:{line} redefines"


def _items(node: Node) -> list[Node]:
    return node.items if isinstance(node, List) else []


def _instructions(bundle: Bundle, agent: str, layers: Sequence[_Layer]) -> list[Origin]:
    """The text, what its `{{ base }}` inserts, and the texts of the agents that it replaced."""
    places = {layer.written.file: layer for layer in layers}
    found = []
    text: Agent | None = bundle.hidden.get(agent) or bundle.agents.get(agent)
    while text is not None and text.instruction:
        layer = places.get(text.file)
        origin = Origin("instruction", _first_line(text.instruction), text.bundle, text.file, text.body_line)
        if layer is not None:
            origin = replace(origin, bundle=layer.written.bundle, inherited=layer.inherited)
        found.append(origin)
        text = text.parent_instruction if _USES_BASE.search(text.instruction) else None
    for layer in reversed(layers):
        hidden = bundle.hidden.get(f"{layer.written.bundle}:{agent}") if layer.cut and layer.written.whole else None
        if hidden is not None and hidden.instruction:
            value = _first_line(hidden.instruction)
            found.append(Origin("instruction", value, layer.written.bundle, hidden.file, hidden.body_line, layer.cut))
    return found


def _first_line(text: str) -> str:
    return _cut(text.strip().partition("\n")[0])


def _cut(text: str) -> str:
    text = masked(" ".join(text.split()))
    return text if len(text) <= 60 else text[:57] + "..."


def shown(node: Node) -> str:
    """A value in one line, as written."""
    if isinstance(node, Scalar):
        return "null" if is_null(node) else _cut(node.text)
    if isinstance(node, Mapping):
        return "{" + ", ".join(f"{key}: {shown(value)}" for key, value in node.entries.items()) + "}"
    return "[" + ", ".join(shown(item) for item in node.items) + "]"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One of the six who may decide: whether it does, and why or why not."""

    number: int
    by: DecidedBy
    decides: bool
    reason: str

    def __str__(self) -> str:
        return f"{self.number} {self.by}: {'decides: ' if self.decides else ''}{self.reason}"


def verdicts(bundle: Bundle, request: Request) -> tuple[Verdict, ...]:
    """One line for each who may decide, in order of precedence; the first that speaks decides, and it may be nobody.

    Raises RequestError for a tier, role or profile of the caller's that the bundle does not have.
    """
    found: list[Verdict] = []
    first: DecidedBy | None = None
    for by in DecidedBy:
        decide = DECIDERS.get(by)
        said = decide(bundle, request) if decide is not None else None
        if said is None:
            reason = f"said nothing: {_SILENCE[by](bundle, request)}"
        elif first is None:
            reason = said.decision + (_detail(bundle, request.agent, said) if by is DecidedBy.AGENT else "")
        else:
            reason = f"would say {said.decision}; {first} ({first.number}) speaks first"
        found.append(Verdict(by.number, by, said is not None and first is None, reason))
        first = first or (by if said is not None else None)
    return tuple(found)


def label_of(bundle: Bundle, agent: Agent) -> str:
    """What reaches exactly this agent: its name, or `bundle:agent` for a hidden one."""
    return next((label for label, hidden in bundle.hidden.items() if hidden is agent), agent.name)


def _detail(bundle: Bundle, agent: Agent, said: Selection) -> str:
    """Where the agent's slot was written, and why that field of it."""
    key = {"role": "model_role", "list": "provider_preferences", "tier": "tier"}[agent.slot or "list"]
    standing = [origin for origin in origins(bundle, label_of(bundle, agent)) if not origin.lost]
    place = next((f" ({origin.file}:{origin.line})" for origin in standing if origin.field == key), "")
    if agent.slot == "role" and (agent.preferences or agent.tier):
        return f"{place}, which goes before its list and its tier"
    if agent.slot == "tier" and agent.preferences and bundle.header is not None:
        file, line, _ = position(bundle.header, ("tiers", said.tier or ""), key=True)
        return f"{place}; its own list gives way, because a more derived bundle redefines the tier ({file}:{line})"
    return place


def _silent_caller(bundle: Bundle, request: Request) -> str:
    text = "it gives no preferences, model, tier, role or profile"
    if request.stage is not None and request.step is None:
        text += "; a stage without a profile chooses nothing"
    if request.provider is not None:
        text += f"; its provider '{request.provider}' filters the list that wins"
    return text


def _silent_step(bundle: Bundle, request: Request) -> str:
    if request.step is None:
        return "no recipe step asks"
    who = f"step {request.step.name}" if request.step.name else "the step"
    said = roles_lacking(bundle, request.step) or f"{who} names no preferences, tier or role"
    return f"{said}, and no profile is in force"


def _silent_agent(bundle: Bundle, request: Request) -> str:
    agent = request.agent
    if agent.model_role:
        return f"it names only the role {' or '.join(agent.model_role)}, which no table in bundle '{bundle.name}' has"
    for origin in origins(bundle, label_of(bundle, agent)):
        if origin.field in SLOT_KEYS and not origin.lost:
            return f"{origin.file}:{origin.line} removes its {origin.field}"
    return "it has no model_role, provider_preferences or tier"


def _silent_bundle(bundle: Bundle, request: Request) -> str:
    if bundle.default is not None and request.agent.name == SELF:
        return f"the default tier {bundle.default} is not for '{SELF}'"
    return f"bundle '{bundle.name}' has no default tier"


_SILENCE: Final[dict[DecidedBy, Callable[[Bundle, Request], str]]] = {
    DecidedBy.CALLER: _silent_caller,
    DecidedBy.STEP: _silent_step,
    DecidedBy.PIN: lambda bundle, request: f"no settings pin '{request.agent.name}'",
    DecidedBy.AGENT: _silent_agent,
    DecidedBy.BUNDLE: _silent_bundle,
    DecidedBy.PARENT: lambda bundle, request: "there is no parent to inherit from, and no settings give a default",
}
