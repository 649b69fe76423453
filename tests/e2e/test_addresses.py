"""Every kind of address: what is printed can be connected to, what is in use
or wrong is refused with its name, and what was made on disk is removed.
"""

import contextlib
import os
import socket
import stat
from pathlib import Path

import pytest

from harness.client import Client, echo_once
from harness.fronts import PROGRAMS


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback")


@needs_ipv6
def test_ipv6(front, serve):
    server = serve(front, "--address", "[::1]:0")
    assert server.address.startswith("[::1]:")
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        port = client.sock.getsockname()[1]
    assert server.wait_event("forked")["peer"] == f"[::1]:{port}"


@needs_ipv6
def test_all_interfaces_take_both_families(front, serve):
    server = serve(front, "--address", ":0")
    assert server.address == f"[::]:{server.port}"
    with Client(f"127.0.0.1:{server.port}") as client:
        assert client.ask() == b"hello\n"
        assert server.wait_event("forked", id=1)["peer"] == client.name
    with Client(f"[::1]:{server.port}") as client:
        assert client.ask() == b"hello\n"
        assert server.wait_event("forked", id=2)["peer"].startswith("[::1]:")


def test_a_name_stands_for_all_its_addresses_at_one_port(front, launch):
    addresses = {info[4][0] for info in socket.getaddrinfo("localhost", 0)}
    here = [ip for ip in addresses if ip == "127.0.0.1" or has_ipv6()]
    server = launch(front.argv("--address", "localhost:0"), listeners=len(here)).wait_ready()
    assert len(set(server.ports)) == 1
    for address in server.addresses:
        echo_once(address)


def test_a_unix_socket_leaves_no_file(front, serve, tmp_path):
    path = tmp_path / "socket"
    server = serve(front, "--address", f"unix:{path}")
    assert server.address == f"unix:{path}"
    assert stat.S_ISSOCK(path.stat().st_mode)
    for _ in range(3):
        # A child must not remove the file at its end.
        echo_once(server.address)
    server.finish()
    assert not path.exists()
    assert {event["peer"] for event in server.events("forked")} == {"unix:"}


def test_the_file_of_a_dead_server_is_replaced(front, serve, tmp_path):
    path = tmp_path / "socket"
    first = serve(front, "--address", f"unix:{path}")
    first.kill_all()
    assert first.wait_exit() == -9
    assert path.exists()
    echo_once(serve(front, "--address", f"unix:{path}").address)


def test_the_file_of_a_living_server_is_not(front, serve, launch, tmp_path):
    path = tmp_path / "socket"
    first = serve(front, "--address", f"unix:{path}")
    second = launch(front.argv("--address", f"unix:{path}"))
    second.fails()
    assert f"unix:{path}: Address already in use" in second.stderr()
    echo_once(first.address)
    plain = tmp_path / "file"
    plain.write_text("precious")
    launch(front.argv("--address", f"unix:{plain}")).fails()
    assert plain.read_text() == "precious"


def test_an_abstract_name(front, serve, launch):
    name = f"unix:@forkserve-test-{os.getpid()}-{front.name}"
    server = serve(front, "--address", name)
    assert server.address == name
    echo_once(server.address)
    second = launch(front.argv("--address", name))
    second.fails()
    assert f"{name}: Address already in use" in second.stderr()


def test_an_adopted_listener_keeps_its_queue(front, launch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with Client(address) as early:
            server = launch(
                front.argv("--address", f"fd:{listener.fileno()}"),
                pass_fds=[listener.fileno()],
            )
            server.wait_ready()
            assert server.address == address
            assert early.ask() == b"hello\n"
        server.wait_event("ended")
        server.note_start()
        # A child that is to serve again tells of the end before it is done with it.
        server.wait_idle()
        with Client(address) as stays:
            assert stays.ask() == b"hello\n"
            server.signal()
            assert server.wait_event("draining")["live"] == 1
            assert stays.ask(b"still there?") == b"still there?"
        assert server.wait_exit() == 0
        server.finish()
        # Its end is that of a server, and not of a socket that others have, too.
        with Client(address):
            listener.accept()[0].close()


@pytest.mark.parametrize(
    ("number", "reason"),
    [("0", "fd:0"), ("77", "fd:77"), ("x", "fd:x"), ("-1", "fd:-1")],
)
def test_what_does_not_listen_is_not_adopted(core_front, launch, number, reason):
    server = launch(core_front.argv("--address", f"fd:{number}"))
    server.fails()
    assert reason in server.stderr()


def test_a_port_in_use_is_named(front, serve, launch):
    first = serve(front)
    second = launch(front.argv("--address", first.address))
    second.fails()
    assert f"bind {first.address}: Address already in use" in second.stderr()
    assert second.output() == []
    echo_once(first.address)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_says_that_its_port_is_in_use(program, launch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [word.replace(":0", f":{port}") for word in program.command]
        command = [str(port) if word == "0" else word for word in words]
        server = launch(command)
        server.fails()
        assert "Address already in use" in server.stderr()
        assert str(port) in server.stderr()
        assert len(server.stderr().splitlines()) == 1
        assert server.output() == []


@pytest.mark.parametrize(
    "program", [p for p in PROGRAMS if p.name != "python"], ids=lambda program: program.name
)
def test_an_example_tells_its_usage(program, launch):
    for command in ([program.command[0]], [*program.command, "surplus", "surplus"]):
        server = launch(command)
        code = server.wait_exit()
        server.judged = True
        assert code in (1, 2)
        assert server.stderr().startswith("Usage")
        assert server.output() == []


# What people write, and what they are told to write instead.
INSTEAD = [
    ("7000", ":7000"),
    ("127.0.0.1", "127.0.0.1:7000"),
    ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
    ("tcp:127.0.0.1:7000", "127.0.0.1:7000"),
    ("::1:80", "[::1]:80"),
    ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
    ("[fe80::1]:80", "[fe80::1%eth0]:80"),
    ("/run/echo", "unix:/run/echo"),
    ("@echo", "unix:@echo"),
    ("127.0.0.1:no-such-service", "a port is a number"),
    ("tcp:7000", ":7000"),
    ("b\u00fccher.invalid:80", "xn--"),
    ("[fe80::1%nowhere]:80", 'is there an interface "nowhere"?'),
]


@pytest.mark.parametrize(("address", "instead"), INSTEAD)
def test_what_to_write_instead_is_said(core_front, launch, address, instead):
    server = launch(core_front.argv("--address", address))
    server.fails()
    assert address in server.stderr()
    assert instead in server.stderr()
    assert len(server.stderr().splitlines()) == 1


@pytest.fixture(scope="module")
def service():
    """A service of /etc/services with a port at which nothing listens."""
    for line in Path("/etc/services").read_text().splitlines():
        name, _, port = line.partition("#")[0].partition("/tcp")[0].partition("\t")
        port = port.strip()
        if port.isdigit() and line.partition("#")[0].count("/tcp"):
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", int(port))):
                return name.strip(), int(port)
    return pytest.skip("no service whose port is free")


# One after the other: the port is the same for all.
@pytest.mark.xdist_group("service")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", ""])
def test_a_port_may_have_the_name_of_its_service(core_front, launch, service, host):
    name, port = service
    addresses = {info[4][0] for info in socket.getaddrinfo(host, 0)} if host else {host}
    many = len([ip for ip in addresses if ":" not in ip or has_ipv6()])
    server = launch(core_front.argv("--address", f"{host}:{name}"), listeners=many)
    server.wait_ready()
    assert set(server.ports) == {port}
    echo_once(server.address.replace("[::]", "127.0.0.1"))


BAD = ["", "nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "::1:80"]


@pytest.mark.parametrize("address", [*BAD, "unix:", "unix:@", "unix:/" + "x" * 200])
def test_an_address_that_makes_no_sense_is_named(core_front, launch, address):
    server = launch(core_front.argv("--address", address))
    server.fails()
    assert address in server.stderr()
    assert len(server.stderr().splitlines()) == 1
    assert server.output() == []


def test_an_address_of_another_machine_is_named(core_front, launch):
    server = launch(core_front.argv("--address", "192.0.2.1:80"))
    server.fails()
    assert "192.0.2.1:80" in server.stderr()
