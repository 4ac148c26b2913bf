"""What the machine offers, and what is asked of it."""

import contextlib
import ctypes
import os
import resource


def usable_cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spare_files() -> int:
    """How many files one user of this process may keep open: a quarter of what the system lets it, and 1024 at most."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1024 if limit == resource.RLIM_INFINITY else max(16, min(1024, limit // 4))


def keep_freed_memory() -> None:
    """Have glibc keep up to 256 MiB of freed memory for what this process allocates next; nothing with another libc.

    A worker that goes from one file to the next gives back and takes tens of megabytes for each, and the page faults
    of that cost a third of its time.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 256 << 20)
