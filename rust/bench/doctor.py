"""How long `forkserve doctor` takes, with CHILDREN children that each have a connection.

    build/venv/bin/python rust/bench/doctor.py 5000

The server is tests/c/testserver.c; `make test-servers` builds all of it.
"""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time


def used():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(pid, what):
    before, began = used(), time.monotonic()
    done = subprocess.run(
        ["target/release/forkserve", "doctor", str(pid)],
        check=False,
        stdout=subprocess.DEVNULL,
    )
    wall = time.monotonic() - began
    print(
        f"{what}: {wall:.2f} s, {used() - before:.2f} s of processor time, exit {done.returncode}"
    )


def main():
    (count,) = map(int, sys.argv[1:])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = subprocess.Popen(
        ["build/tests/testserver", "--handler", "hold", "--max-children", str(count)],
        stdout=subprocess.PIPE,
        text=True,
    )
    port = int(
        next(line for line in server.stdout if line.startswith("listening")).rpartition(
            ":"
        )[2]
    )
    threading.Thread(target=lambda: list(server.stdout), daemon=True).start()
    clients, children = [], []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port))
        children.append(int(client.recv(64).split()[1]))
        clients.append(client)
    for _ in range(3):
        measure(server.pid, f"{count} children in order, one look")
    os.kill(children[0], signal.SIGSTOP)
    for _ in range(3):
        measure(server.pid, "one of them stopped, two looks and 0.6 s between them")
    os.kill(children[0], signal.SIGCONT)
    for client in clients:
        client.close()
    server.terminate()
    server.wait(60)


if __name__ == "__main__":
    main()
