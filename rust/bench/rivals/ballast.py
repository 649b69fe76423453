"""Plays a big host: touches anonymous memory, in pages of 4 KiB as a heap that
has grown for long is made of, and keeps it until the process ends."""

import mmap

_kept = []


def add(mib: int) -> None:
    """Makes the process `mib` MiB larger."""
    if mib <= 0:
        return
    memory = mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for offset in range(0, len(memory), mmap.PAGESIZE):
        memory[offset] = 1
    _kept.append(memory)
