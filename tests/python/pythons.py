"""The interpreters of this machine that the package is made for.

Of each CPython from 3.9 on the first one that is found: python3.9, python3.10 and so on in
the folders of $PYTHONS, which may also name interpreters themselves (separated by colons or
spaces), on $PATH, and among what the tool pyenv has installed. Free-threaded ones, which do not
load the wheel of the others, are found apart. As a program, prints the paths, with
--free-threaded those of the latter.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ASK = """
import sys, sysconfig
free = sysconfig.get_config_var("Py_GIL_DISABLED") or 0
print(sys.implementation.name, *sys.version_info[:2], free, sys.executable)
"""


def candidates():
    for given in re.split(r"[:\s]+", os.environ.get("PYTHONS", "")):
        path = Path(given)
        if given and path.is_dir():
            yield from sorted(path.glob("python3*"))
            yield from sorted(path.glob("bin/python3*"))
        elif given:
            yield path
    for minor in range(9, 30):
        for name in (f"python3.{minor}", f"python3.{minor}t"):
            found = shutil.which(name)
            if found:
                yield Path(found)
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], check=True, capture_output=True, text=True)
        yield from sorted(Path(root.stdout.strip(), "versions").glob("3.*/bin/python3"))


def pythons(free_threaded=False):
    """Minor version -> path."""
    found = {}
    for path in candidates():
        if not re.fullmatch(r"python(3(\.\d+t?)?)?", path.name):
            continue
        # A launcher may be there for a version that is not.
        done = subprocess.run([path, "-c", ASK], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            continue
        name, major, minor, free, executable = done.stdout.split(maxsplit=4)
        wanted = name == "cpython" and major == "3" and int(minor) >= 9
        if wanted and (free == "1") == free_threaded:
            found.setdefault(int(minor), executable.strip())
    return dict(sorted(found.items()))


if __name__ == "__main__":
    print(*pythons("--free-threaded" in sys.argv).values(), sep="\n")
