"""testserver: the Python module with everything chosen by command line, for
tests that look at a server from outside.

Same command line and same output as tests/c/testserver.c, where both are
described. The mode `run` is serve_forever, `start` is start and wait.
"""

import argparse
import contextlib
import fcntl
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys

import forkserve
from forkserve._table import OPTIONS

import testserver_host
import testserver_report
from testserver_host import SETUPS, own_children, put_own_child
from testserver_report import observe, put, put_line

# For handlers that call it.
server = None

# ---- Handlers: what a child does ----


def greet(conn):
    conn.socket.sendall(b"ready %d\n" % os.getpid())


def echo(conn):
    while data := conn.socket.recv(4096):
        conn.socket.sendall(data)


def hold(conn):
    greet(conn)
    conn.socket.recv(1)


def ignore_term(conn):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hold(conn)


def crash(conn):
    greet(conn)
    os.kill(os.getpid(), signal.SIGSEGV)


def close_fd(conn):
    greet(conn)
    conn.socket.close()


def shut_listeners(conn):
    """What a connection that has taken its child over can do."""
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(entry))) as sock:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                sock.shutdown(socket.SHUT_RDWR)
    echo(conn)


def fork_child(conn):
    """A process of the handler's own; its status is the answer."""
    ended = subprocess.run(["sh", "-c", "exit 9"], check=False)
    echo(conn)
    sys.exit(ended.returncode)


def close_all(conn):
    greet(conn)
    os.closerange(3, 1024)


def leave_child(conn):
    """A process of the handler's own that goes on with the client when the
    handler has long returned. The socket is given up here, so the library lets it be."""
    if os.fork() == 0:
        hold(conn)
        os._exit(0)
    os.close(conn.socket.detach())


def stay(conn):
    """One that has the connection and does nothing with it until the client leaves."""
    greet(conn)
    if os.fork() == 0:
        conn.socket.recv(1)
        os._exit(0)


def answer(conn):
    """To somebody who has not been heard out."""
    conn.socket.recv(1)
    conn.socket.sendall(b"answer\n")


def work(conn):
    """What handlers do in a host with threads."""
    for size in range(20):
        json.loads(json.dumps(list(range(10 * size))))
    print()  # A line of its own, which nobody reads.
    echo(conn)


def call_back(conn):
    """Everything that a server can be asked, in a child, with its answer."""
    calls = {
        "run": server.serve_forever,
        "start": server.start,
        "wait": lambda: server.wait(0),
        "stop": server.stop,
        "fd": server.fileno,
        "dispatch": server.dispatch,
        "next_timeout": server.next_timeout,
        "stats": server.stats,
        "connections": server.connections,
        "metrics": server.metrics,
        "close": server.close,
    }
    answers = []
    for name, call in calls.items():
        try:
            answers.append(f"{name}={call()}")
        except forkserve.Error as error:
            answers.append(f"{name}={-error.errno}")
    conn.socket.sendall(" ".join(answers).encode() + b"\n")
    echo(conn)


def flood(conn):
    """Sends until the client has gone."""
    block = bytes(65536)
    try:
        while True:
            conn.socket.sendall(block)
    except (BrokenPipeError, ConnectionResetError):
        sys.exit(32)


# What all children inherit, as a stack canary.
SECRET = os.urandom(4)


def guess(conn):
    """The client sends a guess at the secret's beginning. A right one is answered, a
    wrong one crashes the child."""
    if not SECRET.startswith(conn.socket.recv(len(SECRET))):
        os.abort()
    conn.socket.sendall(b"right\n")


def named_status(conn):
    """The status that the client names in its first byte."""
    sys.exit(conn.socket.recv(1)[0])


def show(conn):
    sys.stdout.write(f"<served {conn.id}>")
    echo(conn)


def program_of(text):
    """As in "stdio:/bin/sh:echo hello"."""
    io, path, *command = text.split(":", 2)
    return [path, *(word for text in command for word in ("-c", text))], io


def execute(conn, text):
    """Becomes a program. If that fails, it tells the client why, and is an echo server."""
    argv, io = program_of(text)
    try:
        conn.exec(argv, io=io)
    except forkserve.Error as error:
        conn.socket.sendall(f"errno {error.errno}\n".encode())
        echo(conn)


def establish(conn):
    """An echo whose client says by an "e" that it is established."""
    greet(conn)
    while data := conn.socket.recv(4096):
        if data.startswith(b"e"):
            conn.established()
        conn.socket.sendall(data)


def tell_proxied(conn):
    """Tells what a proxy has said of its connection; then an echo."""
    fields = {"peer": conn.peer_name, "local": conn.local_name}
    if header := conn.proxy:
        fields["version"] = header.version
        fields["command"] = header.command
        fields["named"] = int(header.names_client)
        fields["type"] = "stream" if header.is_stream else "dgram"
        fields["sender"] = header.sender_name
        fields["tls"] = int(bool(header.tls and header.tls.used))
        fields["verified"] = int(bool(header.tls and header.tls.verified))
        fields["authority"] = header.authority
        fields["alpn"] = header.alpn and header.alpn.decode()
        fields["id"] = header.unique_id and header.unique_id.decode()
        if header.tls:
            fields["tls_version"] = header.tls.version
            fields["cn"] = header.tls.common_name
    known = (f"{name}={value}" for name, value in fields.items() if value is not None)
    conn.socket.sendall(" ".join(known).encode() + b"\n")
    while data := conn.socket.recv(4096):
        if data.startswith(b"!"):
            os.abort()
        conn.socket.sendall(data)


def end_with_functions(conn):
    """Has functions called at the end of its child. How it ends the client says: "k" by
    a signal, "e" by an exception."""

    def tell(number):
        is_open = int(conn.socket.fileno() >= 0)
        put("at_exit", number=number, pid=os.getpid(), open=is_open)

    @forkserve.at_child_exit
    def first():
        tell(1)

    forkserve.at_child_exit(lambda: tell(2))
    how = conn.socket.recv(1)
    if how == b"k":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == b"e":
        raise ValueError("as the client wants")


HANDLERS = {
    "echo": echo,
    "hold": hold,
    "ignore-term": ignore_term,
    "crash": crash,
    "close-fd": close_fd,
    "close-all": close_all,
    "fork-child": fork_child,
    "shut-listeners": shut_listeners,
    "leave-child": leave_child,
    "stay": stay,
    "answer": answer,
    "work": work,
    "call-back": call_back,
    "flood": flood,
    "print": show,
    "secret": guess,
    "status": named_status,
    "at-exit": end_with_functions,
    "establish": establish,
    "proxied": tell_proxied,
}


def exit_at_once(conn, status):
    greet(conn)
    os._exit(status)


def leave(status, _conn):
    sys.exit(status)


def handler(name):
    if name.startswith("program="):
        return None
    if name.startswith("_exit="):
        return functools.partial(exit_at_once, status=int(name.partition("=")[2]))
    if name.startswith("exec="):
        return functools.partial(execute, text=name.partition("=")[2])
    if name.startswith("exit="):
        return functools.partial(leave, int(name.partition("=")[2]))
    return HANDLERS[name]


# ---- The ways to run ----


def away_from_the_standard_streams(sock):
    """Where those are closed, a new socket has one of their numbers."""
    with sock:
        moved = socket.socket(fileno=fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 3))
    moved.setblocking(False)
    return moved


def run_dispatch(server):
    # A signal that comes right before the wait does not interrupt it.
    heard, wakeup = map(away_from_the_standard_streams, socket.socketpair())
    signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(server.fileno(), select.POLLIN)
    poll.register(heard, select.POLLIN)
    while True:
        timeout = server.next_timeout()
        poll.poll(None if timeout is None else timeout * 1000)
        with contextlib.suppress(BlockingIOError):
            heard.recv(4096)
        try:
            server.dispatch()
        except forkserve.Error as error:
            if error.errno == 108:  # ESHUTDOWN
                return
            raise


def put_again(mode):
    """What a stop and the loop answer once the loop has ended."""
    try:
        server.stop()
        stopped = 0
    except forkserve.Error as error:
        stopped = -error.errno
    put("again", stop=stopped, run=run(mode, server)[0])


def run(mode, server, name=""):
    """The result as C has it: 0 or -errno, and a message."""
    try:
        if name.startswith("program="):
            argv, io = program_of(name.partition("=")[2])
            about = {"io": io, "variables": ["ucspi", "cgi", "systemd", "xinetd"]}
            if mode == "run":
                server.serve_program(argv, **about)
                return 0, ""
            server.set_program(argv, **about)
        if mode == "dispatch":
            run_dispatch(server)
        elif mode in ("start", "fresh"):
            server.start(fresh=mode == "fresh")
            server.wait()
        else:
            server.serve_forever()
    except forkserve.Error as error:
        return -error.errno, error.strerror
    return 0, ""


# ---- The command line ----


def value_of(option, text):
    """The value that a text stands for; numbers are those of C, times in milliseconds."""
    if option.kind == "number":
        return int(text)
    if option.kind == "flag":
        return text != "0"
    if option.kind == "time":
        return int(text) / 1000
    if option.kind == "limit":
        # C writes none as 0 where there is no limit of 0, else as -1.
        return None if int(text) < option.least or text == "-1" else int(text) / 1000
    if option.kind == "signed":
        return int(text)
    if option.kind == "setting":
        # C writes none as a number below the range.
        return None if int(text) < option.least else int(text)
    if option.kind == "path":
        return text or None
    if option.kind == "bytes":
        return os.fsencode(text)
    if option.kind == "mode":
        return int(text, 8)
    if option.kind == "statuses":
        return list(map(int, text.replace(",", " ").split()))
    return text


class Take(argparse.Action):
    """--option max_children=3, or --max-children 3, with the names of C but for the unit."""

    def __call__(self, parser, namespace, text, flag=None):
        name, text = text.split("=", 1) if flag == "--option" else (flag[2:], text)
        name = name.replace("-", "_").removesuffix("_ms")
        options = {option.name: option for option in OPTIONS}
        if name not in options:
            parser.error(f"{name}: no such option")
        setattr(namespace, name, value_of(options[name], text))


def parse():
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, allow_abbrev=False)
    parser.add_argument("--mode", choices=["run", "dispatch", "start", "fresh"], default="run")
    parser.add_argument("--address", action="append")
    parser.add_argument("--handler", default="echo")
    parser.add_argument("--host", choices=SETUPS, action="append", default=[])
    parser.add_argument("--stop-first", type=int, default=0)
    parser.add_argument("--report", type=int, default=1)
    parser.add_argument("--again", type=int, default=0)
    parser.add_argument("--observe", type=int, default=1)
    flags = [f"--{option.name.replace('_', '-')}" for option in OPTIONS]
    for flag in ("--option", *flags):
        parser.add_argument(flag, action=Take)
    return vars(parser.parse_args())


def main():
    global server
    options = parse()
    testserver_report.to, again = options.pop("report"), options.pop("again")
    observer = observe if options.pop("observe") else None
    mode, setups = options.pop("mode"), options.pop("host")
    stop_first = options.pop("stop_first")
    addresses = options.pop("address", ["127.0.0.1:0"])
    name = options.pop("handler")
    serve = handler(name)
    for setup in setups:
        SETUPS[setup]()
    try:
        server = forkserve.Server(addresses, serve, observer=observer, **options)
    except (forkserve.Error, ValueError) as error:
        print(f"testserver: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 1
    testserver_host.server = server
    with server:
        signal.signal(signal.SIGTERM, lambda _number, _frame: server.stop())
        signal.signal(signal.SIGINT, lambda _number, _frame: server.stop())
        signal.signal(signal.SIGUSR2, lambda _number, _frame: server.detach())
        for address in server.addresses:
            put_line(f"listening {address}\n")
        for _ in range(stop_first):
            server.stop()
        put_line("ready\n")
        code, message = run(mode, server, name)
        if again:
            put_again(mode)
        for child in own_children:
            put_own_child(child)
        put("result", code=code, message=message)
        put("stats", **server.stats().asdict())
        for line in server.metrics().splitlines():
            put_line(f"metrics {line}\n")
        # At its end the interpreter gives SIGALRM its default back, which kills.
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main())
