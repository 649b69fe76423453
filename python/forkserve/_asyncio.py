"""Server.serve(): a server beside the other tasks of a running asyncio loop.

Only the parent is in that loop. dispatch() forks, and the child calls its handler below it
and ends there: it never gets back into the loop that it has a copy of.
"""

import asyncio
import errno
import weakref
from typing import Optional

from ._forkserve import Error, Server

_serving: "weakref.WeakSet[Server]" = weakref.WeakSet()


async def serve(server: Server) -> None:
    """Server.serve(), which has the description."""
    if server in _serving:
        raise Error(errno.EBUSY, "the server is being run by another task")
    _serving.add(server)
    try:
        await _Run(server).drained()
    finally:
        _serving.discard(server)


class _Run:
    """One call of serve(), which watches the server's descriptor and its deadlines."""

    def __init__(self, server: Server) -> None:
        # Raises what is wrong with the server.
        server.next_timeout()
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.done = self.loop.create_future()
        self.fd = server.fileno()
        self.timer: Optional[asyncio.TimerHandle] = None

    async def drained(self) -> None:
        """Serve; a cancellation begins the drain.

        Further ones change nothing: at its end asyncio.run() cancels whatever has been
        cancelled once more.
        """
        cancelled: Optional[asyncio.CancelledError] = None
        self.loop.add_reader(self.fd, self.step)
        try:
            # Not here, inside the task: a child would have it as its current one.
            self.loop.call_soon(self.step)
            while not self.done.done():
                try:
                    # Not by itself: a cancellation would cancel the future.
                    await asyncio.wait([self.done])
                except asyncio.CancelledError as error:
                    cancelled = error
                    self.server._begin_drain()
        finally:
            self.loop.remove_reader(self.fd)
            if self.timer is not None:
                self.timer.cancel()
        failure = self.done.exception()
        if cancelled is not None:
            raise cancelled
        if failure is not None:
            raise failure

    def step(self) -> None:
        """Do what there is to do, and be called again when there is more."""
        if self.done.done():
            return
        try:
            self.server.dispatch()
        except Error as error:
            if error.errno == errno.ESHUTDOWN:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
            return
        except Exception as error:
            self.done.set_exception(error)
            return
        if self.timer is not None:
            self.timer.cancel()
        timeout = self.server.next_timeout()
        self.timer = None if timeout is None else self.loop.call_later(timeout, self.step)
