"""A clean Debian to install the packages into: what debootstrap makes of the
release that this machine runs, with nothing more than apt in it.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.fronts import ROOT
from harness.server import Server

DEB = ROOT / "build/deb"
# A mount namespace of its own: nothing that is mounted here is seen outside.
INTO = """
mount -t proc proc "$0/proc"
mount --bind /dev "$0/dev"
root=$0
exec chroot "$root" "$@"
"""


def release():
    text = Path("/etc/os-release").read_text()
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return fields["VERSION_CODENAME"].strip('"')


def mirror(codename):
    """Where apt has that release from."""
    found = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)", "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
    )
    for line in found.stdout.splitlines():
        site, _, name = line.partition(" ")
        if name == codename:
            return site
    raise AssertionError(f"apt has no source for {codename}: {found.stdout}")


class Root:
    """A folder with a Debian in it."""

    def __init__(self, path):
        self.path = path

    def argv(self, *command):
        """To run a command there, as the process that is started."""
        return ["unshare", "--mount", "sh", "-ec", INTO, str(self.path), *command]

    def run(self, script):
        """Runs lines of shell there; the first that fails ends it."""
        done = subprocess.run(
            self.argv("bash", "-euc", script),
            check=False,
            cwd="/",
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def install(self, *names):
        """Packages: ours by file, those of Debian by name."""
        self.run(f"apt-get install -qq -y --no-install-recommends {' '.join(names)}")


def environment():
    kept = {name: os.environ[name] for name in os.environ if name.lower().endswith("_proxy")}
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    return {**kept, "PATH": path, "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}


@pytest.fixture(scope="session")
def base():
    """The tar of a fresh system; kept, since it takes a minute to make."""
    tar = DEB / "base.tar"
    if not tar.exists():
        folder = DEB / "base"
        shutil.rmtree(folder, ignore_errors=True)
        codename = release()
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", codename, str(folder), mirror(codename)],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        subprocess.run(["tar", "-C", folder, "-cf", f"{tar}.new", "."], check=True)
        shutil.rmtree(folder)
        os.rename(f"{tar}.new", tar)
    return tar


@pytest.fixture
def root(base, tmp_path):
    if os.geteuid() != 0:
        pytest.fail("a clean root is made by root: sudo make test-deb")
    path = tmp_path / "root"
    path.mkdir()
    subprocess.run(["tar", "-C", path, "-xpf", base], check=True)
    (path / "debs").mkdir()
    for deb in DEB.glob("*.deb"):
        shutil.copy(deb, path / "debs")
    root = Root(path)
    root.run("apt-get update -qq")
    yield root
    shutil.rmtree(path)


@pytest.fixture
def launch():
    """Starts servers; what the test left running is ended and judged."""
    started = []

    def start(argv, **how):
        server = Server(argv, **how)
        started.append(server)
        return server

    yield start
    try:
        for server in started:
            if not server.judged:
                server.finish()
    finally:
        for server in started:
            server.kill()
