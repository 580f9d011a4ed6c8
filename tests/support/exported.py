"""Every exception class that an installed package exports, and an instance of each as the package would make it."""

from __future__ import annotations

import inspect
import pkgutil
import typing
import warnings
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

KEY = "sk-very-secret-key"
_NOT_FOR_USERS = frozenset({"tests", "testing", "worker", "pytest_plugin", "test_utils", "cli", "__main__"})


def exported(package: str, *, deep: bool = True) -> dict[str, type[BaseException]]:
    """Name -> class; without `deep` only what the package itself names. A name that two modules share bears its module."""
    found: dict[str, type[BaseException]] = {}
    for module in _modules(package) if deep else [import_module(package)]:
        for name, member in sorted(vars(module).items()):
            if name.startswith("_") or not inspect.isclass(member) or not issubclass(member, BaseException):
                continue
            if member.__module__.split(".")[0] != package.split(".")[0] or member in found.values():
                continue
            found[name if name not in found else f"{module.__name__}.{name}"] = member
    return found


def _modules(package: str) -> list[ModuleType]:
    """The package and all its public modules that can be imported here."""
    first = import_module(package)
    found = [first]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place in getattr(first, "__path__", ()):
            for info in pkgutil.iter_modules([place]):
                if (info.name.startswith("_") and info.name != "_exceptions") or info.name in _NOT_FOR_USERS:
                    continue
                try:
                    found += _modules(f"{package}.{info.name}") if info.ispkg else [import_module(f"{package}.{info.name}")]
                except ImportError:  # what it needs is not installed
                    continue
    return found


def made(cls: type[BaseException], status: int | None = None) -> BaseException:
    """An exception of a class, with the key wherever one could be."""
    import httpx2

    request = httpx2.Request("POST", "http://127.0.0.1/v1/x", headers={"authorization": f"Bearer {KEY}"})
    code = typing.get_args(inspect.get_annotations(cls).get("error_code"))
    body = {"error": {"type": "t", "message": f"words {KEY}", "details": {"error_code": code[0] if code else None}}}
    told = getattr(cls, "status_code", None)
    number = status or (told if isinstance(told, int) else 500)
    response = httpx2.Response(number, request=request)
    info = SimpleNamespace(real_url="http://127.0.0.1/", url="http://127.0.0.1/", method="POST", headers={}, host="h", port=1)
    key = SimpleNamespace(host="127.0.0.1", port=1, ssl=None, is_ssl=False)
    ways: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
        (("m",), {"response": response, "body": body}),
        ((), {"response": response, "body": body}),
        (("m", request), {"body": None}),
        ((), {"request": request}),
        (("m",), {"request": request, "response": response}),
        (("m",), {"request": request}),
        ((), {"completion": SimpleNamespace(usage=None)}),
        (("m",), {"unsent_messages": []}),
        ((number, body), {}),
        ((key, OSError(111, "refused")), {}),
        ((key, ValueError("certificate")), {}),
        ((info, ()), {}),
        ((b"a", b"b", "h", 1), {}),
        ((f"m {KEY}",), {}),
        ((), {}),
        (("m", "n"), {}),
    )
    for arguments, named in ways:
        try:
            error = cls(*arguments, **named)
            str(error)
        except Exception:  # noqa: BLE001 - the next way
            continue
        return error
    return cls.__new__(cls, f"m {KEY}")
