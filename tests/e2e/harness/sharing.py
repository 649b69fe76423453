"""What another process that has a server's sockets can do to them.

O_NONBLOCK and the options of a socket belong to the open file, and not to the
descriptor: who has got a copy, by a fork or by being given one, changes them for
everybody. pidfd_getfd(2) makes such a copy, whoever the server gave its own to.
"""

import ctypes
import os
import re
import socket

from . import procfs

_PIDFD_GETFD = 438
_syscall = ctypes.CDLL(None, use_errno=True).syscall


def copy(pid, fd):
    """A copy of a descriptor of that process."""
    pidfd = os.pidfd_open(pid)
    try:
        got = _syscall(_PIDFD_GETFD, pidfd, fd, 0)
        if got < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return got
    finally:
        os.close(pidfd)


def listeners(pid):
    """Copies of the sockets at which a process listens."""
    found = []
    for fd, target in procfs.fds(pid).items():
        if not re.fullmatch(r"socket:\[\d+\]", target):
            continue
        shared = socket.socket(fileno=copy(pid, fd))
        if shared.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            found.append(shared)
        else:
            shared.close()
    return found
