"""Waiting for a supervisor: signals, threads, and the end of a with block."""

import os
import signal
import time

import pytest

from support import children, gone, refused, wait_until


def test_ctrl_c_comes_out_of_wait_at_once(serve):
    """50 times, at moments that wander; a KeyboardInterrupt that were lost would never come."""
    server = serve("""
    say("listening -")
    for _ in range(50):
        with forkserve.Server("127.0.0.1:0", echo) as server:
            server.start()
            try:
                say("waiting")
                server.wait()
            except KeyboardInterrupt:
                say("interrupted", server.stats().supervisor > 0)
    """)
    for number in range(50):
        assert server.line() == "waiting"
        wait = time.monotonic() + number * 20e-6
        while time.monotonic() < wait:
            pass
        server.signal(signal.SIGINT)
        assert server.line() == "interrupted True"
    server.end()


def test_a_wakeup_descriptor_of_the_program_is_left_alone(started):
    before = """
import socket
read, write = socket.socketpair()
write.setblocking(False)
signal.set_wakeup_fd(write.fileno())
"""
    body = """
server.wait()
say(signal.set_wakeup_fd(-1) == write.fileno(), list(read.recv(10)))
"""
    server, _ = started(body, before=before)
    server.ask()
    server.wait_asleep()
    # The supervisor writes nothing to it, though it gets a SIGCHLD for each child.
    assert server.end(by=signal.SIGTERM)[0] == f"True [{int(signal.SIGTERM)}]\n"


def test_a_signal_handler_that_returns_does_not_end_the_wait(started):
    before = "signal.signal(signal.SIGUSR1, lambda *_: say('handled'))\n"
    server, _ = started("server.wait()\nsay('waited')\n", before=before)
    for _ in range(5):
        server.signal(signal.SIGUSR1)
        assert server.line() == "handled"
    assert server.end(by=signal.SIGTERM)[0] == "waited\n"


def test_other_threads_run_while_one_waits(started):
    body = """
import threading
def work():
    where = f"/proc/self/task/{os.getpid()}/wchan"
    while True:
        with open(where) as text:
            if "poll" in text.read():
                break
    server.stop()
threading.Thread(target=work).start()
server.wait()
say("waited")
"""
    server, _ = started(body)
    assert server.end()[0] == "waited\n"


def test_a_thread_may_wait(started):
    body = """
import threading
thread = threading.Thread(target=server.wait)
thread.start()
signal.signal(signal.SIGUSR1, lambda *_: say("alive"))
say("ready")
thread.join()
say("waited")
"""
    server, _ = started(body)
    assert server.line() == "ready"
    server.ask()
    assert server.end(by=signal.SIGTERM)[0] == "waited\n"


def test_leaving_the_block_lets_connections_finish(serve):
    server = serve("""
    class Left(Exception):
        pass
    try:
        with serve(grace=None) as server:
            say(server.start())
            while not server.stats().live:
                pass
            raise Left
    except Left:
        stats = server.stats()
        say("left", stats.supervisor, stats.crashed, stats.live, server.fileno(), server)
    say("open", len(os.listdir("/proc/self/fd")))
    """)
    supervisor = int(server.line())
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        wait_until(lambda: refused(server.address), "the listener closed")
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    left = f"left 0 0 0 -1 <forkserve.Server at {server.address}, closed>"
    # The three standard ones, and the directory itself.
    assert server.end()[0].splitlines() == [left, "open 4"]
    assert gone(supervisor)


def test_one_more_ctrl_c_does_not_wait_for_the_connections(serve):
    server = serve("""
    def observer(event):
        if event.kind in ("draining", "ended"):
            say(event.kind, event.exit_signal)
    try:
        with serve(grace=None, kill_after=1000, observer=observer) as server:
            say(server.start())
            server.wait()
    except KeyboardInterrupt:
        say("interrupted")
    """)
    server.line()
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.wait_asleep()
        server.signal(signal.SIGINT)
        assert server.line() == "draining None"
        server.wait_asleep()
        server.signal(signal.SIGINT)
        assert server.line() == f"ended {int(signal.SIGTERM)}"
    assert server.end()[0] == "interrupted\n"


@pytest.mark.parametrize("grace", [None, 0])
def test_close_ends_a_supervisor_that_does_not_end(serve, grace):
    """With a limit for the drain one that hangs, without it one that is stopped."""
    server = serve(f"""
    import errno, time
    signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGUSR1}})
    def observer(event):
        if event.kind == "draining":
            time.sleep(1000)
    observer = observer if {grace} == 0 else None
    server = serve(grace={grace}, kill_after=0.01, observer=observer)
    say(server.start())
    signal.sigwait({{signal.SIGUSR1}})
    try:
        server.close()
    except forkserve.Error as error:
        say(errno.errorcode[error.errno], error.strerror)
    server.close()
    say("closed", server.fileno())
    """)
    supervisor = int(server.line())
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        child = children(supervisor)
        if grace is None:
            os.kill(supervisor, signal.SIGSTOP)
        server.signal(signal.SIGUSR1)
        assert (
            server.line() == "EOWNERDEAD the supervisor ended by signal 9 before it had drained"
        )
        assert server.line() == "closed -1"
        assert gone(supervisor)
        assert all(map(gone, child))
    server.end()
