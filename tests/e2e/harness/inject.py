"""System calls made to fail: strace's fault injection.

strace runs as the grandchild of the server (-D), so that the server stays a
child of the test; without `follow` the server's children are not traced.
"""

import os
import shutil
import subprocess

import pytest

# Before the command of a server: it starts with signals ignored and blocked.
UNUSUAL = ("env", "--ignore-signal=USR1,HUP", "--block-signal=USR2,WINCH")

# How glibc and the kernel make a process.
FORK = "clone,clone3,fork,vfork"


def strace(faults, *, follow=False, log=os.devnull):
    """The command before the server's. `faults`: strace -e inject= expressions,
    such as "accept4:error=EMFILE:when=1"."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    if not _may_trace():
        pytest.skip("may not trace processes here")
    calls = ",".join(fault.partition(":")[0] for fault in faults)
    command = ["strace", "-D", "-qq", "-o", str(log), "-e", f"trace={calls}"]
    if follow:
        command.append("-f")
    for fault in faults:
        command += ["-e", f"inject={fault}"]
    return command


def _may_trace():
    probe = ["strace", "-qq", "-o", os.devnull, "-e", "trace=none", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0
