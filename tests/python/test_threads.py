"""Threads before a fork: who is warned, when, and of which."""

import signal

# call(FUNCTION) says each warning that it gave. A thread pool of a library in C is a thread
# that Python does not know, with a name that only the kernel has.
WARNED = """
    import threading, warnings
    done = threading.Event()
    def call(what):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            what()
        say(*[f"{one.category.__name__} {one.message}".split(": ")[0] for one in caught])
        assert all(one.filename == "<string>" for one in caught)

    import ctypes
    libc = ctypes.CDLL(None)
    def native(name):
        ready = threading.Event()
        def work():
            libc.prctl(15, name.encode(), 0, 0, 0)
            ready.set()
            done.wait()
        import _thread
        _thread.start_new_thread(work, ())
        ready.wait()
"""


def test_threads_before_a_fork_are_warned_of(start):
    program = start(
        WARNED
        + """
    with forkserve.Server("127.0.0.1:0", echo) as first, \\
         forkserve.Server("127.0.0.1:0", echo) as second, \\
         forkserve.Server("127.0.0.1:0", echo) as third:
        call(first.start)
        first.stop()
        first.wait()
        second.stop()
        call(second.serve_forever)
        threading.Thread(target=done.wait, name="of the program").start()
        call(third.start)
        third.stop()
        third.wait()
        with forkserve.Server("127.0.0.1:0", echo) as fourth:
            fourth.stop()
            call(fourth.serve_forever)
        with forkserve.Server("127.0.0.1:0", echo) as fifth:
            call(lambda: fifth.serve().close())
        done.set()
    """
    )
    assert program.end()[0].splitlines() == [
        "",
        "",
        "RuntimeWarning start() in a process with threads (of the program)",
        "RuntimeWarning serve_forever() in a process with other threads (of the program)",
        "RuntimeWarning serve() in a process with other threads (of the program)",
    ]


def test_threads_of_libraries_are_named_as_the_kernel_names_them(start):
    program = start(
        WARNED
        + """
    for _ in range(3):
        native("tokio-worker")
    native("rayon")
    threading.Thread(target=done.wait, name="of the program").start()
    with forkserve.Server("127.0.0.1:0", echo) as server:
        server.stop()
        call(server.serve_forever)
    done.set()
    """
    )
    names = "of the program, rayon, tokio-worker x3"
    warning = f"RuntimeWarning serve_forever() in a process with other threads ({names})"
    assert program.end()[0] == warning + "\n"


def test_a_warning_names_some_of_many_threads(start):
    program = start(
        WARNED
        + """
    for number in range(12):
        native(f"pool-{number:02}")
    with forkserve.Server("127.0.0.1:0", echo) as server:
        server.stop()
        call(server.serve_forever)
    done.set()
    """
    )
    (line,) = program.end()[0].splitlines()
    assert line.endswith("(pool-00, pool-01, " + line.split("pool-01, ")[1])
    assert line.endswith(", pool-07, and 4 more)")


def test_the_main_thread_is_another_one_for_a_loop_in_a_thread(start):
    program = start(
        WARNED
        + """
    with forkserve.Server("127.0.0.1:0", echo) as server:
        server.stop()
        thread = threading.Thread(target=call, args=(server.serve_forever,))
        thread.start()
        thread.join()
    """
    )
    assert program.end()[0].endswith("other threads (MainThread)\n")


def test_no_fork_warns_by_itself(serve):
    """The interpreter's own DeprecationWarning, of 3.12, would come once a connection."""
    server = serve(
        """
    import threading, warnings
    done = threading.Event()
    threading.Thread(target=done.wait).start()
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    server = serve()
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.serve_forever()
    done.set()
    """
    )
    for _ in range(3):
        server.ask()
    assert server.end(by=signal.SIGTERM) == ("", "")
