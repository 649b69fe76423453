"""Fixtures: programs that end with their test."""

import pytest

from support import Program


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
def serve(start):
    """As start, and waits for the line with the address."""
    return lambda script, *arguments, **how: start(script, *arguments, **how).wait_listening()
