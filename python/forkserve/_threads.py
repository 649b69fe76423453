"""CPython's warning of threads, for the drop-ins."""

import os
import sys
import warnings


def warn_of_threads() -> None:
    """Give CPython's warning of a fork beside threads; once, and before the first one."""
    if sys.version_info >= (3, 12) and len(os.listdir("/proc/self/task")) > 1:
        text = (
            f"This process (pid={os.getpid()}) is multi-threaded, use of serve_forever() "
            "may lead to deadlocks in the children."
        )
        warnings.warn(text, DeprecationWarning, stacklevel=4)
