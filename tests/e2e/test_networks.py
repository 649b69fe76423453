"""`max_per_network`: for a client that has many addresses."""

from harness.client import Client
from harness.procfs import wait_until


def test_a_network_has_so_many_places(front, serve):
    """Whatever its sources are, and beside their own limit."""
    server = serve(
        front,
        *("--handler", "hold", "--max-children", 6, "--refuse-message", "no\n"),
        *("--option", "max_per_network=2", "--option", "max_per_source=1"),
    )
    with Client(server.address, source="127.0.1.1") as one:
        one.child()
        with Client(server.address, source="127.0.1.2") as two:
            two.child()
            with Client(server.address, source="127.0.1.3") as three:
                name = three.name
                assert three.rest() == b"no\n"
            with Client(server.address, source="127.0.2.1") as other:
                other.child()
                with Client(server.address, source="127.0.2.1") as again:
                    assert again.rest() == b"no\n"
        server.wait_events("ended", 2)
        # Of its places one is free again.
        wait_until(lambda: len(server.serving()) == 1, "the place of the second")
        with Client(server.address, source="127.0.1.4") as four:
            four.child()
    told = {event["reason"]: event["peer"] for event in server.wait_events("refused", 2)}
    assert told.keys() == {"network", "source"}
    assert told["network"] == name
    server.finish()
    stats = server.stats()
    assert (stats["refused_network"], stats["refused_source"], stats["refused"]) == (1, 1, 2)


def test_a_prefix_says_what_a_network_is_and_the_exempt_have_none(core_front, serve):
    server = serve(
        core_front,
        *("--handler", "hold", "--option", "max_per_network=1"),
        *("--option", "network_prefix_v4=16", "--option", "source_exempt=127.0.8.0/24"),
    )
    with Client(server.address, source="127.0.1.1") as one:
        one.child()
        with Client(server.address, source="127.0.2.1") as same:
            assert same.rest() == b""
        with Client(server.address, source="127.1.1.1") as other:
            other.child()
        with Client(server.address, source="127.0.8.1") as exempt:
            exempt.child()
    server.finish()
    assert server.stats()["refused_network"] == 1


def test_clients_that_come_at_once_have_no_more_places(ahead_front, serve):
    """Each of the children that take them sees those before its own."""
    server = serve(
        ahead_front,
        *("--handler", "hold", "--spares", 8, "--option", "max_per_network=3"),
    )
    clients = [Client(server.address, source=f"127.0.1.{n + 1}") for n in range(8)]
    try:
        assert sum(client.reads_greeting() for client in clients) == 3
    finally:
        for client in clients:
            client.close()
    server.finish()
    assert server.stats()["refused_network"] == 5
