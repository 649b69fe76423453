"""fork_cost(): figures that agree with what the kernel says.

In programs of their own: the one that runs the tests is large, and has loaded everything.
"""

import pytest

BEGIN = """
import re
def status(name):
    with open("/proc/self/status") as file:
        return int(re.search(rf"^{name}:\\s+(\\d+)", file.read(), re.M).group(1))
cost = forkserve.fork_cost()
"""


@pytest.fixture
def said(start):
    """What a script prints that has measured once."""
    return lambda script: start(BEGIN + script).end()[0].splitlines()


def test_the_figures_are_the_kernels(said):
    script = """
def look():
    with open("/proc/self/maps") as maps:
        return [len(maps.readlines()), status("RssAnon"), status("VmPTE")]
before = look()
cost = forkserve.fork_cost()
say(cost.threads == status("Threads") == 1)
found = [cost.mappings, cost.private_kib, cost.page_tables_kib]
# Looking takes some memory itself.
for least, here, most, slack in zip(before, found, look(), (2, 512, 16)):
    say(least - slack <= here <= most + slack or (least, here, most))
say(0.00002 < cost.fork < 1)
"""
    assert said(script) == ["True"] * 5


def test_threads_are_counted(said):
    script = """
import threading
release = threading.Event()
thread = threading.Thread(target=release.wait)
thread.start()
say(forkserve.fork_cost().threads)
release.set()
"""
    assert said(script) == ["2"]


def test_memory_makes_it_dearer_and_comes_first(said):
    script = """
# The fastest of some: other programs are busy as well.
before = min(forkserve.fork_cost().fork for _ in range(3))
ballast = b"x" * (128 << 20)
after = [forkserve.fork_cost() for _ in range(3)]
say(after[0].parts[0].name, after[0].private_kib - cost.private_kib > 120 << 10)
say(min(one.fork for one in after) > 2 * before)
"""
    assert said(script) == ["[anonymous] True", "True"]


def test_what_contributes_is_named(said):
    script = """
import threading
cost = forkserve.fork_cost()
say(sum(part.mappings for part in cost.parts) == cost.mappings)
say(sum("_forkserve" in part.name for part in cost.parts))
imports = {part.name: part for part in cost.imports}
say(imports["forkserve"].mappings > 0)
# Much of Python, and no library of its own.
say(imports["threading"].private_kib > 20, imports["threading"].mappings)
say(str(cost).startswith("fork and exit "), "_forkserve" in str(cost), "threading" in str(cost))
say(repr(cost).startswith("<forkserve.ForkCost: fork=0.0"))
"""
    wanted = ["True", "1", "True", "True 0", "True True True", "True"]
    assert said(script) == wanted


def test_an_import_is_found_by_its_size(said, tmp_path):
    (tmp_path / "large.py").write_text("table = {n: str(n) * 10 for n in range(100_000)}")
    script = f"""
sys.path.insert(0, {str(tmp_path)!r})
import large
first = forkserve.fork_cost().imports[0]
say(first.name, first.private_kib > 10_000)
"""
    assert said(script) == ["large True"]


def test_the_program_does_not_see_the_children(said):
    script = """
signal.signal(signal.SIGCHLD, lambda *_: say("SIGCHLD"))
os.register_at_fork(after_in_child=lambda: say("child"), before=lambda: say("before"))
forkserve.fork_cost()
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    say("none")
"""
    assert said(script) == ["none"]


def test_the_error_names_the_call(said):
    script = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    forkserve.fork_cost()
except forkserve.Error as error:
    say(error.errno, error.strerror)
"""
    assert said(script) == ["24 open /proc/self/smaps: Too many open files"]
