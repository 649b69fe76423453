"""The Debian packages of `make deb`: what they contain, what lintian says, and
that a clean Debian can use them, and lose them again.
"""

import re
import subprocess

import pytest

from conftest import DEB, environment
from harness.client import echo_once
from harness.fronts import ROOT

PACKAGING = ROOT / "rust/capi/debian"
VERSION = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
MAJOR = VERSION.split(".")[0]
LIBRARY, DEV, PYTHON = f"libforkserve{MAJOR}", "libforkserve-dev", "python3-forkserve"
COMMAND = "forkserve"
XINETD = """
service hello
{
    type        = UNLISTED
    port        = 0
    bind        = 127.0.0.1
    socket_type = stream
    wait        = no
    user        = nobody
    server      = /usr/bin/id
    server_args = -u
}
"""


def deb(package):
    (path,) = DEB.glob(f"{package}_{VERSION}-*.deb")
    return path


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def contents(package):
    """Its files and links, as they are installed."""
    lines = output("dpkg-deb", "--contents", str(deb(package))).splitlines()
    names = [re.split(r"\s+", line, maxsplit=5)[5] for line in lines if line[0] != "d"]
    return {name.partition(" -> ")[0].lstrip(".") for name in names}


def readme_program():
    page = (ROOT / "README.md").read_text()
    return re.search(r"^```c\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]


def test_lintian_has_nothing_to_say():
    (changes,) = DEB.glob("*.changes")
    command = ["lintian", "--allow-root", "--display-info", "--tag-display-limit", "0", changes]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr


def test_what_lintian_does_not_say_has_a_reason():
    files = sorted(PACKAGING.glob("*.lintian-overrides"))
    assert files
    for file in files:
        lines = ["", *file.read_text().splitlines()]
        for before, line in zip(lines, lines[1:]):
            assert line.startswith("#") or before.startswith("#"), (file.name, line)


def test_the_library_is_named_by_its_soname():
    files = contents(LIBRARY)
    (library,) = [f for f in files if f.endswith(f"/libforkserve.so.{VERSION}")]
    assert library.replace(VERSION, MAJOR) in files
    unpacked = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", deb(LIBRARY)], check=True, capture_output=True
    )
    so = subprocess.run(
        ["tar", "-xO", f".{library}"], check=True, input=unpacked.stdout, capture_output=True
    )
    assert f"libforkserve.so.{MAJOR}\0".encode() in so.stdout


def test_what_is_needed_to_compile_is_in_the_dev_package_only():
    triplet = output("dpkg-architecture", "-qDEB_HOST_MULTIARCH").strip()
    needed = {
        "/usr/include/forkserve.h",
        f"/usr/lib/{triplet}/libforkserve.a",
        f"/usr/lib/{triplet}/libforkserve.so",
        f"/usr/lib/{triplet}/pkgconfig/forkserve.pc",
        "/usr/share/man/man7/forkserve.7.gz",
        "/usr/share/doc/libforkserve-dev/examples/echo.c",
        "/usr/share/doc/libforkserve-dev/examples/cmake/CMakeLists.txt",
        "/usr/share/doc/libforkserve-dev/examples/from-the-notes/step5.c",
    }
    assert needed <= contents(DEV)
    # The manual of every function, by its name.
    for symbol in (ROOT / "tests/abi/symbols.txt").read_text().split():
        assert f"/usr/share/man/man3/{symbol}.3.gz" in contents(DEV)
    for package in (LIBRARY, PYTHON):
        assert not needed & contents(package)
    depends = output("dpkg-deb", "-f", str(deb(DEV)), "Depends")
    assert f"{LIBRARY} (= {VERSION}-1)" in depends


def test_programs_are_compiled_and_serve_in_a_clean_root(root, launch):
    root.install(f"/debs/{deb(LIBRARY).name}")
    assert f"libforkserve.so.{MAJOR}" in root.run("ldconfig -p")
    root.install(f"/debs/{deb(DEV).name}", "gcc", "make", "pkgconf")
    (root.path / "root/echo.c").write_text(readme_program())
    root.run("""
        cd /root
        cc -Wall -Werror -o echo echo.c $(pkg-config --cflags --libs forkserve)
        libs=$(pkg-config --cflags --static --libs forkserve)
        cc -Wall -Werror -o static echo.c ${libs/-lforkserve/-l:libforkserve.a}
        make -C /usr/share/doc/libforkserve-dev/examples OUT=/root/examples
    """)
    assert "/libforkserve.so" in root.run("ldd /root/echo")
    assert "/libforkserve.so" not in root.run("ldd /root/static")
    for argv in (
        ["/root/echo", "127.0.0.1:0"],
        ["/root/static", "127.0.0.1:0"],
        ["/root/examples/echo", "127.0.0.1", "0"],
    ):
        server = launch(root.argv(*argv), env=environment()).wait_ready()
        echo_once(server.address)
        server.finish()
    # No manual page leads nowhere.
    assert root.run("find /usr/share/man -name '*forkserve*' -xtype l") == ""
    # The header, the library and pkg-config agree.
    assert root.run("pkg-config --modversion forkserve").strip() == VERSION


def test_the_python_module_serves_in_a_clean_root(root, launch):
    root.install(f"/debs/{deb(PYTHON).name}")
    assert (
        root.run("dpkg-query -W -f '${Package}\\n' 'libforkserve*' 2> /dev/null || true") == ""
    )
    argv = root.argv("python3", "-m", "forkserve", "127.0.0.1:0")
    server = launch(argv, env=environment()).wait_ready()
    echo_once(server.address)
    server.finish()
    version = root.run(
        "python3 -c 'import importlib.metadata as m; print(m.version(\"forkserve\"))'"
    )
    assert version.strip() == VERSION


@pytest.mark.parametrize("package", [LIBRARY, PYTHON, COMMAND])
def test_nothing_is_left_after_a_purge(root, package):
    # Python's own module of nearly that name does not count.
    others = "/proc /debs /usr/lib/python3.*/multiprocessing"
    prune = " ".join(f"-path '{path}' -prune -o" for path in others.split())
    listing = f"find / -xdev {prune} -name '*forkserve*' -print"
    assert root.run(listing) == ""
    root.install(*(f"/debs/{deb(name).name}" for name in {package, LIBRARY}))
    assert package in root.run(listing)
    root.run(f"apt-get purge -qq -y {LIBRARY} {package}")
    assert root.run(listing) == ""


def test_the_command_serves_programs_in_a_clean_root(root):
    root.install(f"/debs/{deb(COMMAND).name}")
    (root.path / "root/xinetd.conf").write_text(XINETD)
    shown = root.run("forkserve serve --check --xinetd /root/xinetd.conf")
    assert shown.startswith("hello: forkserve serve --at-capacity refuse ")
    said = root.run("""
        forkserve serve --xinetd /root/xinetd.conf 2> /root/log &
        until grep -q ^listening /root/log; do sleep 0.1; done
        exec 3<> "/dev/tcp/127.0.0.1/$(grep -o '[0-9]*$' /root/log | head -n 1)"
        cat <&3
        kill $!
        wait $!
    """)
    assert said == "65534\n"
    done = root.run("forkserve serve 127.0.0.1:0 -- no-such-program 2>&1 || echo $?")
    assert done == "forkserve: execute no-such-program: No such file or directory\n111\n"


def test_the_command_looks_into_a_process_of_a_clean_root(root):
    assert "/usr/share/man/man1/forkserve-doctor.1.gz" in contents(COMMAND)
    root.install(f"/debs/{deb(COMMAND).name}")
    assert root.run("forkserve --version").split() == ["forkserve", VERSION]
    for name in "tcpserver", "tcpsvd":
        assert root.run(f"/usr/lib/forkserve/bin/{name} --version").split()[0] == name
    assert "Nothing found." in root.run("forkserve doctor $$")
