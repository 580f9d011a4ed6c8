"""Texts of a recipe filled in with values: `{{name.key}}`, and Jinja2 in prompts; no value is ever read as either."""

from __future__ import annotations

import json
import re
import traceback
from functools import lru_cache
from typing import Any, Final

from jinja2 import Template, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.runtime import Context, Undefined
from jinja2.utils import pass_context

from bundle_loader.declared.recipe_text import as_template, is_template, only_reference, scan
from bundle_loader.delegation.sandbox import BoundedEnvironment, bounded, compiled
from bundle_loader.errors import Place, StepFailed, UnknownVariable, did_you_mean
from bundle_loader.recipes.values import EMPTY, Values, plain, to_text

RENDERING_FAULTS: Final = (
    TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError, MemoryError,
)  # fmt: skip
"""What a template that was compiled may still raise."""

_UNDEFINED: Final = re.compile(r"'(\w+)' is undefined")
_NO_KEY: Final = re.compile(r"'.*' has no attribute '(?P<key>.*)'")


def fill(text: str, values: Values, place: Place = ("", 0, 0)) -> str:
    """The text with a value in place of each `{{name.key}}`. What a value brings with it is never filled in again.

    Braces that begin no reference stay as they are. `place` is where the text begins. Raises UnknownVariable.
    """
    if "{{" not in text:
        return text
    made: list[str] = []
    at = 0
    for reference in scan(text)[0]:
        made.append(text[at : reference.start])
        try:
            made.append(to_text(values.at(reference.path)) if reference.path else reference.text)
        except UnknownVariable as error:
            raise error.placed("", place_within(place, text, reference.start)) from None
        at = reference.end
    made.append(text[at:])
    return "".join(made)


def fill_value(value: Any, values: Values) -> Any:
    """A plain value with its texts filled in; a text that is one reference and nothing else is the value itself."""
    if isinstance(value, str):
        path = only_reference(value)
        return plain(values.at(path)) if path is not None else fill(value, values)
    if isinstance(value, dict):
        return {key: fill_value(item, values) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [fill_value(item, values) for item in value]
    return value


def place_within(place: Place, text: str, offset: int) -> Place:
    """The place of a character of a text that begins at `place`, each of its lines at the same column."""
    file, line, column = place
    before = text.rfind("\n", 0, offset) + 1
    return file, line + text.count("\n", 0, offset) if line else 0, column + offset - before if column else 0


def render_prompt(text: str, values: Values, place: Place) -> str:
    """A prompt with the values of a run: references, or the whole of Jinja2 in its sandbox. `place` is where the text begins.

    Raises StepFailed with file and line for a variable that nobody has set, and for what the sandbox does not do.
    """
    if not is_template(text):
        return fill(text, values, place)
    template = _compiled(text)
    if isinstance(template, TemplateSyntaxError):
        raise StepFailed(f"the template cannot be read: {template.message}", place=_at(place, template.lineno))
    try:
        return bounded(template, values)
    except UndefinedError as error:
        raise StepFailed(unknown(error, values), place=_at(place, line_of(error))) from None
    except RENDERING_FAULTS as error:
        raise StepFailed(f"the template cannot be rendered: {error}", place=_at(place, line_of(error))) from None


def unknown(error: UndefinedError, values: Values) -> str:
    """Which variable is not there, in words."""
    message = error.message or str(error)
    named = _UNDEFINED.fullmatch(message)
    if named is not None:
        return f"nobody has set '{named[1]}'{did_you_mean(named[1], list(values))}"
    key = _NO_KEY.fullmatch(message)
    return f"nothing has the key '{key['key']}' here" if key is not None else message


class RecipeEnvironment(BoundedEnvironment):
    """The sandbox with a recipe's values: `a.b` is the key `b`, and `{{ a }}` prints what `to_text` says."""

    def __init__(self) -> None:
        super().__init__()
        self.keep_trailing_newline = True
        self.policies["json.dumps_function"] = _dumped
        bounding = self.finalize

        @pass_context
        def printed(context: Context, value: Any) -> Any:
            shown = bounding(context, value) if bounding is not None else value
            if value is EMPTY or value is None or isinstance(value, (bool, int, float, dict, list, tuple)):
                return to_text(value)
            return shown

        self.finalize = printed

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key wins over a method of the same name: `route.items` is what the JSON says."""
        if isinstance(obj, dict):
            return _kept(obj[attribute]) if attribute in obj else super().getattr(obj, attribute)
        return EMPTY if obj is EMPTY else super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """As `getattr`; null is EMPTY."""
        return _kept(super().getitem(obj, argument))


def line_of(error: BaseException) -> int:
    """The line of the template on which rendering failed."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return frames[-1].lineno or 1 if frames else 1


def _dumped(value: Any, **options: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, **options)


def _kept(value: Any) -> Any:
    return EMPTY if value is None and not isinstance(value, Undefined) else value


def _at(place: Place, line: int) -> Place:
    return (place[0], place[1] + line - 1, 0) if line > 1 else place


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Template | TemplateSyntaxError:
    return compiled(ENVIRONMENT, as_template(text))


ENVIRONMENT: Final = RecipeEnvironment()
