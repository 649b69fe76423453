"""Whom the limits on addresses are for: networks that are counted as one, that
are exempt, that alone may come in, or that may not.
"""

import pytest

from harness.client import Client, clients


def everywhere(server):
    """The second listener, by IPv4: its clients have mapped addresses."""
    return f"127.0.0.1:{server.ports[1]}"


def test_a_network_counts_as_one_source(front, serve):
    server = serve(
        front,
        *("--handler", "hold", "--max-per-source", 1, "--source-prefix-v4", 24),
        *("--address", "127.0.0.1:0", "--address", ":0"),
        listeners=2,
    )
    v4, mapped = server.addresses[0], everywhere(server)
    with Client(v4) as first, Client(v4, source="127.0.9.1") as other:
        first.child()
        other.child()
        for address, source in [
            (v4, "127.0.0.2"),
            (mapped, "127.0.0.3"),
            (mapped, "127.0.9.9"),
        ]:
            with Client(address, source=source) as neighbour:
                assert neighbour.rest() == b""
    server.finish()
    assert server.stats()["refused_source"] == 3


def test_an_exempt_network_has_no_limit(front, serve):
    server = serve(
        front,
        *(
            "--handler",
            "hold",
            "--max-per-source",
            1,
            "--source-exempt",
            "10.0.0.0/8 127.0.0.0/30",
        ),
        *("--rate-per-source", 1, "--rate-interval", 3600000),
        *("--address", "127.0.0.1:0", "--address", ":0"),
        listeners=2,
    )
    v4, mapped = server.addresses[0], everywhere(server)
    with clients(v4, 3) as many, clients(mapped, 3) as more:
        assert len({client.child() for client in [*many, *more]}) == 6
        with Client(v4, source="127.0.0.4") as other:
            other.child()
            with Client(v4, source="127.0.0.4") as second:
                assert second.rest() == b""
    server.finish()
    assert server.stats()["refused_source"] == 1


def test_only_the_allowed_come_in_and_of_them_not_the_denied(front, serve):
    server = serve(
        front,
        *("--handler", "hold", "--allow", "127.0.0.0/24, ::1", "--deny", "127.0.0.8/30"),
        *("--address", "127.0.0.1:0", "--address", ":0", "--refuse-message", "no\n"),
        listeners=2,
    )
    v4, mapped = server.addresses[0], everywhere(server)
    v6 = f"[::1]:{server.ports[1]}"
    for address, source in [(v4, "127.0.0.7"), (mapped, "127.0.0.12"), (v6, None)]:
        with Client(address, source=source) as client:
            client.child()
    # Denied, though allowed; and not in the list of the allowed.
    outside = [
        (v4, "127.0.0.8"),
        (mapped, "127.0.0.11"),
        (v4, "127.0.1.1"),
        (mapped, "127.1.1.1"),
    ]
    names = []
    for address, source in outside:
        with Client(address, source=source) as client:
            names.append(client.name)
            assert client.rest() == b"no\n"
    refused = server.wait_events("refused", 4)
    # In no order: what different children tell may come in another one.
    told = {(event["peer"], event["reason"]) for event in refused}
    assert told == {(name, "denied") for name in names}
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused_denied"]) == (7, 3, 4)


def test_without_a_list_of_the_allowed_all_but_the_denied_come_in(core_front, serve):
    server = serve(core_front, "--handler", "hold", "--deny", "127.0.0.2")
    with Client(server.address, source="127.0.0.2") as denied:
        assert denied.rest() == b""
    with Client(server.address, source="127.0.0.3") as client:
        client.child()


def test_unix_sockets_have_no_address_to_look_at(core_front, serve, tmp_path):
    server = serve(
        core_front,
        *("--handler", "hold", "--allow", "10.0.0.1", "--deny", "0.0.0.0/0 ::/0"),
        *("--rate-per-source", 1, "--rate-interval", 3600000),
        *("--address", f"unix:{tmp_path}/s"),
    )
    with clients(server.address, 3) as many:
        assert len({client.child() for client in many}) == 3


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--allow", "10.0.0.0/8, nobody", 'entry 2, "nobody": not an IP address or network'),
        ("--deny", "10.0.0.1/8", "bits are set behind the prefix; the network is 10.0.0.0/8"),
        ("--source-exempt", "::/129", "the prefix is not in the range 0 to 128"),
    ],
)
def test_a_bad_list_is_an_error_that_names_the_entry(
    core_front, launch, option, value, message
):
    server = launch(core_front.argv(option, value))
    server.fails()
    assert f"testserver: {option[2:].replace('-', '_')}: entry " in server.stderr()
    assert message in server.stderr()
