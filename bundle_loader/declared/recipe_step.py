"""One written step to its final value: exactly one kind, at most one loop, only keys that fit them."""

from __future__ import annotations

import re
from typing import Any, Final

from bundle_loader.declared.preference import Preference, split_pair
from bundle_loader.declared.recipe import (
    ALWAYS,
    WITHIN_LOOPS,
    Action,
    AgentStep,
    Approval,
    ApprovalStep,
    GroupStep,
    OnError,
    PythonStep,
    RecipeStep,
    Recursion,
    Retry,
    RoleChoice,
    ShellStep,
    Step,
    TierChoice,
)
from bundle_loader.declared.recipe_loop import loop_of
from bundle_loader.declared.recipe_places import TextPlaces
from bundle_loader.declared.recipe_read import Path, ReadStep, RecipeReading
from bundle_loader.declared.recipe_scope import node_at
from bundle_loader.declared.recipe_variables import NAME
from bundle_loader.declared.recipe_written import WrittenApproval, WrittenRetry
from bundle_loader.declared.tree import Sequence, path_text
from bundle_loader.errors import Fault

KINDS: Final = {
    "agent": ("agent",),
    "bash": ("bash", "command", "shell"),
    "python": ("python",),
    "recipe": ("recipe",),
    "approval": ("approval",),
    "steps": ("steps", "while_steps"),
}
"""Kind -> the keys that make a step one of it. A list under `parallel` makes it `steps` as well."""

_TYPES: Final = {
    "agent": "agent", "bash": "bash", "shell": "bash", "command": "bash", "python": "python", "function": "python",
    "recipe": "recipe", "sub-recipe": "recipe", "approval": "approval", "wait": "approval", "group": "steps",
    "parallel": "steps",
}  # fmt: skip
_FITS: Final = {
    **dict.fromkeys(("prompt", "instruction", "message"), ("agent", "approval")),
    **dict.fromkeys(
        ("mode", "profile", "stage", "tier", "model_role", "role", "provider_preferences", "provider", "model", "agent_config"),
        ("agent",),
    ),
    "spawn_mode": ("agent",),
    **dict.fromkeys(("cwd", "env"), ("bash", "python")),
    **dict.fromkeys(("context", "step_context", "recursion"), ("recipe",)),
    "output_exit_code": ("bash",),
    "args": ("python",),
}
"""Key -> the kinds that it belongs to; any other key fits every kind."""
_HIDDEN_IN_LOOPS: Final = ("recipe", "session", "date", "workdir")
"""Variables that are always there, and whose names public recipes give to a loop's element."""
_SYNONYMS: Final = (
    ("bash", "command", "shell"), ("prompt", "instruction", "message"), ("model_role", "role"), ("condition", "when"),
    ("while", "while_condition"), ("max_iterations", "max_while_iterations"), ("steps", "while_steps"),
    ("context", "step_context"), ("as", "as_var"),
)  # fmt: skip
_TEXTS: Final = ("prompt", "instruction", "message")
_IDLE: Final = {
    "agent_config": "is read and kept, but nothing acts on it; write 'config' into provider_preferences",
    "spawn_mode": "is read and kept, but nothing acts on it: each delegation has a context of its own",
}
"""Keys of a step that are read and kept but that nothing acts on, and what is said of them."""
_CALLABLE: Final = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")


def approval_of(written: WrittenApproval | None) -> Approval | None:
    """The approval that is waited for; None where none is written or it is not required."""
    if written is None or written.required is False:
        return None
    timeout = written.timeout if written.timeout is not None else 0.0
    return Approval(prompt=written.prompt or written.message or "", timeout=timeout, default=written.default or "deny")


class StepFinisher:
    """Makes final steps; faults are collected, and a step with faults is left out."""

    def __init__(self, reading: RecipeReading) -> None:
        self.reading = reading
        self.faults: list[Fault] = []
        self.places: dict[str, tuple[str, int, int]] = {}
        self.texts = TextPlaces(reading.lines)
        self.aliases = reading.written.agents or {}

    def finished(self, steps: list[ReadStep]) -> list[Step]:
        """The steps of one list, those in groups with their group."""
        return [made for step in steps for made in [self._step(step)] if made is not None]

    def _step(self, step: ReadStep) -> Step | None:
        before = len(self.faults)
        self.places.setdefault(step.id, (step.tree.file, step.tree.line, step.tree.column))
        self.texts.keep(step.id, step.tree)
        children = tuple(self.finished(step.children))
        kind = self._kind(step)
        if kind is not None:
            self._fitting(step, kind)
        self._names(step)
        action = self._action(step, kind, children) if kind is not None else None
        loop = loop_of(step, kind, self.reading.written.context or {}, self._fault)
        extra = self._extra(step)
        if len([fault for fault in self.faults[before:] if fault.level == "error"]) or action is None or not step.id:
            return None
        written = step.written
        return Step(
            id=step.id,
            action=action,
            description=written.description or written.name or "",
            condition=((written.condition or written.when) or "").strip() or None,
            loop=loop,
            output=written.output,
            parse_json=bool(written.parse_json),
            output_schema=written.output_schema,
            retry=_retry(written.retry),
            timeout=written.timeout,
            on_error=_on_error(written.on_error),
            depends_on=tuple(written.depends_on or ()),
            extra=extra,
        )

    def _kind(self, step: ReadStep) -> str | None:
        """The one kind that a step is."""
        kinds = [kind for kind, keys in KINDS.items() if any(step.has(key) for key in keys)]
        if isinstance(step.tree.entries.get("parallel"), Sequence) and "steps" not in kinds:
            kinds.append("steps")
        said = _TYPES.get(step.written.type or "")
        if said == "approval" and not kinds:
            kinds = ["approval"]
        if len(kinds) > 1:
            self._fault(step, (), f"does {len(kinds)} things: {' and '.join(kinds)}; make each a step of its own")
            return None
        if not kinds:
            needs = f"'type: {step.written.type}' needs '{said}'" if said else f"does nothing; write one of {', '.join(KINDS)}"
            self._fault(step, (), needs)
            return None
        if said is not None and said != kinds[0]:
            self._fault(step, ("type",), f"'{step.written.type}' does not go with '{kinds[0]}'; remove one of the two")
            return None
        return kinds[0]

    def _fitting(self, step: ReadStep, kind: str) -> None:
        for key, kinds in _FITS.items():
            if step.has(key) and kind not in kinds:
                fits = " or ".join(f"'{fit}'" for fit in kinds)
                self._fault(step, (key,), f"belongs to a step with {fits}, and this one has '{kind}'", key=True)
        for words in _SYNONYMS:
            said = [word for word in words if step.has(word)]
            if len(said) > 1:
                self._fault(step, (said[1],), f"means the same as '{said[0]}'; remove one of the two", key=True)

    def _names(self, step: ReadStep) -> None:
        """The variables that a step sets must be names, and none that is always there."""
        written = step.written
        named: list[tuple[Path, str | None]] = [
            (("output",), written.output),
            (("collect",), written.collect),
            (("output_exit_code",), written.output_exit_code),
            (("as",), written.as_),
            (("as_var",), written.as_var),
            *((("update_context", name), name) for name in written.update_context or ()),
        ]
        for path, name in named:
            if name is None:
                continue
            if not NAME.fullmatch(name):
                self._fault(step, path, f"{name!r} is not a name of a variable; use letters, digits and '_'")
            elif path[0] in ("as", "as_var") and name in _HIDDEN_IN_LOOPS:
                message = f"hides what '{name}' says everywhere else; another name is clearer"
                self._fault(step, path, message, level="warning", rule="recipe-style")
            elif name in (*ALWAYS, *WITHIN_LOOPS):
                self._fault(step, path, f"'{name}' is always there; choose another name")

    # --- what is done

    def _action(self, step: ReadStep, kind: str, children: tuple[Step, ...]) -> Action | None:
        written = step.written
        if kind == "agent":
            return self._agent(step)
        if kind == "bash":
            key = next(key for key in KINDS["bash"] if step.has(key))
            command = getattr(written, key) or ""
            if not command.strip():
                self._fault(step, (key,), "is empty; write a shell command")
            return ShellStep(command=command, cwd=written.cwd, env=written.env or {}, exit_code=written.output_exit_code)
        if kind == "python":
            match = _CALLABLE.fullmatch((written.python or "").strip())
            if match is None:
                self._fault(step, ("python",), "write module:function, such as reports.weekly:build")
                return None
            return PythonStep(module=match[1], function=match[2], args=written.args or {}, cwd=written.cwd, env=written.env or {})
        if kind == "recipe":
            if not (written.recipe or "").strip():
                self._fault(step, ("recipe",), "is empty; write the path of a recipe, or bundle:name")
            recursion = Recursion(**written.recursion.model_dump()) if written.recursion else None
            context = written.context or written.step_context or {}
            # other runners mark a path within a bundle with '@'
            return RecipeStep(recipe=(written.recipe or "").strip().removeprefix("@"), context=context, recursion=recursion)
        if kind == "approval":
            return self._approval(step)
        return self._group(step, children)

    def _agent(self, step: ReadStep) -> AgentStep | None:
        written = step.written
        prompt = written.prompt or written.instruction or written.message or ""
        if not (written.agent or "").strip():
            if written.agent is not None:
                self._fault(step, ("agent",), "is empty; name an agent")
            return None
        if not prompt.strip() and not any(step.has(key) and getattr(written, key) is None for key in _TEXTS):
            self._fault(step, ("prompt",), "is missing or empty; say what the agent is to do")
        roles = written.model_role or written.role or []
        agent = (written.agent or "").strip()
        return AgentStep(
            agent=self.aliases.get(agent, agent),
            prompt=prompt,
            mode=written.mode or "",
            profile=written.profile,
            stage=written.stage,
            tier=written.tier,
            model_role=tuple(roles),
            preferences=self._preferences(step),
        )

    def _preferences(self, step: ReadStep) -> tuple[Preference | TierChoice | RoleChoice, ...]:
        written = step.written
        found: list[Preference | TierChoice | RoleChoice] = []
        for index, element in enumerate(written.provider_preferences or ()):
            if element.base:
                message = "'base' stands for an inherited list, and a step inherits none; remove it"
                self._fault(step, ("provider_preferences", index), message)
            elif element.tier is not None:
                found.append(TierChoice(tier=element.tier))
            elif element.role or element.class_:
                found.append(RoleChoice(role=(element.role or element.class_ or "").strip()))
            else:
                found.append(
                    Preference(
                        provider=_provider(element.provider or ""),
                        model=element.model or "*",
                        config=element.config or {},
                        optional=bool(element.optional),
                    )
                )
        if written.provider_preferences == []:
            self._fault(step, ("provider_preferences",), "an empty list prefers nothing; leave the key out")
        if not written.provider and not written.model:
            return tuple(found)
        if written.provider_preferences is not None:
            key = "provider" if written.provider else "model"
            self._fault(step, (key,), "stands beside provider_preferences; write the pair into that list", key=True)
            return tuple(found)
        provider, model = written.provider or "", written.model or "*"
        if not provider:
            try:
                provider, model = split_pair(model)
            except ValueError as error:
                self._fault(step, ("model",), f"{error}; or write 'provider' beside it")
                return ()
        return (Preference(provider=_provider(provider), model=model),)

    def _approval(self, step: ReadStep) -> ApprovalStep:
        written = step.written
        approval = approval_of(written.approval) or Approval()
        prompt = approval.prompt or written.prompt or written.instruction or written.message or ""
        if not prompt.strip():
            self._fault(step, ("approval",), "has no prompt; say what is to be approved")
        if written.approval is not None and written.approval.required is False:
            self._fault(step, ("approval", "required"), "is false, so this step does nothing; remove the step")
        return ApprovalStep(approval=approval.model_copy(update={"prompt": prompt}))

    def _group(self, step: ReadStep, children: tuple[Step, ...]) -> GroupStep:
        listed = isinstance(step.tree.entries.get("parallel"), Sequence)
        if listed and any(step.has(key) for key in KINDS["steps"]):
            self._fault(step, ("parallel",), "holds steps, and so does 'steps'; keep one list", key=True)
        parallel = step.written.parallel
        over_items = step.has("foreach")
        together = listed or (not over_items and parallel not in (None, False)) or step.written.type == "parallel"
        limit = parallel if together and not over_items and not isinstance(parallel, (bool, list)) else None
        return GroupStep(steps=children, together=together, limit=limit)

    # --- the rest

    def _extra(self, step: ReadStep) -> dict[str, Any]:
        found = {}
        for key, message in _IDLE.items():
            value = getattr(step.written, key)
            if value is not None:
                self._fault(step, (key,), message, key=True, level="warning", rule="not-in-force")
                found[key] = value
        return found

    def _fault(
        self,
        step: ReadStep,
        at: Path,
        message: str,
        *,
        key: bool = False,
        level: str = "error",
        rule: str = "declaration",
    ) -> None:
        node = node_at(step.tree, at)
        place = (node.line, node.column)
        if key and at:
            place = step.tree.keys.get(str(at[0]), place)
        self.faults.append(Fault(node.file, *place, path_text((*step.path, *at)), message, level, rule))


def _provider(name: str) -> str:
    """Other runners also take the name of a provider's module, `provider-anthropic`."""
    return name.removeprefix("provider-")


def _on_error(written: Any) -> OnError:
    return OnError() if written is None else OnError(action=written[0], step=written[1])


def _retry(written: WrittenRetry | None) -> Retry:
    if written is None:
        return Retry()
    attempts = written.max_attempts if written.max_attempts is not None else written.attempts
    delay = written.initial_delay if written.initial_delay is not None else written.delay
    # a retry that does not say how often tries three times
    said: dict[str, Any] = {"max_attempts": attempts if attempts is not None else 3}
    if written.backoff == "none":
        said["initial_delay"] = 0.0
    elif delay is not None:
        said["initial_delay"] = delay
    if written.backoff is not None:
        said["backoff"] = "constant" if written.backoff in ("fixed", "none") else written.backoff
    if written.max_delay is not None:
        said["max_delay"] = written.max_delay
    return Retry(**said)
