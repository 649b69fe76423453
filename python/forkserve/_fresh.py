"""The program of start(fresh=True): a new interpreter that becomes the supervisor.

Run by its path, with -I and -S, and as few modules as can be: what is imported here each
child has. The host's messages come by the standard input, until that is the host's again.
"""

import marshal
import os
import sys

# As typing has it, which is not imported for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The longest text that comes to the host whole.
MOST = 3900


class Later(type(sys)):  # type: ignore[misc]  # types would be one module more
    """A module that is imported when something of it is used."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        found: object = getattr(__import__(str(self.__name__)), name)
        return found


def import_socket() -> None:
    """Import socket without the two modules, and two of theirs, that only sendfile() and
    send_fds() use: 15 mappings less to copy."""
    later = [name for name in ("array", "selectors") if name not in sys.modules]
    for name in later:
        sys.modules[name] = Later(name)
    import socket  # noqa: F401

    for name in later:
        del sys.modules[name]


def value(given: "Any") -> "Any":
    """See _plan.value."""
    kind, data = given
    if kind == "name":
        from forkserve import _handler

        return _handler.resolve(data)
    if kind == "pickle":
        try:
            from _pickle import loads
        except ImportError:
            from pickle import loads
        return loads(data)
    return data


def told(what: str, error: BaseException) -> str:
    """One line for the cause, then the traceback from the program's own frames on."""
    import traceback

    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    # Those of the import system, as CPython leaves them out where it shows one itself.
    while trace is not None and "importlib" in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next
    cause = traceback.format_exception_only(type(error), error)[-1].strip()
    lines = "".join(traceback.format_exception(type(error), error, trace))
    text = f"start: {what}: {cause}\n\n{lines}".rstrip().encode(errors="replace")
    if len(text) > MOST:
        text = text[: MOST // 4] + b"\n...\n" + text[-MOST * 3 // 4 :]
    return text.decode(errors="ignore")


def main() -> None:
    # Nothing of the host's but the standard streams.
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            # Not by contextlib, which each child would have.
            try:  # noqa: SIM105
                os.close(int(name))
            except OSError:
                pass  # that of the list itself
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from forkserve import _forkserve, _handler

    handed = _forkserve._Handed()
    what = "the plan"
    try:
        plan = marshal.loads(handed.payload)
        sys.path[:] = plan["path"]
        sys.argv[:] = plan["argv"]
        if not plan["bind_now"]:
            # For this interpreter alone: see spawn in rust/core/src/engine/fresh.rs.
            del os.environ["LD_BIND_NOW"]
        import_socket()
        given = plan["handler"]
        what = f"import {given[1]}" if given[0] == "name" else "handler"
        handler = value(given)
        _handler.check("handler", handler)
        options = {}
        for name, given in plan["options"].items():
            what = f"import {given[1]}" if given[0] == "name" else name
            options[name] = value(given)
        what = "the supervisor"
        handed.serve(handler, options)
    # SystemExit too: a module that ends the program when it is imported.
    except BaseException as error:
        handed.refuse(told(what, error))


if __name__ == "__main__":
    main()
