"""A server that is made in one process and begins to serve in another."""

import os

import pytest

from support import gone, read_all, wait_until


@pytest.mark.parametrize("how", ["serve_forever", "start", "dispatch"])
def test_a_server_begins_after_a_double_fork(serve, tmp_path, how):
    """The process in the middle has gone, the first lives on, and has no server any more."""
    path = tmp_path / "socket"
    server = serve(f"""
    import errno, select
    signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGUSR1}})
    server = serve(address="unix:{path}")
    if os.fork() == 0:
        if os.fork():
            os._exit(0)
        if "{how}" == "serve_forever":
            signal.signal(signal.SIGTERM, lambda *_: server.stop())
            say("daemon", os.getpid())
            server.serve_forever()
        elif "{how}" == "start":
            server.start()
            say("daemon", server.stats().supervisor)
            server.wait()
        else:
            signal.signal(signal.SIGTERM, lambda *_: server.stop())
            said = False
            try:
                while True:
                    server.dispatch()
                    if not said:
                        said = True
                        say("daemon", os.getpid())
                    select.select([server.fileno()], [], [], server.next_timeout())
            except forkserve.Error as error:
                assert error.errno == errno.ESHUTDOWN
        server.close()
        say("over", os.path.exists("{path}"))
        os._exit(0)
    os.wait()
    signal.sigwait({{signal.SIGUSR1}})
    calls = [server.serve_forever, server.start, server.dispatch, server.stop, server.stats]
    for call in calls:
        try:
            call()
        except forkserve.Error as error:
            say(errno.errorcode[error.errno])
    server.close()
    say("closed", os.path.exists("{path}"))
    """)
    daemon = int(server.line().removeprefix("daemon "))
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.signal(10)
        assert [server.line() for _ in range(6)] == ["ECHILD"] * 5 + ["closed True"]
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    with server.connect() as client:
        client.sendall(b"z")
        assert client.recv(1) == b"z"
    os.kill(daemon, 15)
    assert server.line() == "over False"
    wait_until(lambda: gone(daemon), "no daemon")
    server.end()


def test_a_parent_that_leaves_its_block_takes_nothing_along(serve, tmp_path):
    path = tmp_path / "socket"
    server = serve(f"""
    go, let_go = os.pipe()
    with serve(address="unix:{path}") as server:
        pid = os.fork()
        if pid == 0:
            os.read(go, 1)
            server.serve_forever()
            os._exit(0)
    say("left", os.path.exists("{path}"))
    os.write(let_go, b"x")
    say("child", pid)
    os.waitpid(pid, 0)
    """)
    assert server.line() == "left True"
    child = int(server.line().removeprefix("child "))
    with server.connect() as client:
        client.sendall(b"x")
        client.shutdown(1)
        assert read_all(client) == b"x"
    os.kill(child, 15)
    server.end()
    assert not path.exists()


def test_a_drop_in_serves_after_a_fork(serve):
    """Also one that has children of its parent's in its list."""
    server = serve("""
    import socketserver
    class Echo(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(self.rfile.readline())
    server = forkserve.ForkingTCPServer(("127.0.0.1", 0), Echo)
    say("listening", "%s:%d" % server.server_address)
    server.handle_request()
    pid = os.fork()
    if pid == 0:
        server.serve_forever()
    say("child", pid)
    server.server_close()
    os.waitpid(pid, 0)
    """)
    with server.connect() as client:
        client.sendall(b"first\n")
        assert read_all(client) == b"first\n"
    child = int(server.line().removeprefix("child "))
    with server.connect() as client:
        client.sendall(b"second\n")
        assert read_all(client) == b"second\n"
    os.kill(child, 15)
    server.end()
