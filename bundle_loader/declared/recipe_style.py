"""What is legal in a recipe and probably not meant, or could be said better."""

from __future__ import annotations

import re
from typing import Final

from bundle_loader.declared.recipe_read import Path, RecipeReading, all_steps
from bundle_loader.declared.recipe_scope import node_at
from bundle_loader.declared.tree import Mapping, path_text
from bundle_loader.errors import Fault

RULE: Final = "recipe-style"
_VERSION: Final = re.compile(r"\d+(\.\d+){0,2}([-+][0-9A-Za-z.+-]+)?")
_SNAKE: Final = re.compile(r"[a-z_][a-z0-9_]*")
_GENERIC: Final = re.compile(r"(step|task|stage|action)[-_]?\d*", re.IGNORECASE)
_SHORT_DESCRIPTION: Final = 15
_SHORT_PROMPT: Final = 12


def style_faults(reading: RecipeReading) -> list[Fault]:
    """Warnings and notes, and the errors of the recipe's own fields."""
    return _Style(reading).faults


class _Style:
    def __init__(self, reading: RecipeReading) -> None:
        self.reading = reading
        self.faults: list[Fault] = []
        self._identity()
        self._variables()
        self._steps()
        self._agents()

    def _identity(self) -> None:
        written, tree = self.reading.written, self.reading.tree
        if written.name and "_" in written.name:
            better = written.name.replace("_", "-")
            self._say(tree, (), ("name",), f"is usually written with hyphens; write '{better}'")
        if written.description is None and "description" not in tree.entries:
            self._say(tree, (), ("description",), "is missing; say in a sentence what the recipe does")
        elif written.description is not None and not written.description.strip():
            self._say(tree, (), ("description",), "is empty; say in a sentence what the recipe does", "error")
        elif written.description is not None and len(written.description.strip()) < _SHORT_DESCRIPTION:
            self._say(tree, (), ("description",), "is very short; say in a sentence what the recipe does")
        if written.version is not None and not _VERSION.fullmatch(written.version):
            self._say(tree, (), ("version",), f"'{written.version[:40]}' is not a version; write one such as 1.0.0", "error")
        elif written.version == "0.0.0":
            self._say(tree, (), ("version",), "'0.0.0' is a placeholder; write the version, such as 0.1.0")
        if not written.tags and "tags" not in tree.entries:
            self._say(tree, (), ("tags",), "are missing; a word or two help to find the recipe", "note")

    def _variables(self) -> None:
        for name in self.reading.written.context or {}:
            if not _SNAKE.fullmatch(name) and re.fullmatch(r"[A-Za-z_]\w*", name):
                better = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
                self._say(self.reading.tree, (), ("context", name), f"variables are usually snake_case; write '{better}'")

    def _steps(self) -> None:
        lists = [[step for stage in self.reading.stages for step in stage.steps], *self.reading.strays]
        for step in (found for some in lists for found in all_steps(some)):
            if _GENERIC.fullmatch(step.id):
                self._say(step.tree, step.path, ("id",), f"'{step.id}' says nothing; name what the step does")
            prompt = step.written.prompt or step.written.instruction
            if step.has("agent") and prompt and len(prompt.strip()) < _SHORT_PROMPT and "{{" not in prompt:
                key = "prompt" if step.written.prompt else "instruction"
                self._say(step.tree, step.path, (key,), "is very short; say what the agent is to do and to give back")
        last = lists[0][-1] if lists[0] else None
        if last is not None and last.written.on_error == ("continue", None) and len(lists[0]) > 1:
            message = "the last step hides its failure: the recipe then ends well without its result"
            self._say(last.tree, last.path, ("on_error",), message, "note")

    def _agents(self) -> None:
        """Alone, a recipe file cannot tell whose agent a bare name means; within a bundle it is looked up."""
        for stage in [*[stage.steps for stage in self.reading.stages], *self.reading.strays]:
            for step in all_steps(stage):
                agent = step.written.agent
                plain = agent and ":" not in agent and "{{" not in agent and agent != "self"
                if plain and agent not in (self.reading.written.agents or {}):
                    message = f"'{agent}' names no bundle: it is whichever agent of that name the running bundle has"
                    self._say(
                        step.tree, step.path, ("agent",), f"{message}; write 'bundle:{agent}' to be sure", "note", "bare-agent"
                    )

    def _say(self, tree: Mapping, path: Path, at: Path, message: str, level: str = "warning", rule: str | None = None) -> None:
        node = node_at(tree, at)
        line, column = (node.line, node.column) if node is not tree else (1, 1)
        if len(at) == 2 and at[0] == "context":
            context = tree.entries["context"]
            line, column = context.keys[str(at[1])] if isinstance(context, Mapping) else (line, column)
        rule = rule or ("declaration" if level == "error" else RULE)
        self.faults.append(Fault(self.reading.file, line, column, path_text((*path, *at)), message, level, rule))
