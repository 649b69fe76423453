"""Runs a test module of CPython with a forking mix-in over one server class.

    mixed.py socketserver|forkserve MODULE:CLASS TESTS

The tests are loaded after the class has been replaced, so that what they import
and derive is forking. The last line of the output is, as JSON, how each test
went that did not pass.
"""

import faulthandler
import importlib
import json
import sys
import unittest

# As long as the tests that wait for what a child has written to their own memory.
LIMIT = 240


def main() -> None:
    whose, place, tests = sys.argv[1:]
    mix_in = importlib.import_module(whose).ForkingMixIn
    module, name = place.split(":")
    module = importlib.import_module(module)
    original = getattr(module, name)
    # Some tests close the server before the client is done.
    forking = type(name, (mix_in, original), {"block_on_close": False})
    setattr(module, name, forking)
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    loaded = importlib.import_module(tests)
    assert getattr(loaded, name, forking) is forking, f"{tests} has imported {name} before"
    suite = unittest.defaultTestLoader.loadTestsFromModule(loaded)
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=2).run(suite)
    failed = {test.id() for test, _ in result.failures + result.errors}
    print(json.dumps({"run": result.testsRun, "failed": sorted(failed)}))


if __name__ == "__main__":
    main()
