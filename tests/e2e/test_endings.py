"""The end of a connection: the client sees what it was sent and the end of it, never a
reset, whatever it has sent itself, and whoever else has the connection.
"""

import socket
import threading

import pytest

from harness import procfs
from harness.client import Client
from harness.procfs import wait_until
from harness.sharing import listeners

ends_itself = pytest.mark.not_for("own_end", "the program ends its connections itself")
# More than the handler reads, and less than a socket takes at once.
UNREAD = b"x" * 50_000
# Of socket(7) and Documentation/networking/timestamping.rst.
SO_TIMESTAMPING, TX_SOFTWARE, SOFTWARE = 37, 1 << 1, 1 << 4


@pytest.fixture(params=["127.0.0.1:0", "unix:@"])
def address(request, tmp_path):
    return request.param + str(tmp_path) if request.param == "unix:@" else request.param


@ends_itself
@pytest.mark.parametrize("finishes", [True, False], ids=["finishes", "waits"])
def test_who_was_not_heard_out_sees_the_answer_and_its_end(front, serve, address, finishes):
    server = serve(front, "--handler", "answer", "--address", address)
    for _ in range(10):
        with Client(server.address) as client:
            client.send(UNREAD)
            if finishes:
                client.half_close()
            assert client.rest() == b"answer\n"
    server.wait_idle()
    server.finish()
    assert {event["exit_code"] for event in server.events("ended")} == {0}


@ends_itself
def test_who_goes_on_sending_sees_the_answer_and_its_end(front, serve, address):
    server = serve(front, "--handler", "answer", "--address", address)
    with Client(server.address) as client:
        client.send(UNREAD)
        assert client.exactly(7) == b"answer\n"
        # All that it sends now comes after the handler.
        for _ in range(40):
            client.send(UNREAD)
        assert client.rest() == b""
    server.wait_event("ended")


@ends_itself
@pytest.mark.parametrize("sends", [True, False], ids=["sends", "waits"])
def test_who_never_finishes_is_read_from_until_linger_is_over(front, serve, sends):
    server = serve(front, "--handler", "answer", "--linger", 300)
    over = threading.Event()

    def send(client):
        try:
            while not over.is_set():
                client.send(UNREAD)
        except ConnectionError:
            pass

    with Client(server.address) as client:
        client.send(UNREAD)
        assert client.exactly(7) == b"answer\n"
        sender = threading.Thread(target=send, args=[client])
        if sends:
            sender.start()
        ended = server.wait_event("ended")
        over.set()
        if sends:
            sender.join()
        assert 290_000 < ended["duration_us"] < 10_000_000


@ends_itself
def test_what_is_in_the_error_queue_of_a_connection_does_not_prolong_linger(front, serve):
    """poll(2) reports it without end, and it is nothing that could be read."""
    server = serve(front, "--handler", "answer", "--linger", 300)
    for listener in listeners(server.pid):
        with listener:
            # Connections have the options of their listener.
            listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE | SOFTWARE)
    with Client(server.address) as client:
        client.send(UNREAD)
        assert client.exactly(7) == b"answer\n"
        ended = server.wait_event("ended")
        assert 290_000 < ended["duration_us"] < 10_000_000


@ends_itself
def test_without_linger_nobody_is_waited_for(front, serve):
    server = serve(front, "--handler", "answer", "--linger", 0)
    with Client(server.address) as client:
        client.send(UNREAD)
        server.wait_event("ended")


@ends_itself
def test_who_lingers_has_the_time_of_its_connection(front, serve):
    """The handler's time and what comes after it are one connection."""
    server = serve(front, "--handler", "answer", "--linger", 60_000, "--lifetime", front.moment)
    with Client(server.address) as client:
        client.send(UNREAD)
        assert client.exactly(7) == b"answer\n"
        assert server.wait_event("ended")["exit_signal"] == 15


@ends_itself
def test_a_process_that_the_handler_leaves_keeps_no_client_waiting(front, serve, address):
    server = serve(front, "--handler", "stay", "--address", address)
    with Client(server.address) as client:
        client.child()
        assert client.rest() == b""
        server.wait_event("ended")
    # What was left ends when its client does.
    wait_until(lambda: not procfs.with_connection(procfs.children(server.host)), "its end")


@pytest.mark.parametrize("message", ["busy", ""])
def test_who_is_refused_while_it_sends_sees_the_message_and_the_end(
    front, serve, address, message
):
    options = ("--handler", "hold", "--max-children", 1, "--at-capacity", "refuse")
    told = ("--refuse-message", message) if message else ()
    server = serve(front, *options, *told, "--address", address)
    with Client(server.address) as first:
        pid = first.child()
        server.freeze()
        with Client(server.address) as refused:
            refused.send(UNREAD)
            server.thaw()
            assert refused.rest() == message.encode()
        assert procfs.state(pid) is not None
