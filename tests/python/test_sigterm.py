"""SIGTERM where the program has said nothing about it: the drain."""

import os
import signal

import pytest

from support import children, gone, refused, wait_until

CALLS = {
    "serve_forever": "server.serve_forever()",
    "wait": "server.start(); say('started'); server.wait()",
    "wait for a time": "server.start(); say('started'); server.wait(1000)",
}


@pytest.mark.parametrize("call", CALLS)
def test_it_drains_and_the_call_returns(serve, call):
    server = serve(f"""
    server = serve()
    {CALLS[call]}
    say("returned", signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    """)
    if call != "serve_forever":
        assert server.line() == "started"
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.wait_asleep()
        server.signal(signal.SIGTERM)
        wait_until(lambda: refused(server.address), "the listener closed")
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    assert server.end() == ("returned True\n", "")


def test_a_second_one_does_not_wait(serve):
    server = serve("""
    server = serve(grace=None, kill_after=1000)
    server.serve_forever()
    say("crashed", server.stats().crashed > 0)
    """)
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.wait_asleep()
        server.signal(signal.SIGTERM)
        wait_until(lambda: refused(server.address), "the listener closed")
        server.signal(signal.SIGTERM)
        assert server.end()[0] == "crashed True\n"


@pytest.mark.parametrize(
    "own",
    ["signal.SIG_IGN", "lambda *_: server.stop()"],
)
def test_what_the_program_has_set_is_left_alone(serve, own):
    server = serve(f"""
    own = {own}
    signal.signal(signal.SIGTERM, own)
    signal.signal(signal.SIGUSR1, lambda *_: server.stop())
    server = serve()
    server.serve_forever()
    say("returned", signal.getsignal(signal.SIGTERM) == own)
    """)
    server.wait_asleep()
    server.signal(signal.SIGTERM)
    if own == "signal.SIG_IGN":
        server.ask()
        server.signal(signal.SIGUSR1)
    assert server.end()[0] == "returned True\n"


def test_what_the_program_sets_meanwhile_stays(serve):
    server = serve("""
    def own(*_):
        server.stop()
    def observer(event):
        if event.kind == "listening":
            signal.signal(signal.SIGTERM, own)
    server = serve(observer=observer)
    server.serve_forever()
    say("returned", signal.getsignal(signal.SIGTERM) is own)
    """)
    server.wait_asleep()
    assert server.end(by=signal.SIGTERM)[0] == "returned True\n"


def test_a_child_has_the_default(serve):
    server = serve("""
    def handler(conn):
        say(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
        conn.socket.recv(1)
    def observer(event):
        if event.kind == "ended":
            say("ended", event.exit_signal)
    serve(handler, observer=observer).serve_forever()
    """)
    with server.connect():
        assert server.line() == "True"
        (child,) = children(server.pid)
        os.kill(child, signal.SIGTERM)
        assert server.line() == f"ended {int(signal.SIGTERM)}"


def test_outside_of_the_calls_it_ends_the_program(serve):
    """And in a thread that is not the main one it is not the server's to handle."""
    server = serve("""
    import threading
    server = serve()
    threading.Thread(target=server.serve_forever).start()
    say("started")
    """)
    assert server.line() == "started"
    server.ask()
    server.end(-signal.SIGTERM, by=signal.SIGTERM)
    wait_until(lambda: gone(server.pid), "the end")
