"""Events as records of the logging module; imported when log_events is first asked for.

The module logging makes each fork slower: it takes and releases its locks there. So only a
program that logs pays for it.
"""

import logging

from ._forkserve import Event
from ._text import describe

# No handler and no level: what is shown, and where, is the program's to say.
logger = logging.getLogger("forkserve")

LEVELS = {
    "accepted": logging.DEBUG,
    "announced": logging.DEBUG,
    "forked": logging.DEBUG,
    "refused": logging.WARNING,
    "fork_failed": logging.WARNING,
    "exec_failed": logging.ERROR,
    "held": logging.WARNING,
    "paused": logging.WARNING,
    "listener_failed": logging.ERROR,
    "socket_file_left": logging.WARNING,
    "child_distrusted": logging.ERROR,
    "spares_renewed": logging.ERROR,
    "handshake_timeout": logging.WARNING,
    "evicted": logging.WARNING,
    "sandbox_reduced": logging.WARNING,
    "notify_failed": logging.WARNING,
}


def log_events(event: Event) -> None:
    """Write an event to the logger "forkserve"; to be given to Server as observer.

    DEBUG: each connection accepted, each client that a proxy names, and each child made. INFO:
    connections that ended by themselves, and what the server does as a whole. WARNING: children
    that a signal ended, refused and evicted connections, failing forks, pauses, a sandbox that
    does without something, socket files that are left, and a systemd that cannot be told.
    ERROR: listeners that failed, and children that are not to be trusted or have harmed the
    others. The record has the Event as its attribute "event". Nothing is shown unless the
    program sets logging up.
    """
    level = LEVELS.get(event.kind, logging.INFO)
    if event.exit_signal is not None:
        level = logging.WARNING
    if logger.isEnabledFor(level):
        what, particulars = describe(event) or (event.kind, "")
        logger.log(level, "%s", f"{what} {particulars}".rstrip(), extra={"event": event})
