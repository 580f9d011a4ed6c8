"""A recipe: stages of steps that agents, shell commands, Python functions and further recipes do, one final form per meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, PrivateAttr

from bundle_loader.declared.preference import Preference
from bundle_loader.declared.recipe_places import TextPlaces
from bundle_loader.declared.written import Final

Number: TypeAlias = int | str
"""A number, or a text with `{{ }}` that comes to one when the recipe runs."""
Seconds: TypeAlias = float | str
"""A length of time in seconds, or a text with `{{ }}` that comes to one."""
VariableType: TypeAlias = Literal["text", "number", "integer", "boolean", "list", "mapping", "any"]

ALWAYS = ("recipe", "session", "step", "stage", "workdir", "date", "_approval_message")
"""Variables that every run has; no output may take their names. `_approval_message` is the note of whoever approved last."""
WITHIN_LOOPS = ("_loop_index", "_loop_iteration")
"""Variables that a loop sets in each round, from 0 and from 1 on; no output may take their names."""


class Variable(Final):
    """A variable that whoever runs the recipe may set."""

    type: VariableType = "any"
    default: Any = None
    """Texts in it may hold `{{ }}`."""
    required: bool = False
    """True: there is no default, and a run without a value is refused."""
    description: str = ""
    choices: tuple[Any, ...] = ()
    """Where there are any, no other value is taken."""


class TierChoice(Final):
    """Stands for the list of a tier of the bundle that runs the recipe."""

    tier: str


class RoleChoice(Final):
    """Stands for the list of a role in the tables of the bundle that runs the recipe; for nothing where none has it."""

    role: str


class AgentStep(Final):
    """Delegates `prompt` to an agent. Its own list, else tier, else role, else the profile's cell of `stage` decides."""

    kind: Literal["agent"] = "agent"
    agent: str
    prompt: str
    mode: str = ""
    profile: str | None = None
    stage: str | None = None
    """What the step is for: planning, implementation, verification, summary, ..."""
    tier: str | None = None
    model_role: tuple[str, ...] = ()
    preferences: tuple[Preference | TierChoice | RoleChoice, ...] = ()


class ShellStep(Final):
    """Runs a command in a shell."""

    kind: Literal["shell"] = "shell"
    command: str
    cwd: str | None = None
    env: dict[str, str] = Field(default_factory=dict)
    exit_code: str | None = None
    """The variable that takes the exit code."""


class PythonStep(Final):
    """Calls `function` of `module` with `args` by name."""

    kind: Literal["python"] = "python"
    module: str
    function: str
    args: dict[str, Any] = Field(default_factory=dict)
    cwd: str | None = None
    env: dict[str, str] = Field(default_factory=dict)


class Recursion(Final):
    """How far recipes may lead to further recipes; None is the runner's own limit."""

    max_depth: int | None = None
    max_total_steps: int | None = None


class RecipeStep(Final):
    """Runs another recipe: a path from this recipe's file, or `bundle:name`; `context` are its variables."""

    kind: Literal["recipe"] = "recipe"
    recipe: str
    context: dict[str, Any] = Field(default_factory=dict)
    recursion: Recursion | None = None


class Approval(Final):
    """Waits for a person's yes. `timeout` 0 waits for ever; after it `default` holds."""

    prompt: str = ""
    timeout: Seconds = 0.0
    default: Literal["approve", "deny"] = "deny"
    when: Literal["before", "after"] = "before"
    """Whether a stage waits before its first step or after its last; a step that only waits is always `before`."""


class ApprovalStep(Final):
    """Waits for a person's yes in the midst of a stage."""

    kind: Literal["approval"] = "approval"
    approval: Approval


class GroupStep(Final):
    """Steps in their order, or all at the same time."""

    kind: Literal["group"] = "group"
    steps: tuple[Step, ...]
    together: bool = False
    limit: Number | None = None
    """How many at a time where they run together; None: all."""


class ForEach(Final):
    """Once for each element. `items` is a list, or a text that is one reference to a list."""

    kind: Literal["foreach"] = "foreach"
    items: str | tuple[Any, ...]
    variable: str = "item"
    collect: str | None = None
    """The variable that takes the outputs, in the order of the elements."""
    together: bool = False
    limit: Number | None = None
    """How many at a time where they run together; None: all."""
    max_iterations: Number | None = None
    """More elements than this are an error; None: the runner's own limit."""
    break_when: str | None = None
    """Looked at after each round, where rounds run one after the other."""
    update: dict[str, Any] = Field(default_factory=dict)
    """Variable -> text that it takes after each round."""


class While(Final):
    """As long as a condition holds, at most `max_iterations` times."""

    kind: Literal["while"] = "while"
    condition: str
    max_iterations: Number
    break_when: str | None = None
    """Looked at after each round."""
    update: dict[str, Any] = Field(default_factory=dict)
    """Variable -> text that it takes after each round."""
    collect: str | None = None


class Retry(Final):
    """How often a step is tried (1: once), and how long is waited before the next try."""

    max_attempts: Number = 1
    backoff: Literal["exponential", "linear", "constant"] = "exponential"
    initial_delay: Seconds = 1.0
    max_delay: Seconds = 60.0


class OnError(Final):
    """What follows when a step has failed for good."""

    action: Literal["stop", "continue", "skip_remaining", "goto"] = "stop"
    """`skip_remaining` ends the recipe there, as a success."""
    step: str | None = None
    """Where `goto` leads: always to a later step."""


Action: TypeAlias = Annotated[
    AgentStep | ShellStep | PythonStep | RecipeStep | ApprovalStep | GroupStep, Field(discriminator="kind")
]
Loop: TypeAlias = Annotated[ForEach | While, Field(discriminator="kind")]


class Step(Final):
    """One step: what is done, whether, how often, and what comes of it. Conditions are read by `parse_condition`."""

    id: str
    action: Action
    description: str = ""
    condition: str | None = None
    """None: always."""
    loop: Loop | None = None
    output: str | None = None
    parse_json: bool = False
    output_schema: dict[str, Any] | None = None
    retry: Retry = Retry()
    timeout: Seconds | None = None
    on_error: OnError = OnError()
    depends_on: tuple[str, ...] = ()
    """Earlier steps. Where one failed, or was not done for want of another, this one is left out."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Keys that are read but that nothing acts on."""


class Stage(Final):
    """Steps that belong together. A recipe without stages has one, without a name."""

    name: str = ""
    description: str = ""
    stage: str | None = None
    """What its steps are for, where they do not say it themselves."""
    profile: str | None = None
    condition: str | None = None
    approval: Approval | None = None
    """Waited for before its first step, or after its last: `when` says which."""
    steps: tuple[Step, ...] = ()


class Recipe(Final):
    """A finished recipe."""

    name: str
    bundle: str = ""
    """The bundle that brought it; empty for a file of its own."""
    description: str = ""
    version: str = ""
    author: str = ""
    created: str = ""
    updated: str = ""
    license: str = ""
    tags: tuple[str, ...] = ()
    variables: dict[str, Variable] = Field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    recursion: Recursion = Recursion()
    extra: dict[str, Any] = Field(default_factory=dict)
    """Keys that are read but that nothing acts on."""
    file: str = ""

    _places: dict[str, tuple[str, int, int]] = PrivateAttr(default_factory=dict)
    _texts: TextPlaces = PrivateAttr(default_factory=TextPlaces)

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, Recipe) else NotImplemented

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all stages, without those in groups."""
        return tuple(step for stage in self.stages for step in stage.steps)

    def walk(self) -> Iterator[Step]:
        """Every step, those in groups after their group."""
        yield from _walk(self.steps)

    def place(self, step: str) -> tuple[str, int, int]:
        """File, line and column of a step."""
        return self._places.get(step, (self.file, 0, 0))

    def text_place(self, step: str, key: str, offset: int = 0) -> tuple[str, int, int]:
        """Where a character of a step's text stands, `key` being `prompt`, `command`, `condition`, ... in any spelling.

        With an empty `step`, a stage's name is its approval, and `NAME.condition` its condition. Where nobody knows it, the place
        of the step.
        """
        return self._texts.place(step, key, offset) or self.place(step)

    def writes(self, step: str, key: str) -> bool:
        """Whether a step was written with a text, or an element of its preferences, under a key."""
        return self._texts.place(step, key, 0) is not None


def _walk(steps: tuple[Step, ...]) -> Iterator[Step]:
    for step in steps:
        yield step
        if isinstance(step.action, GroupStep):
            yield from _walk(step.action.steps)


GroupStep.model_rebuild()
Step.model_rebuild()
