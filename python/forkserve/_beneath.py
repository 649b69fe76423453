"""Opening what is below a folder, and nothing else, for python -m forkserve --http.

What openat2(2) does with RESOLVE_BENEATH, which Python does not have: each name is looked up
by itself, in a descriptor of its folder, and the kernel never follows a link. So no link
leads out, also not one that is put there at the last moment. And nothing but a regular file
or a folder is ever opened: to open a FIFO or a device has effects, and may wait.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

# As many as the kernel follows.
MOST_LINKS = 40

FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: what was a file may have become a FIFO.
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Place:
    """A folder or a regular file: its name in the folder that it is in."""

    def __init__(self, parent: int, name: bytes, follow: bool) -> None:
        self.parent, self.name, self.follow = parent, name, follow
        mode = os.stat(name, dir_fd=parent, follow_symlinks=follow).st_mode
        self.is_folder = stat.S_ISDIR(mode)
        if not self.is_folder and not stat.S_ISREG(mode):
            raise error(errno.ENOENT)

    def open(self) -> int:
        """Open it for reading; the descriptor is the caller's."""
        flags = READ if self.follow else READ | os.O_NOFOLLOW
        fd = os.open(self.name, flags, dir_fd=self.parent)
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode) if self.is_folder else stat.S_ISREG(mode):
            return fd
        os.close(fd)
        raise error(errno.ENOENT)


@contextmanager
def beneath(folder: str, parts: list[bytes], follow: bool) -> Iterator[Place]:
    """Find the place below the folder that the parts of a path lead to.

    follow: links may lead anywhere. Else they are followed as long as they stay below the
    folder; one that begins with a slash does not. Raises OSError.
    """
    root = os.open(folder, FOLDER)
    parent = -1
    try:
        if follow:
            yield Place(root, b"/".join(parts) or b".", follow)
        else:
            parent, name = walk(root, parts)
            yield Place(parent, name, follow)
    finally:
        os.close(root)
        if parent >= 0:
            os.close(parent)


def walk(root: int, parts: list[bytes]) -> tuple[int, bytes]:
    """Return a descriptor of the folder that the last part is in, and its name there."""
    todo, done = real(parts), list[bytes]()
    links = 0
    at = os.dup(root)
    try:
        while todo:
            name = todo.pop()
            if name == b"..":
                # Of a link. By the names, from the top again: the folder may have moved.
                if not done:
                    raise error(errno.EXDEV)
                done.pop()
                todo += done[::-1]
                done.clear()
                os.dup2(root, at, inheritable=False)
                continue
            mode = os.stat(name, dir_fd=at, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                target = os.readlink(name, dir_fd=at)
                links += 1
                if links > MOST_LINKS:
                    raise error(errno.ELOOP)
                if target.startswith(b"/"):
                    raise error(errno.EXDEV)
                todo += real(target.split(b"/"))
            elif todo:
                inner = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=at)
                os.close(at)
                at = inner
                done.append(name)
            else:
                return at, name
        return at, b"."
    except BaseException:
        os.close(at)
        raise


def real(parts: list[bytes]) -> list[bytes]:
    """Return those that are names, the first one last."""
    return [part for part in reversed(parts) if part not in (b"", b".")]


def error(number: int) -> OSError:
    """Return the error of that number."""
    return OSError(number, os.strerror(number))
