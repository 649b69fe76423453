"""What the imported packages add to a fork. Imported by fork_cost()."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

# What is looked into; other objects count with their own size.
_CODE = type((lambda: None).__code__)
_FUNCTION = type(lambda: None)
_CONTAINERS = (tuple, list, set, frozenset)
_WRAPPERS = (classmethod, staticmethod)
# As in rust/core/src/cost.rs, in nanoseconds.
_MAPPING, _KIB = 2100, 50


def imports(files: Iterable[tuple[str, int]]) -> list[tuple[str, int, int]]:
    """Package, mappings of its libraries, and KiB of its objects, about; the dearest first."""
    mapped = {os.path.realpath(name): count for name, count in files if name.startswith("/")}
    seen: set[int] = set()
    sizes: dict[str, int] = {}
    mappings: dict[str, int] = {}
    for name, module in list(sys.modules.items()):
        package = name.partition(".")[0]
        names = getattr(module, "__dict__", None)
        if not isinstance(names, dict):
            continue
        size = sum(map(sys.getsizeof, _objects(names, package, seen)))
        sizes[package] = sizes.get(package, 0) + size
        file = names.get("__file__")
        if isinstance(file, str):
            # Once, also where a module is known by two names.
            count = mapped.pop(os.path.realpath(file), 0)
            mappings[package] = mappings.get(package, 0) + count
    found = [(name, mappings.get(name, 0), size // 1024) for name, size in sizes.items()]
    return sorted(found, key=lambda one: (-one[1] * _MAPPING - one[2] * _KIB, one[0]))


def _objects(names: dict[str, Any], package: str, seen: set[int]) -> Iterator[Any]:
    """What belongs to a module's names, and has not been seen with another one."""
    left: list[Any] = [names]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        if isinstance(one, (_FUNCTION, type)):
            # Imported from elsewhere, perhaps: it counts there.
            home = getattr(one, "__module__", None)
            if not isinstance(home, str) or home.partition(".")[0] != package:
                continue
        elif isinstance(one, type(sys)):
            continue
        seen.add(id(one))
        yield one
        # By exact types: a subclass may do anything when it is asked.
        if type(one) is dict:
            left += [*one.keys(), *one.values()]
        elif type(one) in _CONTAINERS:
            left += one
        elif isinstance(one, type):
            left += type.__getattribute__(one, "__dict__").values()
        elif type(one) is _FUNCTION:
            left += [one.__code__, one.__defaults__, one.__kwdefaults__, one.__dict__]
        elif type(one) is _CODE:
            left += [one.co_consts, one.co_names, one.co_varnames, one.co_code]
        elif type(one) is property:
            left += [one.fget, one.fset, one.fdel]
        elif type(one) in _WRAPPERS:
            left.append(one.__func__)
