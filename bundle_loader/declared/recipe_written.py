"""A recipe as written: every key that a recipe, a stage and a step may have, with all spellings that are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from bundle_loader.declared.preference import WrittenPreference
from bundle_loader.declared.tree import FALSE_WORDS, TRUE_WORDS, core, says_true
from bundle_loader.declared.written import CoreMap, Format, Texts, Written, seconds
from bundle_loader.errors import did_you_mean

ON_ERROR: Final = {
    "stop": "stop",
    "fail": "stop",
    "continue": "continue",
    "skip_remaining": "skip_remaining",
    "skip-remaining": "skip_remaining",
}
"""What may be written -> the final word."""
_YES_OR_NO: Final = (TRUE_WORDS | FALSE_WORDS) - {"0", "1"}
"""Words for yes and no where a number says how many."""


def _quantity(what: str, least: float, *, whole: bool = True, time: bool = False) -> Callable[[Any], Any]:
    """A reader of a number that may also be written as a text with `{{ }}`, to be filled in when the recipe runs."""

    def read(value: Any) -> Any:
        if isinstance(value, str) and "{{" in value:
            return str(value)
        try:
            number = seconds(value) if time else float(value)
        except (TypeError, ValueError):
            number = None
        if isinstance(value, bool) or not isinstance(number, (int, float)) or not least <= number < 1e9:
            raise ValueError(f"write {what}, or a variable such as {{{{name}}}}")
        if whole and number != int(number):
            raise ValueError(f"write {what}, or a variable such as {{{{name}}}}")
        return int(number) if whole else number

    return read


_NUMBER = WithJsonSchema({"type": ["integer", "string"]})
_TIME = WithJsonSchema({"type": ["number", "string"], "description": "120s, 2m, 500ms, 1h, seconds, or {{name}}"})
Count = Annotated[int | str, BeforeValidator(_quantity("a whole number from 1 on", 1)), _NUMBER]
Seconds = Annotated[
    float | str, BeforeValidator(_quantity("a length of time such as 120s or 2m", 0.001, whole=False, time=True)), _TIME
]
Delay = Annotated[float | str, BeforeValidator(_quantity("a length of time such as 5s, or 0", 0, whole=False, time=True)), _TIME]


def _foreach(value: Any) -> Any:
    if isinstance(value, (str, list)):
        return core(value) if isinstance(value, list) else str(value)
    raise ValueError('write a list, or a variable that holds one, such as "{{files}}"')


def _parallel(value: Any) -> Any:
    """True, false, how many at a time, or the steps of a group."""
    if isinstance(value, (bool, list)) or value is None:
        return value
    if isinstance(value, str) and value.lower() in _YES_OR_NO:
        return says_true(value)
    return _quantity("true, how many at a time, or a list of steps", 1)(value)


def _approval(value: Any) -> Any:
    """`true` and a text are short for a mapping."""
    if isinstance(value, str) and value.lower() in _YES_OR_NO:
        return {"required": value}
    return {"prompt": value} if isinstance(value, str) else value


def _retry(value: Any) -> Any:
    """A number is short for `max_attempts`."""
    return {"max_attempts": value} if isinstance(value, (str, int)) else value


def _on_error(value: Any) -> Any:
    """One of the words, or the step that `goto` leads to, written as a text or as a mapping."""
    if isinstance(value, dict) and list(value) == ["goto"] and isinstance(value["goto"], str):
        return ("goto", str(value["goto"]).strip())
    if isinstance(value, str):
        word, colon, step = value.partition(":")
        if colon and word.strip() == "goto" and step.strip():
            return ("goto", step.strip())
        if value in ON_ERROR:
            return (ON_ERROR[value], None)
        raise ValueError(f"{value!r} is not one of {', '.join(ON_ERROR)} and 'goto: step'{did_you_mean(value, list(ON_ERROR))}")
    raise ValueError(f"write one of {', '.join(ON_ERROR)}, or 'goto: step'")


class WrittenStepPreference(WrittenPreference):
    """An element of a step's list: also `{role: name}` (`class` says the same), or a provider alone, for any model of it."""

    role: str | None = None
    class_: str | None = Field(default=None, alias="class")

    @model_validator(mode="after")
    def _is_whole(self) -> WrittenStepPreference:
        roles = [role for role in (self.role, self.class_) if role is not None]
        pair = bool(self.provider or self.model or self.config)
        if len(roles) + (self.tier is not None) + pair + self.base > 1:
            raise ValueError("an element is one thing: a role, a tier, or a provider and a model")
        if any(not role.strip() for role in roles):
            raise ValueError("is empty; name a role")
        if not roles and self.tier is None and not self.base and not self.provider:
            raise ValueError("provider missing; write {provider: anthropic, model: claude-haiku-*}, {role: name} or {tier: name}")
        return self


class WrittenRetry(Written):
    """How often a step is tried, and how long is waited in between."""

    max_attempts: Count | None = None
    attempts: Count | None = None
    backoff: Literal["exponential", "linear", "constant", "fixed", "none"] | None = None
    initial_delay: Delay | None = None
    delay: Delay | None = None
    max_delay: Delay | None = None


class WrittenApproval(Written):
    """A person's yes that is waited for."""

    required: bool | None = None
    prompt: str | None = None
    message: str | None = None
    timeout: Delay | None = None
    default: Literal["approve", "deny"] | None = None
    when: Literal["before_stage", "after_stage", "before", "after"] | None = None


class WrittenRecursion(Written):
    """How far recipes may lead to further recipes."""

    max_depth: Annotated[int, Field(ge=1, le=100)] | None = None
    max_total_steps: Annotated[int, Field(ge=1, le=100_000)] | None = None


Approval = Annotated[WrittenApproval, BeforeValidator(_approval)]
Retry = Annotated[WrittenRetry, BeforeValidator(_retry)]
OnError = Annotated[Any, BeforeValidator(_on_error), WithJsonSchema({"type": ["string", "object"]})]
Foreach = Annotated[Any, BeforeValidator(_foreach), WithJsonSchema({"type": ["string", "array"]})]
Parallel = Annotated[Any, BeforeValidator(_parallel), WithJsonSchema({"type": ["boolean", "integer", "string"]})]
StepType = Literal[
    "agent", "bash", "shell", "command", "python", "function", "recipe", "sub-recipe", "approval", "wait", "group", "parallel"
]


class WrittenStep(Written):
    """Every key that a step may have; which of them go together is checked when the recipe is finished."""

    id: str | None = None
    name: str | None = None
    description: str | None = None
    type: StepType | None = None
    # an agent
    agent: str | None = None
    prompt: str | None = None
    instruction: str | None = None
    message: str | None = None
    mode: str | None = None
    profile: str | None = None
    stage: str | None = None
    tier: str | None = None
    model_role: Texts | None = None
    role: Texts | None = None
    provider_preferences: list[WrittenStepPreference] | None = None
    provider: str | None = None
    model: str | None = None
    agent_config: CoreMap | None = None
    spawn_mode: str | None = None
    # a shell command, a Python function
    bash: str | None = None
    command: str | None = None
    shell: str | None = None
    python: str | None = None
    args: CoreMap | None = None
    cwd: str | None = None
    env: dict[str, str] | None = None
    output_exit_code: str | None = None
    # another recipe, an approval, a group
    recipe: str | None = None
    context: CoreMap | None = None
    step_context: CoreMap | None = None
    approval: Approval | None = None
    steps: list[WrittenStep] | None = None
    while_steps: list[WrittenStep] | None = None
    # whether, how often
    condition: str | None = None
    when: str | None = None
    foreach: Foreach = None
    as_: str | None = Field(default=None, alias="as")
    as_var: str | None = None
    collect: str | None = None
    parallel: Parallel = None
    max_iterations: Count | None = None
    while_: str | None = Field(default=None, alias="while")
    while_condition: str | None = None
    max_while_iterations: Count | None = None
    checkpoint_iterations: bool | None = None
    break_when: str | None = None
    update_context: CoreMap | None = None
    # what comes of it
    output: str | None = None
    parse_json: bool | None = None
    output_schema: CoreMap | None = None
    retry: Retry | None = None
    timeout: Seconds | None = None
    on_error: OnError | None = None
    depends_on: Texts | None = None
    recursion: WrittenRecursion | None = None


class WrittenDependency(Written):
    """A bundle that a recipe's agents come from, in the runner that fetches it."""

    source: str | None = None
    kind: Literal["bundle", "behavior"] | None = None
    required_agents: Texts | None = None


class WrittenStage(Written):
    """Steps that belong together, and the approval that is waited for before or after them."""

    name: str | None = None
    description: str | None = None
    stage: str | None = None
    profile: str | None = None
    condition: str | None = None
    approval: Approval | None = None
    approval_required: bool | None = None
    approval_message: str | None = None
    auto_approve_if: Any = None
    steps: list[WrittenStep] | None = None


class WrittenRecipe(Written):
    """Every key that a recipe file may have."""

    format: Format | None = None
    schema_version: Annotated[int, Field(ge=1, le=2)] | None = None
    name: str | None = None
    description: str | None = None
    version: str | None = None
    author: str | None = None
    created: str | None = None
    updated: str | None = None
    license: str | None = None
    tags: Texts | None = None
    context: CoreMap | None = None
    steps: list[WrittenStep] | None = None
    stages: list[WrittenStage] | None = None
    recursion: WrittenRecursion | None = None
    agents: dict[str, str] | None = None
    dependencies: list[WrittenDependency] | None = None
    capabilities: Texts | None = None
    rate_limiting: CoreMap | None = None
    orchestrator: CoreMap | None = None


def keys_of(model: type[Written]) -> list[str]:
    """The keys of a mapping, as they are written."""
    return [field.alias or name for name, field in model.model_fields.items()]
