"""Children that serve one connection after the other: what they keep between them."""

import signal
import socket
from pathlib import Path

from support import DEADLINE, read_all, wait_until

# One child at a time.
ALONE = "dict(max_children=1, spares=1, connections_per_child=1000)"


def test_a_daemon_thread_runs_while_its_child_waits(serve):
    server = serve(
        """
    import threading
    def work():
        where = f"/proc/self/task/{os.getpid()}/wchan"
        while True:
            with open(where) as text:
                if "poll" in text.read():
                    break
        say("running while", os.getpid(), "waits")
    def handler(conn):
        if conn.id == 1:
            threading.Thread(target=work, daemon=True).start()
        conn.socket.sendall(str(os.getpid()).encode())
    serve(handler, **eval(sys.argv[1])).serve_forever()
    """,
        ALONE,
    )
    with server.connect() as client:
        pid = int(read_all(client))
    assert server.line() == f"running while {pid} waits"
    with server.connect() as client:
        assert int(read_all(client)) == pid


def test_a_child_that_is_told_to_leave_ends_as_an_interpreter_does(serve):
    """What handlers left in buffers is written, and their threads are waited for."""
    with socket.create_server(("127.0.0.1", 0)) as gate:
        gate.settimeout(DEADLINE)
        server = serve(
            """
        import socket, threading
        def work():
            with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as gate:
                gate.recv(1)
            print("thread done", os.getpid())
        def handler(conn):
            threading.Thread(target=work).start()
            conn.socket.sendall(str(os.getpid()).encode())
        server = serve(handler, **eval(sys.argv[1]), grace=None)
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        server.serve_forever()
        """,
            ALONE,
            str(gate.getsockname()[1]),
        )
        with server.connect() as client:
            pid = int(read_all(client))
        thread, _ = gate.accept()
        with thread:
            server.signal(signal.SIGTERM)
            # It waits for the thread, and not for a connection any more.
            wait_until(
                lambda: "poll" not in Path(f"/proc/{pid}/wchan").read_text(), "the leave"
            )
            thread.sendall(b"x")
        assert server.end()[0] == f"thread done {pid}\n"


def test_the_listing_tells_how_much_a_child_has_served(serve):
    server = serve(
        """
    server = serve(**eval(sys.argv[1]))
    signal.signal(signal.SIGUSR1, lambda *_: say([one.served for one in server.connections()]))
    server.serve_forever()
    """,
        ALONE,
    )
    for served in range(3):
        with server.connect() as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            server.signal(signal.SIGUSR1)
            assert server.line() == f"[{served}]"


def test_a_client_has_its_end_of_file_though_files_are_about(serve):
    """Those of one connection are closed before the next; the child lives."""
    server = serve(
        """
    kept = []
    def handler(conn):
        say(len(os.listdir("/proc/self/fd")))
        kept.append((conn, conn.socket, conn.socket.makefile("rwb")))
        conn.socket.sendall(str(os.getpid()).encode())
    serve(handler, **eval(sys.argv[1])).serve_forever()
    """,
        ALONE,
    )
    pids, counts = set(), set()
    for _ in range(5):
        with server.connect() as client:
            pids.add(read_all(client))
        counts.add(server.line())
    assert len(pids) == len(counts) == 1
