"""What the kernel says about a process, in /proc and by sock_diag.

Every function answers for one moment. A scenario that waits for something
polls with `wait_until`, which has a deadline; nothing here sleeps blindly.
"""

import os
import re
import signal
import time
from collections import Counter
from pathlib import Path

from .sockets import LISTEN, tcp_sockets

DEADLINE = 20.0


def wait_until(condition, what, deadline=DEADLINE):
    """Polls until `condition()` is true and answers its value."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            what = what() if callable(what) else what
            raise AssertionError(f"not within {deadline} s: {what}")
        time.sleep(0.002)


def _stat(pid):
    """The fields of /proc/PID/stat from the state on; None if it is no more."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def state(pid):
    """R, S, Z and so on; None if there is no such process."""
    fields = _stat(pid)
    return fields and fields[0]


# epoll_wait, epoll_pwait, epoll_pwait2, poll, ppoll by number.
_WAITS = {"x86_64": {232, 281, 441, 7, 271}, "aarch64": {22, 441, 73}}
# A poll with a time limit goes on as this call after a stop: the kernel's way to wait for
# the rest of the time only. (epoll_wait is interrupted, and called again by the program.)
_RESTART = {"x86_64": 219, "aarch64": 128}


def waits_for_events(pid):
    """Whether it is blocked in a call that waits for descriptors."""
    machine = os.uname().machine
    try:
        number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
        if number == str(_RESTART[machine]):
            # Of a sleep or of a lock, too.
            return "poll" in Path(f"/proc/{pid}/wchan").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # It has ended, or is about to.
    return number.isdecimal() and int(number) in _WAITS[machine]


def parent(pid):
    fields = _stat(pid)
    return fields and int(fields[1])


def cpu_seconds(pid):
    """Processor time of the process itself, without its children."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid):
    """The children of all threads of a process, zombies included."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return sorted(found)


def stop(pid):
    """Nothing runs in it until `go_on`."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state(pid) == "T", "a stopped process")


def go_on(pid):
    os.kill(pid, signal.SIGCONT)


def all_gone(pids):
    """Whether these have ended, reaped or not."""
    return all(state(pid) in (None, "Z") for pid in pids)


def zombies(pid):
    return [child for child in children(pid) if state(child) == "Z"]


def fds(pid):
    """Number and target of each open descriptor."""
    found = {}
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            found[int(entry.name)] = os.readlink(entry.path)
        except FileNotFoundError:
            continue  # Closed meanwhile.
    return found


def is_pidfd(target):
    return target.startswith("pidfd:") or target == "anon_inode:[pidfd]"


def with_connection(pids):
    """Those of these processes that hold a connection."""
    tcp, unix = {s.inode: s for s in tcp_sockets()}, _unix_sockets()
    found = []
    for pid in pids:
        try:
            targets = fds(pid).values()
        except FileNotFoundError:
            continue  # Ended meanwhile.
        if any(_kind(target, tcp, unix) == "connection" for target in targets):
            found.append(pid)
    return found


def switches(pid):
    """How often it has gone to sleep by itself: once for each time it woke up."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[1])


def rss_kib(pid):
    """The memory that a process has in use."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+)", text, re.MULTILINE)[1])


def _unix_sockets():
    """Inode to (listens, path)."""
    # A socket of anybody's may be bound to a name of any bytes, newlines too.
    text = Path("/proc/net/unix").read_text(errors="replace")
    rows = re.finditer(
        r"^[0-9a-f]{8,16}: [0-9A-F]{8} [0-9A-F]{8} ([0-9A-F]{8}) \d{4} \d\d +(\d+)(?: (\S*))?",
        text,
        re.MULTILINE | re.IGNORECASE,
    )
    return {
        int(inode): (int(flags, 16) & 0x10000 != 0, path or "")
        for flags, inode, path in (row.groups() for row in rows)
    }


def listening_ports(pid):
    """The TCP ports at which a process holds a listening socket."""
    listeners = {s.inode: s.local_port for s in tcp_sockets(LISTEN)}
    try:
        targets = fds(pid).values()
    except FileNotFoundError:
        return []
    inodes = [int(m[1]) for t in targets if (m := re.fullmatch(r"socket:\[(\d+)\]", t))]
    return [listeners[inode] for inode in inodes if inode in listeners]


def kinds(pid):
    """What the descriptors above 2 are, as a Counter of kinds."""
    tcp = {s.inode: s for s in tcp_sockets()}
    unix = _unix_sockets()
    found = Counter()
    for fd, target in fds(pid).items():
        if fd > 2:
            found[_kind(target, tcp, unix)] += 1
    return found


def _kind(target, tcp, unix):
    if match := re.fullmatch(r"socket:\[(\d+)\]", target):
        inode = int(match[1])
        if inode in tcp:
            return "listener" if tcp[inode].state == LISTEN else "connection"
        if inode in unix:
            listens, path = unix[inode]
            return "listener" if listens else "connection" if path else "unnamed unix socket"
        return "other socket"
    if target == "/memfd:forkserve (deleted)":
        return "scoreboard"
    if match := re.fullmatch(r"anon_inode:\[(\w+)\]", target):
        return match[1]
    if target.startswith("pipe:"):
        return "pipe"
    return "pidfd" if is_pidfd(target) else target


def executing(command):
    """The processes that execute this command: a program and its words."""
    wanted = "\0".join([*command.split(), ""]).encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes() == wanted:
                found.append(int(folder.name))
        except OSError:
            pass  # It has just ended.
    return found
