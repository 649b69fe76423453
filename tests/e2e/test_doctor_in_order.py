"""`forkserve doctor` finds nothing where nothing is wrong: our own servers in every
model, and those of others that are installed.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from harness import procfs
from harness.client import Client
from harness.command import Report
from harness.fronts import CORE
from harness.procfs import wait_until


def test_our_own_servers_are_in_order(front, serve):
    server = serve(front, "--handler", "hold")
    with Client(server.address) as client:
        child = client.child()
        # By its port, and by its process: the host has a supervisor below it.
        for target in f":{server.port}", server.host:
            report = Report(target)
            assert report.findings == [], report.findings
            assert report.not_seen == []
            states = [row["state"] for row in report.process(child)["sockets"]]
            assert "ESTABLISHED" in states
    server.wait_idle()
    assert Report(server.host).findings == []


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_unix_sockets_are_found_by_their_names(kind, serve, tmp_path):
    name = f"unix:{tmp_path}/s" if kind == "path" else f"unix:@{tmp_path.name}-{os.getpid()}"
    server = serve(CORE[0], "--handler", "hold", "--address", name)
    with Client(name) as client:
        child = client.child()
        for target in name, name.removeprefix("unix:"):
            report = Report(target)
            assert report.findings == []
            (listener,) = report.process(server.pid)["sockets"]
            assert listener["local"] == name.removeprefix("unix:")
            assert report.process(child)["sockets"][0]["state"] == "ESTABLISHED"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(argv, port, **how):
    """A server of others, in a session of its own, until it listens."""
    log = how.pop("log")
    with open(log, "wb") as out:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            **how,
        )
    try:

        def listens():
            assert process.poll() is None, log.read_text()
            return procfs.listening_ports(process.pid)

        wait_until(lambda: port in listens(), "a listener")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def in_order(target):
    """A look when its processes are there; what is wrong once is wrong."""
    report = Report(target)
    assert report.findings == [], report.findings
    return report


def need(program, *folders):
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", *folders])
    found = shutil.which(program, path=path)
    if not found:
        pytest.skip(f"{program} is not installed")
    return found


def test_sshd_is_in_order(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    sshd = need("sshd")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    key, port = tmp_path / "key", free_port()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    config = tmp_path / "config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {key}\nPidFile none\nUsePAM no\n"
    )
    with (
        running([sshd, "-D", "-e", "-f", config], port, log=tmp_path / "log"),
        Client(f"127.0.0.1:{port}") as client,
    ):
        assert client.line().startswith(b"SSH-2.0")
        # Two processes have this connection, one with fewer rights.
        report = in_order(f":{port}")
        assert len(report.processes) >= 2


def test_nginx_is_in_order(tmp_path):
    nginx, port = need("nginx"), free_port()
    tmp_path.chmod(0o755)
    config = tmp_path / "nginx.conf"
    config.write_text(f"""
        daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; worker_processes 2;
        events {{ worker_connections 64; }}
        http {{
            access_log off; client_body_temp_path {tmp_path}/body; root {tmp_path};
            server {{ listen 127.0.0.1:{port}; }}
        }}
    """)
    log = tmp_path / "log"
    argv = [nginx, "-c", str(config), "-e", str(tmp_path / "error.log"), "-p", str(tmp_path)]
    with running(argv, port, log=log), Client(f"127.0.0.1:{port}") as client:
        client.send(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.line().startswith(b"HTTP/1.1")
        report = in_order(f":{port}")
        assert len(report.processes) == 3


def test_postgresql_is_in_order(tmp_path):
    folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    postgres, initdb = need("postgres", *folders), need("initdb", *folders)
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    # In a folder that this user may enter.
    base = Path(f"/tmp/forkserve-postgres-{os.getpid()}")
    base.mkdir()
    someone = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
    try:
        os.chown(base, 65534, 65534)
        data, port = base / "data", free_port()
        subprocess.run(
            [initdb, "-N", "-A", "trust", "-U", "test", "-D", data],
            check=True,
            capture_output=True,
            timeout=60,
            **someone,
        )
        argv = [postgres, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", base]
        with running(argv, port, log=tmp_path / "log", **someone) as server:
            end = time.monotonic() + 20
            while time.monotonic() < end and len(procfs.children(server.pid)) < 4:
                time.sleep(0.02)
            with Client(f"127.0.0.1:{port}") as client:
                # The first message of a client: protocol 3.0, and its user.
                words = b"user\0test\0database\0postgres\0\0"
                client.send((8 + len(words)).to_bytes(4, "big") + b"\0\3\0\0" + words)
                assert client.sock.recv(1) == b"R", "it is asked in"
                report = in_order(f":{port}")
                assert len(report.processes) >= 4
    finally:
        shutil.rmtree(base, ignore_errors=True)
