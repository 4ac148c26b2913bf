"""Resources of the machine: cores, open files, memory."""

import contextlib
import ctypes
import os
import resource


def usable_cores() -> int:
    """Return the number of processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spare_files() -> int:
    """Return how many files one component may keep open: a quarter of the process's limit, at most 1024."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1024 if limit == resource.RLIM_INFINITY else max(16, min(1024, limit // 4))


def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MiB of freed memory for later allocations; does nothing with another libc.

    A worker frees and allocates tens of megabytes for each file; the page faults would take a third of its time.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 256 << 20)
