"""A spare gets ready before it waits, and nobody sees it."""

import signal
from pathlib import Path

from support import children, descriptors, wait_until

SERVER = """
import resource, socket
signal.signal(signal.SIGTERM, lambda *_: server.stop())
def handler(conn):
    while data := conn.socket.recv(4096):
        conn.socket.sendall(data)
    say(os.getpid(), conn.id, resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""

RUN = """
server = serve(handler, spares=2)
server.serve_forever()
"""


def faults(pid):
    """Minor page faults of a process so far."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[7])


def where(pid):
    """Where in the kernel a process sleeps."""
    try:
        return Path(f"/proc/{pid}/wchan").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def idle_spares(server):
    """Waits for both spares, and until they wait."""

    def waiting():
        found = children(server.pid)
        return len(found) >= 2 and all("poll" in where(pid) for pid in found) and found

    return wait_until(waiting, "spares that wait")


def faults_of_a_connection(serve, before=""):
    """The fewest that a spare has from its wait to the end of its handler."""
    server = serve(
        SERVER + before + "server = serve(handler, spares=2)\nserver.serve_forever()\n"
    )
    counts = []
    for _ in range(4):
        idle = {pid: faults(pid) for pid in idle_spares(server)}
        with server.connect() as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        pid, _, count = map(int, server.line().split())
        counts.append(count - idle[pid])
        wait_until(lambda pid=pid: pid not in children(server.pid), "the child's end")
    server.end(by=signal.SIGTERM)
    return min(counts)


def test_a_client_of_a_spare_waits_for_few_page_faults(serve):
    with_it = faults_of_a_connection(serve)
    # It does not play with a class of the program's.
    other = "class Socket(socket.socket): pass\nsocket.socket = Socket\n"
    without = faults_of_a_connection(serve, other)
    assert with_it < without * 0.7, (with_it, without)


def test_it_leaves_nothing_open(serve):
    server = serve(SERVER + RUN)
    pids = idle_spares(server)
    own = set(descriptors(server.pid).values())
    assert all(set(descriptors(pid).values()) <= own for pid in pids)
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    # The first connection, whatever was played before.
    assert server.line().split()[1] == "1"
    server.end(by=signal.SIGTERM)


def test_an_audit_hook_that_forbids_sockets_forbids_no_spare(serve):
    """What fails while it plays is as good as not tried."""
    server = serve(
        SERVER
        + """
parent = os.getpid()
first = []
def hook(event, args):
    if event == "socket.__new__" and os.getpid() != parent and not first:
        first.append(1)
        raise PermissionError("no play")
server = serve(handler, spares=2)
sys.addaudithook(hook)
server.serve_forever()
"""
    )
    for number in range(1, 4):
        idle_spares(server)
        server.ask()
        assert server.line().split()[1] == str(number)
    assert server.end(by=signal.SIGTERM)[1] == ""
