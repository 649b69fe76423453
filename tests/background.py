"""Signals for what tests start, as it has them in the foreground.

A shell without job control lets what it starts in the background ignore SIGINT and SIGQUIT,
and nohup SIGHUP. That is handed on to every program of the tests, and those that Ctrl-C is to
reach would never hear of it.
"""

import signal

PASSED_ON = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)


def forget():
    """Gives the programs that this one starts the default of these signals.

    This one goes on ignoring them: a handler is what is not handed on to another program.
    """
    for number in PASSED_ON:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
