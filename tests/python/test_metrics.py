"""server.metrics() in Python: its threads, its processes, and the drop-ins."""

import errno
import signal
import subprocess
import textwrap

import forkserve
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from support import read_all


def samples(text):
    """The values by the name, and the one label if there is one."""
    families = text_string_to_metric_families(text)
    found = [sample for family in families for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in found}


def test_a_server_that_serves_nobody_tells_of_its_listeners():
    with forkserve.Server(["127.0.0.1:0", "unix:@forkserve-metrics"], print) as server:
        told = samples(server.metrics())
        for listener in server.addresses:
            assert told["forkserve_accept_queue_length", listener] == 0
            assert told["forkserve_accept_queue_limit", listener] > 100
        assert told["forkserve_accept_queue_drops_total", server.addresses[0]] == 0
    assert samples(server.metrics())["forkserve_connections_accepted_total",] == 0


# Tells the metrics as one line for each line that it reads, in a thread of its own.
TELL = """
import threading
def tell():
    for line in sys.stdin:
        say(server.metrics().replace("\\n", "|"))
threading.Thread(target=tell, daemon=True).start()
say("ready")
"""


def ask(server):
    """The metrics as it tells them now."""
    server.process.stdin.write("\n")
    server.process.stdin.flush()
    return samples(server.line().replace("|", "\n"))


@pytest.mark.parametrize("loop", ["serve_forever", "start"])
def test_a_thread_may_ask_while_another_or_a_supervisor_serves(serve, loop):
    """How many clients it has, and how many wait for a place."""
    script = f"""
def handler(conn):
    conn.established()
    conn.socket.sendall(b"x")
    conn.socket.recv(1)
server = serve(handler, max_children=1)
signal.signal(signal.SIGTERM, lambda *_: server.stop())
supervised = {loop == "start"}
if supervised:
    server.start()
{TELL}
if supervised:
    server.wait()
else:
    server.serve_forever()
"""
    server = serve(script, stdin=subprocess.PIPE)
    assert server.line() == "ready"
    with server.connect() as first, server.connect() as second:
        assert first.recv(1) == b"x"
        told = ask(server)
        assert told["forkserve_connections", "established"] == 1
        assert told["forkserve_children", "serving"] == 1
        assert told["forkserve_accept_queue_length", server.address] == 1
        first.close()
        assert second.recv(1) == b"x"
        told = ask(server)
        assert told["forkserve_accept_queue_length", server.address] == 0
        assert told["forkserve_connections_accepted_total",] == 2
    server.end(by=signal.SIGTERM)


def test_a_dropin_tells_of_its_last_run(serve_dropin):
    server = serve_dropin(
        f"""
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(b"x")
            if self.request.recv(1) == b"?":
                try:
                    self.server.metrics()
                except OSError as error:
                    self.request.sendall(b"%d" % error.errno)
    server = serve(Handler)
    say(server.metrics() == "# EOF\\n")
    thread = in_thread(server)
    {textwrap.indent(TELL, " " * 4).strip()}
    signal.sigwait({{signal.SIGUSR1}})
    server.shutdown()
    thread.join()
    say("shut down")
    signal.sigwait({{signal.SIGUSR1}})
    server.server_close()
    """,
        stdin=subprocess.PIPE,
    )
    assert (server.line(), server.line()) == ("True", "ready")
    with server.connect() as client:
        assert client.recv(1) == b"x"
        told = ask(server)
        assert told["forkserve_connections_accepted_total",] == 1
        assert told["forkserve_connections", "handshake"] == 1
        assert told["forkserve_accept_queue_length", server.address] == 0
        client.sendall(b"?")
        assert read_all(client) == b"%d" % errno.ECHILD
    server.signal(signal.SIGUSR1)
    assert server.line() == "shut down"
    assert ask(server)["forkserve_connections_accepted_total",] == 1
    server.signal(signal.SIGUSR1)
