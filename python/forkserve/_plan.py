"""What start(fresh=True) hands to the new interpreter. Imported by that call.

Values that marshal knows go by it, and functions by their names: the new interpreter then
needs no pickle, which brings a good many modules along. All else is pickled.
"""

from __future__ import annotations

import marshal
import os
import sys

from . import _handler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FunctionType
    from typing import Any
else:
    FunctionType = _handler.FunctionType

# Beside this file, and run as a program.
PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_fresh.py")


def make(handler: Any, options: dict[str, Any]) -> tuple[list[str], bytes]:
    """The command, and what it is told."""
    plan = {
        "path": [os.fspath(entry) for entry in sys.path],
        "argv": list(sys.argv),
        "bind_now": "LD_BIND_NOW" in os.environ,
        "handler": value("handler", handler),
        "options": {name: value(name, given) for name, given in options.items()},
    }
    return command(), marshal.dumps(plan)


def command() -> list[str]:
    """The interpreter, lean, with what this one was told on its command line."""
    if not sys.executable:
        raise RuntimeError("start(fresh=True): sys.executable names no interpreter")
    words = [sys.executable, "-I", "-S"]
    words += ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    words += ["-B"] if sys.flags.dont_write_bytecode else []
    for option in sys.warnoptions:
        words += ["-W", option]
    options = dict(sys._xoptions)
    if "t" in getattr(sys, "abiflags", ""):
        # Free-threaded: here it is on, since this module is imported.
        options["gil"] = "1"
    for name, given in options.items():
        words += ["-X", name if given is True else f"{name}={given}"]
    return [*words, PROGRAM]


def value(name: str, given: Any) -> tuple[str, Any]:
    """How it is handed over: ("name", ...), ("plain", ...) or ("pickle", ...)."""
    if name == "handler" and isinstance(given, str):
        return "name", given
    if isinstance(given, (FunctionType, type)):
        return "name", name_of(name, given)
    try:
        marshal.dumps(given)
    except ValueError:
        return "pickle", pickled(name, given)
    return "plain", given


def name_of(name: str, function: Any) -> str:
    """module:function, by which another interpreter finds it."""
    module, qualname = function.__module__, function.__qualname__
    found = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found is not function:
        raise ValueError(
            f"{name}: {qualname} cannot be found by another interpreter: define it at the top "
            "level of a module"
        )
    return f"{main_module(name) if module == '__main__' else module}:{qualname}"


def main_module(name: str) -> str:
    """The name by which the program itself can be imported."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)  # python -m
    file = getattr(main, "__file__", None)
    if file is not None:
        from importlib.util import find_spec

        module = os.path.splitext(os.path.basename(file))[0]
        found = find_spec(module) if module.isidentifier() else None
        origin = found.origin if found else None
        if origin and os.path.exists(origin) and os.path.samefile(origin, file):
            return str(module)
    raise ValueError(
        f"{name}: it is defined in the program itself, which another interpreter cannot "
        "import: put it into a module"
    )


def pickled(name: str, given: Any) -> bytes:
    import io
    import pickle

    class Pickler(pickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, (FunctionType, type)) and obj.__module__ == "__main__":
                return _handler.resolve, (name_of(name, obj),)
            return NotImplemented

    ssl = sys.modules.get("ssl")
    if ssl is not None and isinstance(given, ssl.SSLContext):
        raise TypeError(
            f"{name}: an SSLContext cannot be handed to another interpreter: give a function "
            "that makes it"
        )
    file = io.BytesIO()
    try:
        Pickler(file, pickle.HIGHEST_PROTOCOL).dump(given)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
        if str(error).startswith(f"{name}: "):
            raise
        raise TypeError(f"{name}: cannot be handed to another interpreter: {error}") from error
    return file.getvalue()
