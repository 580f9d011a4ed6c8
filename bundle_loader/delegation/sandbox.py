"""Jinja2's sandbox with a bound on what rendering may cost: no template takes the machine's memory or time."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from time import thread_time
from types import BuiltinMethodType, FunctionType
from typing import Any, Final

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import generate_lorem_ipsum, pass_context

MAX_VALUE: Final = 4_000_000
"""Characters and elements of one value of a template, of what it makes and of what it is given."""
MAX_MADE: Final = 16_000_000
"""The same for everything that one rendering makes."""
MAX_SECONDS: Final = 1.0
"""CPU time of one rendering."""
MAX_TAGS: Final = 5_000
"""Tags and expressions of one template."""
_MAX_BITS: Final = 16_000
_WIDTH: Final = re.compile(r"[0-9]{6,}")
_NEVER_LONGER: Final = frozenset({"truncate", "round", "first", "last", "length", "default", "d"})


class _Spent(threading.local):
    """What the rendering that runs in this thread has taken."""

    made = 0
    until = float("inf")


_SPENT: Final = _Spent()


def bounded(template: Template, values: Mapping[str, Any]) -> str:
    """The rendered text. Raises SecurityError, which says what was too much."""
    before = _SPENT.made, _SPENT.until
    _SPENT.made, _SPENT.until = 0, thread_time() + MAX_SECONDS
    try:
        return template.render(values)
    finally:
        _SPENT.made, _SPENT.until = before


def compiled(environment: BoundedEnvironment, text: str) -> Template | TemplateSyntaxError:
    """The template, or what is wrong with it; never another error."""
    if text.count("{{") + text.count("{%") > MAX_TAGS:
        return TemplateSyntaxError(f"more than {MAX_TAGS} tags and expressions in one text", 1)
    try:
        return environment.from_string(text)
    except TemplateSyntaxError as error:
        return error
    except (RecursionError, SyntaxError, MemoryError, ValueError, OverflowError):
        # Python's own limits, met while the template was turned into code
        return TemplateSyntaxError("nested too deep, or a number too long, to be read", 1)


def parsed(environment: BoundedEnvironment, text: str) -> nodes.Template | None:
    """What the template says, before its filters and tests are looked up; None where it cannot be read."""
    if text.count("{{") + text.count("{%") > MAX_TAGS:
        return None
    try:
        return environment.parse(text)
    except (TemplateSyntaxError, RecursionError, SyntaxError, MemoryError, ValueError, OverflowError):
        return None


class _Code(CodeGenerator):
    """Sends what Jinja2 would join by itself through the environment."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox in which every loop, call, filter and operator is counted, and nothing is worked out while compiling."""

    code_generator_class = _Code
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        # a finalizer that takes the context keeps Jinja2 from working out constants before anything is counted
        super().__init__(undefined=StrictUndefined, autoescape=False, optimized=False, finalize=_shown)
        self.filters = {name: _guarded(name, made) for name, made in self.filters.items()}
        self.filters["_counted"] = _counted
        self.globals["lipsum"] = _lipsum
        self.concat = _joined  # type: ignore[method-assign]

    def joined(self, parts: Iterable[Any]) -> str:
        """What `~` makes of its parts."""
        parts = list(parts)
        _take(_weight(parts))
        return "".join(map(str, parts))

    def _generate(self, source: nodes.Template, name: str | None, filename: str | None, defer_init: bool = False) -> str:
        for loop in list(source.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno, environment=self)
        return super()._generate(source, name, filename, defer_init)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """One operator; what it would make is judged first."""
        _take(_made_by(operator, left, right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """One call, of a macro, a method or what the caller passed in."""
        # the sandbox wraps `str.format`
        method = getattr(__obj, "__wrapped__", __obj) if isinstance(__obj, FunctionType) else __obj
        subject = method.__self__ if isinstance(method, BuiltinMethodType) else None
        name = method.__name__ if isinstance(subject, (str, bytes, int, list, dict, tuple)) else ""
        _judge(name, subject if name else None, (*args, *kwargs.values()))
        return super().call(__context, __obj, *args, **kwargs)


def _take(weight: int) -> None:
    if weight > MAX_VALUE:
        raise SecurityError(f"a value of more than {MAX_VALUE} characters or elements")
    _SPENT.made += weight
    if _SPENT.made > MAX_MADE:
        raise SecurityError(f"more than {MAX_MADE} characters or elements in all")
    if thread_time() > _SPENT.until:
        raise SecurityError(f"it takes more than {MAX_SECONDS:g} s")


def _weight(value: Any) -> int:
    """Characters and elements of a value, all that it holds included; it is not counted further than is allowed."""
    total, waiting = 0, [value]
    while waiting and total <= MAX_VALUE:
        item = waiting.pop()
        total += 1
        if isinstance(item, (str, bytes)):
            total += len(item)
        elif isinstance(item, int):
            total += item.bit_length() // 3
        elif isinstance(item, (list, tuple, set, frozenset)):
            waiting.extend(item if total + len(item) <= MAX_VALUE else ())
            total += len(item) if total + len(item) > MAX_VALUE else 0
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
    return total


def _made_by(operator: str, left: Any, right: Any) -> int:
    if isinstance(left, (Undefined, float)) or isinstance(right, (Undefined, float)):
        return 1
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * max(right, 1) if operator == "**" else left.bit_length() + right.bit_length()
        if bits > _MAX_BITS:
            raise SecurityError("a number of more than 4000 digits")
        return 1
    if operator == "*":
        times, repeated = (left, right) if isinstance(left, int) else (right, left)
        return _weight(repeated) * max(times, 0) if isinstance(times, int) else 1
    if operator == "%":
        return _formatted(left, (right,))
    return _weight(left) + _weight(right) if operator == "+" else 1


def _formatted(text: Any, given: tuple[Any, ...]) -> int:
    if isinstance(text, str) and _WIDTH.search(text):
        raise SecurityError("a width of more than 5 digits")
    return _product(text, given)


def _product(subject: Any, given: tuple[Any, ...]) -> int:
    """The most that a filter or method can make of `subject` with these arguments: each character replaced by the longest."""
    flat = [part for item in given for part in (item if isinstance(item, (tuple, list)) else (item,))]
    longest = max((abs(part) if isinstance(part, int) else _weight(part) for part in flat), default=1)
    return _weight(subject) * max(longest, 1) if isinstance(subject, str) else _weight(subject) + longest * _elements(subject)


def _elements(subject: Any) -> int:
    return len(subject) if isinstance(subject, (list, tuple, set, frozenset, dict)) else 1


def _judge(name: str, subject: Any, given: tuple[Any, ...]) -> None:
    if name in ("format", "format_map"):
        _take(_formatted(subject, (*given, *(value for item in given if isinstance(item, dict) for value in item.values()))))
    elif name in _NEVER_LONGER:
        _take(_weight(subject))
    elif name == "join":
        _take(_weight(given) * _weight(subject))
    elif name:
        _take(_product(subject, given))
    else:
        _take(_weight(given))


def _guarded(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose arguments and result are judged; its marks, such as `pass_context`, are kept."""
    first = 1 if getattr(made, "jinja_pass_arg", None) is not None else 0

    @wraps(made)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        given = (*args[first + 1 :], *kwargs.values())
        subject = args[first]
        if isinstance(subject, Iterator):
            subject = list(_counted(subject))
        _judge(name if name not in ("join", "map") else "", subject, given)
        if name == "join":
            _take(_weight(subject) + _elements(subject) * _weight(given))
        result = made(*args[:first], subject, *args[first + 1 :], **kwargs)
        if isinstance(result, Iterator):
            return _counted(result)
        _take(_weight(result) // 4)
        return result

    return guarded


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    """The same items; each is one step of the rendering."""
    for item in items:
        _take(1)
        yield item


@pass_context
def _shown(context: Context, value: Any) -> Any:
    """What `{{ value }}` prints, judged before it is text."""
    if not isinstance(value, (str, Undefined)):
        _take(_weight(value))
    return value


def _joined(parts: Iterable[str]) -> str:
    """The pieces of a rendered text, a macro or a block."""
    kept: list[str] = []
    size = 0
    for part in parts:
        kept.append(part)
        size += len(part)
        if size > MAX_VALUE:
            break
    _take(size)
    return "".join(kept)


def _lipsum(n: int = 5, html: bool = True, min: int = 20, max: int = 100) -> str:
    """Some text of no meaning, of a bounded length."""
    if n * max > 10_000:
        raise SecurityError("more than 10000 words of lipsum")
    return generate_lorem_ipsum(n, html, min, max)
