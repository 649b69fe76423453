"""The host of testserver.py: what it does with its signals, its children and its threads."""

import ctypes
import json
import os
import signal
import sys
import tempfile
import threading
import time

from testserver_report import put

# For the thread that stops it.
server = None


def do_nothing(_number, _frame):
    pass


def reap_everything(_number, _frame):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def nocldwait():
    """SA_NOCLDWAIT, for which the standard library has no call."""

    class Action(ctypes.Structure):
        _fields_ = (
            ("handler", ctypes.c_void_p),
            ("mask", ctypes.c_ubyte * 128),
            ("flags", ctypes.c_int),
            ("restorer", ctypes.c_void_p),
        )

    action = Action(flags=2)
    if ctypes.CDLL(None).sigaction(signal.SIGCHLD, ctypes.byref(action), None) != 0:
        raise OSError("sigaction")


def storm():
    signal.signal(signal.SIGALRM, do_nothing)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)


def busy():
    while True:
        json.loads(json.dumps(list(range(1000))))
        sys.stdout.write("")
        time.sleep(0.0001)


def threads():
    for _ in range(8):
        threading.Thread(target=busy, daemon=True).start()


own_children = []


def own_child(ends=True):
    """One that ends at once, or one that waits for a signal to end it."""
    pid = os.fork()
    if pid == 0:
        while not ends:
            signal.pause()
        os._exit(7)
    put("own_child", pid=pid)
    own_children.append(pid)


def three_own_children():
    own_child()
    own_child(ends=False)
    own_child(ends=False)


def stop_thread():
    """A thread that stops the server when SIGUSR1 asks for it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    def wait():
        while True:
            signal.sigwait({signal.SIGUSR1})
            server.stop()

    threading.Thread(target=wait, daemon=True).start()


def remove_cwd():
    path = tempfile.mkdtemp()
    os.chdir(path)
    os.rmdir(path)


SETUPS = {
    "sigchld-ignored": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    "nocldwait": nocldwait,
    "sigchld-handler": lambda: signal.signal(signal.SIGCHLD, do_nothing),
    "reaper": lambda: signal.signal(signal.SIGCHLD, reap_everything),
    "alarm-1khz": storm,
    "threads": threads,
    "own-child": own_child,
    "own-children": three_own_children,
    "unflushed": lambda: sys.stdout.write("<host>"),
    "stop-thread": stop_thread,
    "stdio-closed": lambda: os.closerange(0, 3),
    "stdin-read": lambda: sys.stdin.read(),
    "cwd-removed": remove_cwd,
}


def put_own_child(pid):
    """After the loop: the host's own child must still be there to be waited for.
    One that a signal ended has that as a negative status."""
    try:
        got, status = os.waitpid(pid, 0)
        put("own_child_ended", pid=got, status=os.waitstatus_to_exitcode(status))
    except ChildProcessError as error:
        put("own_child_ended", pid=-1, errno=error.errno)
