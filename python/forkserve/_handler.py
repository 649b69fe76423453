"""What the functions are refused for that a server is given. Imported by the first Server.

A function that cannot do its work is refused at once, and not at the first connection. By
hand: inspect, and what it imports, would make the process larger, and each fork slower.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from functools import partial
    from types import CodeType, FunctionType, MethodType
    from typing import Any
else:

    class _Method:
        def method(self):
            pass

    FunctionType, MethodType = type(_Method.method), type(_Method().method)

# Of CPython's code objects: inspect.CO_VARARGS and those that follow it.
VARARGS, GENERATOR, COROUTINE, ASYNC_GENERATOR = 0x04, 0x20, 0x80, 0x200

LAZY = {
    COROUTINE: "a coroutine function: a child has no loop that would run it; call "
    "asyncio.run() inside a plain function",
    ASYNC_GENERATOR: "an async generator function, whose call runs nothing of it",
    GENERATOR: "a generator function, whose call runs nothing of it; leave out the yield",
}


def check(name: str, function: Any) -> None:
    """Raise TypeError if calling `function` with one argument cannot do anything."""
    shown = getattr(function, "__qualname__", None) or repr(function)
    reason = _request_handler(function) or _reason(function, 1, {})
    if reason is not None:
        raise TypeError(f"{name}: {shown}: {reason}")


def check_name(name: str, text: str) -> None:
    """Raise ValueError unless it is module:function."""
    module, _, function = text.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *function.split(".")]):
        raise ValueError(f"{name}: {text!r} is not 'module:function'")


def resolve(text: str) -> Any:
    """What module:function names; imports the module."""
    module, _, function = text.partition(":")
    __import__(module)
    found: Any = sys.modules[module]
    for part in function.split("."):
        found = getattr(found, part)
    return found


def _request_handler(function: Any) -> str | None:
    """Of socketserver; a program that has such a class has imported that."""
    module = sys.modules.get("socketserver")
    base = getattr(module, "BaseRequestHandler", None)
    if isinstance(base, type) and isinstance(function, type) and issubclass(function, base):
        return (
            "a request handler of socketserver, which is for its servers: use "
            "forkserve.ForkingTCPServer(address, handler)"
        )
    return None


def _reason(function: Any, count: int, keywords: dict[str, Any]) -> str | None:
    """Why a call with `count` arguments, and these by name, is in vain; None: it is not."""
    functools = sys.modules.get("functools")
    if functools is not None and isinstance(function, functools.partial):
        # From CPython 3.14 on there may be gaps, which the first arguments of a call fill.
        gap = getattr(functools, "Placeholder", None)
        made: partial[Any] = function
        given = [argument for argument in made.args if gap is None or argument is not gap]
        return _reason(made.func, len(given) + count, {**made.keywords, **keywords})
    if isinstance(function, MethodType):
        return _reason(function.__func__, count + 1, keywords)
    if isinstance(function, FunctionType):
        return _lazy(function) or _arguments(function, count, keywords)
    if isinstance(function, type):
        # An instance is made, and that is all: __init__ is the handler.
        init: Any = getattr(function, "__init__")  # noqa: B009
        return _reason(init, count + 1, keywords) if isinstance(init, FunctionType) else None
    called = getattr(type(function), "__call__", None)  # noqa: B004
    if isinstance(called, FunctionType) and not _is_mock(function):
        return _reason(called, count + 1, keywords)
    return _lazy(function)


def _is_mock(function: Any) -> bool:
    """Whether it only has the code of what it stands for, as unittest.mock.AsyncMock."""
    return isinstance(
        function, getattr(sys.modules.get("unittest.mock"), "NonCallableMock", ())
    )


def _lazy(function: Any) -> str | None:
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if not isinstance(flags, int):
        return None
    # inspect.markcoroutinefunction() of CPython 3.12, and asyncio's way before.
    marks = ("_is_coroutine_mark", "_is_coroutine")
    if not _is_mock(function) and any(
        mark in getattr(function, "__dict__", ()) for mark in marks
    ):
        flags |= COROUTINE
    return next((reason for flag, reason in LAZY.items() if flags & flag), None)


def _arguments(function: FunctionType, count: int, keywords: dict[str, Any]) -> str | None:
    code: CodeType = function.__code__
    names = code.co_varnames[: code.co_argcount]
    wanted = f"takes {code.co_argcount} positional arguments"
    if count > len(names) and not code.co_flags & VARARGS:
        return f"{wanted}, and is called with {count}"
    # Those that a call must give and does not.
    with_default = len(names) - len(function.__defaults__ or ())
    missing = [name for name in names[count:with_default] if name not in keywords]
    only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    missing += [
        name
        for name in only
        if name not in keywords and name not in (function.__kwdefaults__ or {})
    ]
    if missing:
        return f"called with {count} arguments, it misses {', '.join(missing)}"
    twice = [name for name in names[code.co_posonlyargcount : count] if name in keywords]
    return f"it gets {', '.join(twice)} twice" if twice else None
