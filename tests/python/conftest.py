"""Fixtures: programs that end with their test."""

import pytest

import background
import dropins
from support import Program

background.forget()


@pytest.fixture
def start():
    """Starts a script: start(script, *arguments)."""
    programs = []

    def run(script, *arguments, **how):
        program = Program(script, *arguments, **how)
        programs.append(program)
        return program

    yield run
    for program in programs:
        program.kill()


@pytest.fixture
def command(start):
    """Starts python -m forkserve: command(*arguments)."""
    return lambda *arguments: start(None, "-m", "forkserve", *arguments)


@pytest.fixture
def serve(start):
    """As start, and waits for the line with the address."""
    return lambda script, *arguments, **how: start(script, *arguments, **how).wait_listening()


@pytest.fixture
def serve_dropin(start):
    """As serve, for scripts with drop-ins."""

    def run(script, *arguments, **how):
        program = start(script, *arguments, preamble=dropins.PREAMBLE, **how)
        return program.wait_listening()

    return run


@pytest.fixture(params=dropins.TIERS)
def tier(request):
    """The loop in Rust, and the one in Python."""
    return request.param


# The supervisor's number is the first line after the address.
STARTED = """
server = serve(**options)
signal.signal(signal.SIGTERM, lambda *_: server.stop())
say(server.start())
"""


@pytest.fixture
def started(serve):
    """A program that has called start(); answers it and its supervisor's number."""

    def run(body, arguments=(), *, before="", options="", **how):
        script = f"options = dict({options})\n{before}{STARTED}{body}"
        server = serve(script, *arguments, **how)
        return server, int(server.line())

    return run
