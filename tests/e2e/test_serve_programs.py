"""`forkserve serve` with programs of others, and their own clients.

`make stress` has 1,000 clients come to each; here a few do.
"""

import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.client import Client
from harness.served import serving

CONNECTIONS = int(os.environ.get("STRESS_PROGRAMS", "0"))
# So many clients at once.
CROWD = 8


def needs(*programs):
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def run(*words, **how):
    done = subprocess.run(
        list(map(str, words)),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        **how,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ended_in_text(lines):
    found = [re.search(r"^ended .* status=(\d+) seconds=", line) for line in lines]
    return [int(match[1]) for match in found if match]


def ended_in_json(lines):
    events = [json.loads(line) for line in lines]
    return [event["status"] for event in events if event["event"] == "ended"]


@pytest.fixture(params=["text", "json"])
def many(request):
    """Has many clients come to a program, and looks at the log."""

    def serve(words, client, few, addresses=("127.0.0.1:0",), status=0):
        count = CONNECTIONS or few
        options = ("--log", request.param, "--max-children", 64)
        with serving(*options, *addresses, "--", *words) as served:
            served.start_reading()
            with ThreadPoolExecutor(CROWD) as clients:
                # What a client raises comes out here.
                list(clients.map(lambda number: client(served, number), range(count)))
            assert served.stop() == 0
        ended = ended_in_text if request.param == "text" else ended_in_json
        assert ended(served.lines) == [status] * count

    return serve


@needs("git")
def test_git_clones_from_git_daemon(many, tmp_path):
    source = tmp_path / "source"
    run("git", "init", "-q", source)
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    (source / "file").write_text("content\n")
    run("git", "-C", source, "add", "file")
    run("git", "-C", source, *author, "commit", "-qm", "one")
    program = ("git", "daemon", "--inetd", "--export-all", f"--base-path={tmp_path}", tmp_path)

    def clone(served, number):
        copy = tmp_path / f"copy{number}"
        run("git", "clone", "-q", f"git://127.0.0.1:{served.port}/source", copy)
        assert (copy / "file").read_text() == "content\n"
        shutil.rmtree(copy)

    many(program, clone, few=3)


@needs("rsync")
def test_rsync_fetches_from_its_daemon(many, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("content\n")
    conf = tmp_path / "rsyncd.conf"
    conf.write_text(f"use chroot = no\n[data]\npath = {source}\nread only = yes\n")

    def fetch(served, number):
        copy = tmp_path / f"copy{number}"
        run("rsync", "-r", f"rsync://127.0.0.1:{served.port}/data/", copy)
        assert (copy / "file").read_text() == "content\n"

    many(("rsync", "--daemon", f"--config={conf}"), fetch, few=5)


@needs("ssh", "sshd", "ssh-keygen")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_ssh_logs_in_to_sshd(many, tmp_path):
    for name in "host", "user":
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name)
    os.makedirs("/run/sshd", exist_ok=True)
    options = (
        *("-o", f"HostKey={tmp_path}/host", "-o", f"AuthorizedKeysFile={tmp_path}/user.pub"),
        *("-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "PermitRootLogin=yes"),
        *("-o", "LogLevel=QUIET"),
    )

    def log_in(served, number):
        said = run(
            *("ssh", "-F", "/dev/null", "-p", served.port, "-i", tmp_path / "user"),
            *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"),
            *("-o", f"UserKnownHostsFile={tmp_path}/known{number}"),
            *("root@127.0.0.1", f"echo $(({number} * 7))"),
        )
        assert said == f"{number * 7}\n"

    # That is its status where the client ends the connection.
    many((shutil.which("sshd"), "-i", "-f", "/dev/null", *options), log_in, few=2, status=255)


@needs("curl")
def test_a_script_in_the_manner_of_cgi_replies(many, tmp_path):
    script = tmp_path / "page"
    script.write_text(
        "#!/bin/sh\n"
        "read -r method path protocol\n"
        'while read -r line; do test "$line" = "$(printf \'\\r\')" && break; done\n'
        "printf 'HTTP/1.0 200 OK\\r\\nContent-Type: text/plain\\r\\n\\r\\n%s %s\\n' "
        '"$REMOTE_ADDR" "$path"\n'
    )
    script.chmod(0o755)

    def get(served, number):
        page = run("curl", "-sS", f"http://{served.address}/{number}")
        assert page == f"127.0.0.1 /{number}\n"

    many((script,), get, few=10)


def test_a_shell_script_answers_at_several_addresses(many, tmp_path):
    script = 'read -r line && echo "$PROTO $line"'
    path = f"unix:{tmp_path}/socket"

    def talk(served, number):
        address, proto = (path, "UNIX") if number % 2 else (served.address, "TCP")
        with Client(address) as client:
            client.send(f"{number}\n".encode())
            assert client.rest() == f"{proto} {number}\n".encode()

    many(("sh", "-c", script), talk, few=20, addresses=("127.0.0.1:0", path))
