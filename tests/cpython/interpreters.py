"""The interpreters of this machine: which of them have CPython's own tests.

Looked for are each python3.N of PATH, those of $PYTHONS (paths, with colons
between them), those that pyenv has, if it is there, and the one that runs this.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Optional

OLDEST = (3, 9)

ASK = """
import importlib.util, json, platform, sys, sysconfig
try:
    there = importlib.util.find_spec("test.test_socketserver") is not None
except ImportError:
    there = False
json.dump({
    "version": list(sys.version_info[:3]),
    "prefix": sys.base_prefix,
    "cpython": platform.python_implementation() == "CPython",
    "tests": there,
    "free": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
}, sys.stdout)
"""


class Interpreter(NamedTuple):
    path: str
    version: tuple[int, ...]
    prefix: str
    # Why it cannot be used; None: it can.
    lacks: Optional[str]

    def has(self, module: str) -> bool:
        """Whether it has a module of that name."""
        script = f"from importlib.util import find_spec as find; exit(not find({module!r}))"
        asked = subprocess.run([self.path, "-I", "-c", script], check=False, timeout=60)
        return asked.returncode == 0

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.version))}-{Path(self.prefix).parts[1]}"


def candidates() -> list[str]:
    paths = [path for path in os.environ.get("PYTHONS", "").split(os.pathsep) if path]
    missing = [path for path in paths if not os.access(path, os.X_OK)]
    if missing:
        raise ValueError(f"PYTHONS: cannot be run: {', '.join(missing)}")
    for folder in os.get_exec_path():
        if os.path.isdir(folder):
            names = sorted(n for n in os.listdir(folder) if re.fullmatch(r"python3\.\d+t?", n))
            paths += [os.path.join(folder, name) for name in names]
    if shutil.which("pyenv"):
        root = subprocess.check_output(["pyenv", "root"], text=True).strip()
        paths += map(str, sorted(Path(root).glob("versions/*/bin/python3")))
    return [*paths, sys.executable]


def look_at(path: str) -> Optional[Interpreter]:
    """None: not an interpreter, such as a pyenv shim without a version."""
    asked = subprocess.run(
        [path, "-I", "-c", ASK],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    if asked.returncode != 0:
        return None
    answer = json.loads(asked.stdout)
    lacks = None
    if not answer["cpython"] or tuple(answer["version"]) < OLDEST:
        lacks = "not a CPython that is supported"
    elif answer["free"]:
        lacks = "free-threaded: it does not load the module that is tested here"
    elif not answer["tests"]:
        lacks = "it has no test.test_socketserver"
    return Interpreter(path, tuple(answer["version"]), answer["prefix"], lacks)


def find() -> list[Interpreter]:
    """Each once, by version."""
    found: dict[tuple[str, tuple[int, ...]], Interpreter] = {}
    for path in candidates():
        interpreter = look_at(path)
        if interpreter is not None and interpreter.version >= OLDEST:
            found.setdefault((interpreter.prefix, interpreter.version), interpreter)
    return sorted(found.values(), key=lambda i: (i.version, i.prefix))
