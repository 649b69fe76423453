"""Does to what a child shares with others what its handler could do, with the very
descriptors of that child, which pidfd_getfd(2) copies:

    python meddle.py PID ATTACK

It does so in a process of its own, which has the descriptors under their numbers (an
epoll knows its members by them), and is gone afterwards.
"""

import array
import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import procfs, sharing

FULL = 2**64 - 2
# As long as a note.
NOTE = 26 * 8


class Shared:
    """Copies of a child's descriptors, by what they are."""

    def __init__(self, pid):
        self.epolls, self.eventfds, self.listeners, self.notes, self.leave = [], [], [], [], []
        copies = {}
        for fd, target in procfs.fds(pid).items():
            if fd > 2 and target.startswith(("socket:", "anon_inode:[event")):
                copy = sharing.copy(pid, fd)
                # Above all numbers of the child's.
                copies[fd, target] = os.dup2(copy, 500 + fd)
                os.close(copy)
        for (fd, target), copy in copies.items():
            os.dup2(copy, fd)
            os.close(copy)
            self._sort(fd, target)

    def _sort(self, fd, target):
        if target == "anon_inode:[eventpoll]":
            self.epolls.append(select.epoll.fromfd(fd))
        elif target == "anon_inode:[eventfd]":
            self.eventfds.append(fd)
        else:
            sock = socket.socket(fileno=fd)
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                self.listeners.append(sock)
            elif sock.family == socket.AF_UNIX:
                (self.notes if sock.type == socket.SOCK_SEQPACKET else self.leave).append(sock)
            else:
                sock.detach()

    def take_listeners_off(self):
        for epoll in self.epolls:
            for listener in self.listeners:
                epoll.unregister(listener)

    def forge_reports(self):
        """What is always writable is reported without end."""
        for epoll in self.epolls:
            for fd in (*self.eventfds, *self.notes):
                epoll.register(fd, select.EPOLLOUT)

    def fill_eventfds(self):
        for fd in self.eventfds:
            os.write(fd, FULL.to_bytes(8, sys.byteorder))
            os.set_blocking(fd, True)

    def empty_eventfds(self):
        """Again and again, with who reads there in between."""
        for fd in self.eventfds:
            os.set_blocking(fd, True)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            for fd in self.eventfds:
                os.write(fd, (1).to_bytes(8, sys.byteorder))
                if select.select([fd], [], [], 0)[0]:
                    with contextlib.suppress(BlockingIOError):
                        os.preadv(fd, [bytearray(8)], -1, os.RWF_NOWAIT)

    def ring(self):
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            for fd in self.eventfds:
                os.write(fd, (1).to_bytes(8, sys.byteorder))

    def tell_all_to_leave(self):
        for sock in self.leave:
            sock.shutdown(socket.SHUT_RD)
        for fd in self.eventfds:
            # Where a token is a count.
            os.write(fd, (2**32).to_bytes(8, sys.byteorder))

    def shut_everything(self):
        for sock in (*self.notes, *self.leave):
            sock.shutdown(socket.SHUT_RDWR)

    def shut_notes(self):
        for sock in self.notes:
            sock.shutdown(socket.SHUT_RDWR)

    def make_notes_fail(self):
        """A full channel is an error to who sends, and not a reason to wait."""
        for sock in self.notes:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

    def leave_things_behind(self):
        """In queues that nobody reads, with descriptors."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            rights = (
                socket.SOL_SOCKET,
                socket.SCM_RIGHTS,
                array.array("i", [listener.fileno()]),
            )
            for sock in (*self.leave, *self.notes):
                try:
                    while sock.sendmsg([b"x" * 100], [rights], socket.MSG_DONTWAIT):
                        pass
                except (BlockingIOError, BrokenPipeError):
                    pass

    def flood(self):
        """Notes without end, of a process that is nobody's child."""
        end = time.monotonic() + 1
        for sock in self.notes:
            sock.settimeout(0.1)
        while time.monotonic() < end:
            for sock in self.notes:
                try:
                    sock.send(bytes(NOTE))
                except OSError:
                    return


ATTACKS = [name for name in vars(Shared) if not name.startswith("_")]


def start(pid, attack):
    return subprocess.Popen([sys.executable, __file__, str(pid), attack])


def meddle(pid, attack):
    """Does it to the child `pid`, to the end."""
    process = start(pid, attack)
    assert process.wait(20) == 0


if __name__ == "__main__":
    getattr(Shared(int(sys.argv[1])), sys.argv[2])()
