"""The process in which a Python step's function is called. It is run by its path and imports nothing of this package."""

import asyncio
import contextlib
import importlib
import inspect
import json
import os
import sys


def _called(asked: dict[str, object]) -> dict[str, object]:
    try:
        module = importlib.import_module(str(asked["module"]))
    except ImportError as error:
        return {"fault": f"cannot be imported: {error}"}
    function: object = module
    for name in str(asked["function"]).split("."):
        if not hasattr(function, name):
            return {"fault": f"is not there: '{asked['module']}' has no '{asked['function']}'"}
        function = getattr(function, name)
    if not callable(function):
        return {"fault": "is no function"}
    value = function(**asked["args"])  # type: ignore[arg-type]
    if inspect.iscoroutine(value):
        value = asyncio.run(value)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        return {"fault": f"returned something that is no plain JSON value: {error}"}
    return {"value": value}


def _main(path: str) -> None:
    with open(path, encoding="ascii") as file:
        asked = json.load(file)
    sys.path.insert(0, os.getcwd())
    with contextlib.redirect_stdout(sys.stderr):
        try:
            answer = _called(asked)
        except Exception as error:  # noqa: BLE001 - whatever the function raises is its result
            answer = {"fault": f"raised {type(error).__name__}: {error}"}
    written = asked["answer"] + ".part"
    with open(written, "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os.replace(written, asked["answer"])


if __name__ == "__main__":
    _main(sys.argv[1])
