"""What ends a step or a run before its time, as the engine hands it on."""

from __future__ import annotations

from typing import Final

from bundle_loader.errors import StepFailed, UnknownVariable, UnsafeValue


class Mistake(StepFailed):
    """What was written or asked for is wrong; to try it again would not mend that."""


class Unanswered(StepFailed):
    """A delegation gave no answer."""


class Denied(StepFailed):
    """Somebody said no."""


LASTING: Final = (Mistake, Denied, UnknownVariable, UnsafeValue)
"""Failures after which a step is not tried again."""


class Waits(Exception):
    """Somebody's yes or no is needed; the run can go on when it is there."""

    def __init__(self, id: str, prompt: str) -> None:
        super().__init__(id)
        self.id = id
        self.prompt = prompt


class EndsHere(Exception):
    """A step failed and says that the rest of its recipe is to be left out: the recipe ends well."""


class Lost(Exception):
    """Another process goes on with the run."""
