"""An interpreter that ends: nothing begins to serve there."""

import signal
import sys

import pytest

# Deleted when the modules are, and nothing can be imported any more.
LAST = """
    class Last:
        def __init__(self, way):
            self.way, self.forkserve, self.os, self.sys = way, forkserve, os, sys
            self.server = forkserve.Server("127.0.0.1:0", echo)
            self.dropin = forkserve.ForkingTCPServer(("127.0.0.1", 0), None)

        def attempt(self):
            if self.way == "Server":
                self.forkserve.Server("127.0.0.1:0", None)
            elif self.way == "fork":
                if self.forkserve.fork() == 0:
                    self.os._exit(0)
                self.os.wait()
            elif self.way == "handle_request":
                self.dropin.handle_request()
            elif self.way == "drop-in":
                self.dropin.serve_forever()
            else:
                getattr(self.server, self.way)()

        def __del__(self):
            try:
                self.attempt()
                said = "nothing"
            except RuntimeError as error:
                said = f"{type(error).__name__}: {error}"
            self.server.close()
            self.dropin.server_close()
            self.os.write(1, f"{self.sys.is_finalizing()} {said}\\n".encode())
    sys.modules["last"] = Last(sys.argv[1])
    """


def raised(what):
    kind = "PythonFinalizationError" if sys.version_info >= (3, 13) else "RuntimeError"
    return f"{kind}: can't {what} at interpreter shutdown"


@pytest.mark.parametrize(
    "way",
    ["serve_forever", "serve", "start", "dispatch", "Server", "drop-in", "handle_request"],
)
def test_nothing_begins_to_serve_while_the_interpreter_ends(start, way):
    out, err = start(LAST, way).end()
    assert (out, err) == (f"True {raised('serve')}\n", "")


def test_fork_is_refused_where_os_fork_is(start):
    out, err = start(LAST, "fork").end()
    expected = raised("fork") if sys.version_info >= (3, 12) else "nothing"
    assert (out, err) == (f"True {expected}\n", "")


def test_an_atexit_handler_may_still_serve(start):
    """The interpreter is whole then."""
    program = start(
        """
    import atexit
    def last():
        with serve() as server:
            server.serve_forever()
        say("done", server.stats().ended)
    atexit.register(last)
    """
    )
    program.wait_listening().ask()
    assert program.end(by=signal.SIGTERM) == ("done 1\n", "")


def test_a_program_may_end_while_a_daemon_thread_serves(serve):
    server = serve(
        """
    import threading
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    server = serve()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.sigwait({signal.SIGUSR1})
    """
    )
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.signal(signal.SIGUSR1)
        server.process.wait(20)
        # The child is its own master.
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    assert server.end() == ("", "")
