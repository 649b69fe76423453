"""One run of a drop-in server."""

from types import TracebackType
from typing import TYPE_CHECKING, Optional

from ._forkserve import Loop

if TYPE_CHECKING:
    from ._dropins import ForkingMixIn


class Run:
    """The time that a server waits for requests, with the loop that it does so by."""

    def __init__(self, server: "ForkingMixIn") -> None:
        self.server = server

    def __enter__(self) -> Loop:
        self.before = self.server._loop
        self.loop = self.server._loop = Loop()
        return self.loop

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.server._loop = self.before
        self.loop.close()
